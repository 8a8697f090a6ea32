"""Read the problems of published datasets, in their own fields, and make tasks of them and samples.

    problem.py       Problem: what judges solutions, and how a solution becomes a task
    humaneval.py, mbpp.py, apps.py, codecontests.py, livecodebench.py, kodcode.py, primeintellect.py, openr1.py,
    verl.py, leetcode.py, puzzles.py
                     one module a family: `recognise` a record by its fields, `read` it
    pairs.py         inputs and outputs -> cases; sources.py: what is read off a dataset's sources
    statement.py     the words in which a problem is stated
    fields.py        fields with messages that name them; literals.py: data in texts; pickled.py: one string of a pickle
    preludes.py      names that solutions expect without imports
    benchmark.py     the problems of files, by id; joining.py: with their samples; answers.py: the solution that a
                     model wrote

Example:
    problem = formats.read({"prompt": ..., "entry_point": ..., "test": ..., "task_id": "HumanEval/0"})
    task = problem.task(problem.complete("    return 1\n"))
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from selftaught.sandbox.formats import (
    apps,
    codecontests,
    humaneval,
    kodcode,
    leetcode,
    livecodebench,
    mbpp,
    openr1,
    primeintellect,
    puzzles,
    verl,
)
from selftaught.sandbox.formats.fields import Fields, decoded
from selftaught.sandbox.formats.problem import Malformed, Problem
from selftaught.sandbox.task import Task

__all__ = ["AUTO", "FORMATS", "NAMES", "Format", "Malformed", "Problem", "read", "recognise"]

AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Format:
    """A dataset's format.

    Attributes:
        read: Returns the problem of a record. Raises Malformed.
        recognise: Returns True for a record of this format, judging by its fields.
        seconds: CPU time of a case, or of all tests, that the dataset's own judge allows, or about that.
    """

    read: Callable[[Fields], Problem]
    recognise: Callable[[Fields], bool]
    seconds: float


FORMATS = {
    "leetcode": Format(leetcode.read, leetcode.recognise, 3.0),
    "livecodebench": Format(livecodebench.read, livecodebench.recognise, 6.0),
    "codecontests": Format(codecontests.read, codecontests.recognise, 10.0),
    "humanevalplus": Format(humaneval.read_plus, humaneval.recognise_plus, 10.0),
    "humaneval": Format(humaneval.read, humaneval.recognise, 3.0),
    "mbppplus": Format(mbpp.read_plus, mbpp.recognise_plus, 10.0),
    "mbpp": Format(mbpp.read, mbpp.recognise, 3.0),
    "mbpp-challenge": Format(mbpp.read_with_challenges, lambda fields: False, 3.0),
    "openr1": Format(openr1.read, openr1.recognise, 5.0),
    "primeintellect": Format(primeintellect.read, primeintellect.recognise, 5.0),
    "kodcode": Format(kodcode.read, kodcode.recognise, 5.0),
    "apps": Format(apps.read, apps.recognise, 4.0),
    "taco": Format(apps.read, apps.recognise_taco, 4.0),
    "verl": Format(verl.read, verl.recognise, 10.0),
    "puzzle": Format(puzzles.read, puzzles.recognise, 1.0),
}
"""The formats by name, in the order in which a record is tried."""

NAMES = tuple(FORMATS)


def recognise(fields: Fields) -> str:
    """Return the name of a record's format.

    Raises:
        Malformed: No format has these fields.
    """
    for name, form in FORMATS.items():
        if form.recognise(fields):
            return name
    raise Malformed(f"no format has these fields: {', '.join(sorted(map(str, fields))) or 'none'}")


def read(record: Any, form: str = AUTO, compare: str | None = None, all_cases: bool = False) -> Problem:
    """Return the problem of a record.

    Args:
        record: The fields; or their text, JSON or a Python literal; or a list of test cases.
        form: One of `NAMES`, or `AUTO`.
        compare: A comparison (`selftaught.sandbox.comparison`) in place of the format's own.
        all_cases: Judge every case, also after one has failed.

    Raises:
        Malformed: The record is not what its format says.
    """
    fields = decoded(record, "the record")
    if isinstance(fields, list):
        fields = {"ground_truth": fields}
    if not isinstance(fields, dict):
        raise Malformed(f"a record must be an object, not {type(fields).__name__}")
    problem = FORMATS[recognise(fields) if form == AUTO else form].read(fields)
    if isinstance(problem.judge, Task):
        return problem  # a puzzle itself says what is right
    judge = dataclasses.replace(problem.judge, all_cases=all_cases)
    if judge.cases is not None and judge.checker is None and isinstance(fields.get("checker"), str):
        judge = dataclasses.replace(judge, checker=fields["checker"])
    if compare is not None:
        judge = dataclasses.replace(judge, compare=compare)
    return dataclasses.replace(problem, judge=judge)
