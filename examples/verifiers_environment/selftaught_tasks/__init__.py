"""selftaught as a task set for verifiers, which finds it by the name of this package."""

from selftaught.trainer.integrations.verifiers_taskset import SelftaughtTaskset

__all__ = ["SelftaughtTaskset"]
