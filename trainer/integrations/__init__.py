"""Adapters to other frameworks: the verifier as their environment, task set, resources server, scorer or reward.

Each module is thin and named like its framework. What judges a row, and how a model's text is read, is the same for
all: `selftaught.trainer.rows` and `selftaught.trainer.rewards`. A framework is imported by its own module alone, and
only a user of that framework needs it installed.

A solution that was not judged never becomes a 0: each module says what its framework does with it instead.
"""
