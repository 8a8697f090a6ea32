"""Rows of a training set: what judges a completion of a row's prompt, and the task that both make.

A row is a puzzle, a task, or a record of a published dataset. A fault of one row costs that row its reward, and no
other.
"""

from __future__ import annotations

import ast
import logging
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from selftaught.generator import puzzle
from selftaught.generator.puzzle import NotAPuzzle, Puzzle
from selftaught.sandbox import FunctionTask, StdioTask, Task, Verdict, completion, formats, records
from selftaught.sandbox.errors import NotJudged
from selftaught.sandbox.formats import Problem, answers
from selftaught.sandbox.formats.fields import decoded, ident
from selftaught.sandbox.task import AnyTask

_log = logging.getLogger(__name__)

COLUMNS = ("puzzle", "task", "sat")
"""Columns of what judges a row's completions, in the order in which they are looked at."""

_PUBLISHED = frozenset(
    "input_output public_tests private_tests generated_tests test plus_input test_code public_test_cases "
    "private_test_cases test_list official_tests verification_info reward_model ground_truth outputs assert_case "
    "cases tests test_cases".split()
)
"""Columns of published datasets that judge."""

_PUZZLES, _SOLUTIONS = ("sat", "f"), ("g", "sol")
_HEAD = re.compile(r"def (?:g|sol)(\d*)\([^\n]*\):\s*\Z")
_NUMBERED = re.compile(r"^def ((?:g|sol)\d*)\b", re.M)
_LONGEST_HEAD = 4000
_UNANSWERED = "no code is understood in the completion"
_MOST_WARNINGS = 1000
_MISSING = "NAType", "NaTType"  # pandas'
_warned: set[str] = set()


class Unanswered(NotJudged):
    """No code is understood in a completion: it ends in its reasoning, refuses, or is empty."""


def tasks(
    columns: dict[str, Any], prompts: Sequence[Any], completions: Sequence[Any], all_cases: bool = False
) -> list[AnyTask | None]:
    """Return the task of each completion; None for a row of another task, an answer that is not understood, and, with a
    warning in the log, for a malformed row.

    Args:
        columns: Columns of the data set, by name; others than sequences of the right length are ignored.
        prompts: The prompts, as text or messages.
        completions: Their completions, as text or messages.
        all_cases: Judge every case, also after one has failed.

    Raises:
        ValueError: The data set has no column that judges anything.
    """
    given = {name: column for name, column in columns.items() if _is_column(column, len(completions))}
    if not (given.keys() & _PUBLISHED or given.keys() & set(COLUMNS)):
        raise ValueError(
            "the data set needs a column `puzzle` with each prompt's puzzle, `task` with each prompt's task, or the "
            f"columns of a published dataset; it has {sorted(columns)}"
        )
    found: list[AnyTask | None] = []
    before: tuple[dict[str, Any], Any] = {}, None
    for number, (prompt, written) in enumerate(zip(prompts, completions, strict=True)):
        row = {name: column[number] for name, column in given.items() if not _is_missing(column[number])}
        row["prompt"] = prompt if isinstance(prompt, str) else ""
        try:
            if not _are_same(before[0], row):  # several completions of a row follow each other
                before = row, judge(row, all_cases)
            found.append(task(before[1], written, prompt, all_cases))
        except Unanswered:
            found.append(None)
        except Exception as error:  # a row costs itself alone
            _warn(number, row, error)
            found.append(None)
    return found


def judge(row: dict[str, Any], all_cases: bool = False) -> Any:
    """Return what judges a row's completions, for `task`; None if it is a row of another task.

    Args:
        row: The fields by name, without those that are missing.
        all_cases: Judge every case, also after one has failed.

    Raises:
        Malformed: The row is not what its format says.
    """
    for name in COLUMNS:
        if name in row:
            return row[name]
    return formats.read(row, all_cases=all_cases) if row.keys() & _PUBLISHED else None


def task(source: Any, written: Any, prompt: Any = "", all_cases: bool = False) -> AnyTask | None:
    """Return the task of a completion.

    Args:
        source: A puzzle's source; a task whose solution is left open, as an object or as its fields; a problem of a
            dataset; or a ground truth in the format of a published dataset, as an object or as its text.
        written: The completion: text or messages.
        prompt: The prompt that it continues.
        all_cases: Judge every case, also after one has failed.

    Returns:
        The task; None if the source is None: the row is of another task.

    Raises:
        ValueError: The source is none of these.
        Unanswered: No code is understood in the completion.
    """
    if isinstance(source, str) and source.lstrip()[:1] in ("{", "["):
        source = decoded(source, "the ground truth")
    if isinstance(source, Task | dict) and (sat := source.sat if isinstance(source, Task) else source.get("sat")):
        source = sat
    if _is_missing(source):
        return None
    if isinstance(source, str):
        return _puzzle(source, written, prompt)
    if isinstance(source, dict) and _is_task(source):
        fields = {**source, "sol": "", "all_cases": all_cases or source.get("all_cases")}
        source = records.to_task(fields, str(source.get("id", "")))
    if isinstance(source, FunctionTask | StdioTask):
        source = Problem(source.id, replace(source, all_cases=all_cases or source.all_cases))
    if not isinstance(source, Problem):
        source = formats.read(source, all_cases=all_cases)
    found = answers.task(source, written, prompt)
    if found is None:
        raise Unanswered(_UNANSWERED)
    return found


