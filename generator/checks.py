"""Filters that run a puzzle, as tasks for the verifier. No code of a puzzle runs anywhere else.

A verdict only says whether an answer was accepted. So each filter builds a puzzle of its own: "does one of these
answers solve it?", "is one of these changed answers refused?".
"""

from __future__ import annotations

from selftaught.generator import answers
from selftaught.generator.answers import Type
from selftaught.generator.puzzle import Puzzle
from selftaught.sandbox import Task

_CHUNK = 25
"""Number of answers in one task when the task with all answers hit a limit: one of them may never return."""

_TRY_ALL = """
inf = float("inf")
def g():
    for answer in {answers}:
        try:
            if f(answer) is True:
                return answer
        except Exception:
            pass
"""

_RETURNS_FOR_ONE = """
inf = float("inf")
def sol():
    for answer in {answers}:
        try:
            f(answer)
        except Exception:
            continue
        return True
    return False
"""

_TAKES_ONE = """

def sat(answers: list):
    for answer in answers:
        try:
            if f(answer):
                return True
        except NameError:
            return True
        except Exception:
            pass
    return False
"""
"""The paper's check: something true suffices, and a name that nothing defines counts as trivial."""

_REFUSES_ONE = """

def sat(changed: list):
    for answer in changed:
        try:
            if f(answer) is not True:
                return True
        except Exception:
            return True
    return False
"""

_CHANGE = """

def sol():
    answer = g()
    def near(value):
        kind = type(value)
        if kind is bool:
            return [not value]
        if kind is int or kind is float:
            return [value + 1, value - 1, -value - 1, 2 * value + 3]
        if kind is str:
            return ["", value + "~", value[1:], "".join(chr(ord(c) ^ 1) for c in value)]
        if kind is list or kind is tuple:
            parts = [kind(), value[1:], value + value, value[::-1]]
            others = [(i, other) for i in range(min(3, len(value))) for other in near(value[i])]
            return parts + [value[:i] + kind([other]) + value[i + 1:] for i, other in others]
        if kind is set:
            return [set(), set(list(value)[1:])] + [{*value, other} for one in list(value)[:1] for other in near(one)]
        if kind is dict:
            fewer = dict(list(value.items())[1:])
            return [{}, fewer] + [{**fewer, key: other} for key, one in list(value.items())[:1] for other in near(one)]
        return []
    return [other for other in near(answer) + {plain} if type(other) is not type(answer) or other != answer]
"""


def trivial_tasks(ident: str, puzzle: Puzzle, kind: Type, trivial_check: str) -> list[Task]:
    """Return tasks of which one is accepted if the puzzle has a trivial answer.

    The first task tries all answers, and decides unless it hits a limit. The others try a few answers each.

    Args:
        ident: The tasks' ids are ``ident/0``, ``ident/1`` ...
        puzzle: The puzzle.
        kind: The type of its answers.
        trivial_check: ``paper`` or ``search`` (see `selftaught.generator.recipe.Recipe`).
    """
    paper = trivial_check == "paper"
    tried = answers.paper_answers(kind) if paper else answers.suggested_answers(puzzle, kind)
    groups = [tried, *(tried[start : start + _CHUNK] for start in range(0, len(tried), _CHUNK))]
    if paper:
        return [
            Task(f"{ident}/{number}", puzzle.named("f") + _TAKES_ONE, f"def sol():\n    return {group!r}")
            for number, group in enumerate(groups)
        ]
    return [
        Task(f"{ident}/{number}", puzzle.source, _TRY_ALL.replace("{answers}", repr(group)))
        for number, group in enumerate(groups)
    ]


def running_task(ident: str, puzzle: Puzzle, kind: Type) -> Task:
    """Return a task that is rejected if a puzzle raises an exception for every trivial answer of its type."""
    tried = repr(answers.suggested_answers(puzzle, kind))
    solution = puzzle.named("f") + _RETURNS_FOR_ONE.replace("{answers}", tried)
    return Task(ident, "def sat(returned: bool): return returned", solution)


def dependence_task(ident: str, puzzle: Puzzle, kind: Type, solution: str) -> Task:
    """Return a task that shows whether a puzzle's result depends on its answer.

    The task is accepted if the puzzle refuses at least one of some answers near the solution's and a few plain ones. It
    is rejected if the puzzle accepts all of them.
    """
    plain = repr(answers.small_answers(kind)[:8])
    return Task(ident, puzzle.source + _REFUSES_ONE, solution + _CHANGE.replace("{plain}", plain))
