"""Published benchmarks of functions and programs, asked of a model and judged by their tests.

prompts.py       what a model is asked for a problem, in the way of its dataset
problems.py      problems of a file as questions
measurement.py   what a run of the loop reports of them, before and after
"""
