"""What measures: ``python -m tests.benchmarks``."""