def value(task: AnyTask, verdict: Verdict) -> float:
    """Return the reward that a verdict on a task is worth: 1.0 or 0.0, or the share of cases that pass if the task has
    all of them judged."""
    in_part = not isinstance(task, Task) and task.all_cases
    return verdict.score if in_part else float(verdict.accepted)


def solution(source: str, written: Any, prompt: Any = "") -> str:
    """Return the solution in a completion of a prompt for a puzzle.

    Args:
        source: The puzzle's source.
        written: The completion: text or messages.
        prompt: The prompt that it continues.

    Raises:
        ValueError: The source is no puzzle.
        Unanswered: No code is understood in the completion.
    """
    return _puzzle(source, written, prompt).sol


def _puzzle(source: str, written: Any, prompt: Any) -> Task:
    """Return the task of a puzzle, and of what a completion has as its solution."""
    head = _HEAD.search(completion.text(prompt)[-_LONGEST_HEAD:])
    number = head[1] if head else ""
    wanted = {*_SOLUTIONS, *(f"{name}{number}" for name in _SOLUTIONS)}
    if not head:
        wanted |= set(_NUMBERED.findall(completion.text(written)))
    parts = _Parts(source)
    found = completion.code(written, prompt, wanted)
    if found is None:
        found = completion.answer(written, prompt) if head else ""
        if not found.strip():
            raise Unanswered(_UNANSWERED)
        found = completion.continued(f"def g{number}({parts.parameters}):", found)  # whatever it is, it is the body
    if not completion.defines(found, wanted):
        if completion.goes_on(found):
            found = completion.continued(f"def g{number}({parts.parameters}):", found)
    elif not head and (first := _NUMBERED.search(found)):
        number = first[1].lstrip("gsol")
    called = parts.called(found)
    if number:
        found = _renamed(found, {f"g{number}": "g", f"sol{number}": "sol", f"f{number}": called})
    return Task("", parts.named(called), found)


class _Parts:
    """What is read off a puzzle: one function (`generator.puzzle`), or any source that defines ``sat`` or ``f``.

    Raises:
        NotAPuzzle: It is neither.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        try:
            self._whole: Puzzle | None = puzzle.parse(source)
            self._name, self.parameters = self._whole.name, self._whole.parameters
            return
        except NotAPuzzle as error:
            found = [name for name in _PUZZLES if re.search(rf"^def {name}\b", source, re.M)]
            if not found or (len(source) <= puzzle.MAX_SOURCE and not _parses(source)):
                raise error
        self._whole, self._name = None, found[0]
        self.parameters = _parameters(source, found[0])

    def called(self, solution: str) -> str:
        """Return the name under which the solution finds the puzzle."""
        own = self._whole is None or (self._name in _PUZZLES and re.search(rf"\b{self._name}[ \t]*\(", solution))
        return self._name if own else "f"

    def named(self, name: str) -> str:
        """Return the source with the puzzle so named."""
        return self._whole.named(name) if self._whole else self._source


def _parses(source: str) -> bool:
    try:
        puzzle.tree(source)
    except NotAPuzzle:
        return False
    return True


def _parameters(source: str, name: str) -> str:
    """Return the arguments with defaults of a function of a source, as source."""
    try:
        body = puzzle.tree(source).body
    except NotAPuzzle:  # too long to be parsed
        return ""
    given = next(one.args for one in body if isinstance(one, ast.FunctionDef) and one.name == name)
    named = given.args[len(given.args) - len(given.defaults) :]
    return ", ".join(f"{one.arg}={ast.unparse(value)}" for one, value in zip(named, given.defaults, strict=True))


def _renamed(source: str, names: dict[str, str]) -> str:
    try:
        return puzzle.rename(source, names)
    except NotAPuzzle:
        return source


def _is_task(fields: dict[str, Any]) -> bool:
    """Return True for the fields of a task of ours, which differ from those of any dataset."""
    return fields.get("cases") is not None or (isinstance(fields.get("tests"), str) and "entry_point" in fields)


def _is_missing(value: Any) -> bool:
    """Return True for None, and for what tables have in its place."""
    return value is None or (isinstance(value, float) and math.isnan(value)) or type(value).__name__ in _MISSING


def _are_same(row: dict[str, Any], other: dict[str, Any]) -> bool:
    """Return True if two rows are the same, as far as their values can be compared."""
    try:
        return bool(row == other)
    except Exception:  # arrays, and what is missing in a table
        return False


def _is_column(column: Any, length: int) -> bool:
    return isinstance(column, Sequence) and not isinstance(column, str) and len(column) == length


def _warn(number: int, row: dict[str, Any], error: Exception) -> None:
    """Log why a row has no reward, once for each row."""
    named = ident(row) or str(row.get("puzzle", row.get("task", "")))[:80]
    reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
    text = f"({named!r}) has no reward: {reason}"
    if text not in _warned and len(_warned) < _MOST_WARNINGS:
        _warned.add(text)
        _log.warning("row %d %s", number, text)
