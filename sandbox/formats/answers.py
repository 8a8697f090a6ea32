"""The solution in what a model wrote: a program in a fenced block, a bare program, or what continues a prompt."""

from __future__ import annotations

import re

from selftaught.sandbox.formats.problem import Problem
from selftaught.sandbox.task import FunctionTask, StdioTask

_THOUGHT = re.compile(r"<think>.*?</think>", re.S | re.I)
_BLOCK = re.compile(r"```([\w+-]*)[^\n]*\n(.*?)(?:```|\Z)", re.S)
_PYTHON = ("python", "python3", "py")


def code(text: str) -> str:
    """Return the last fenced block of Python in a text, or else the last fenced block, or the text itself.

    Thoughts between ``<think>`` and ``</think>`` are ignored.
    """
    text = _THOUGHT.sub("", text)
    blocks = _BLOCK.findall(text)
    marked = [source for language, source in blocks if language.lower() in _PYTHON]
    chosen = marked or [source for _, source in blocks]
    return str(chosen[-1]) if chosen else text


def solution(problem: Problem, text: str) -> str:
    """Return the whole solution that a model wrote.

    It is the code in the text (see `code`). What does not define the problem's function continues the problem's prompt,
    if there is one.

    Args:
        problem: The problem.
        text: What the model wrote.
    """
    source = code(text)
    if problem.prompt and not _defines(source, problem):
        return problem.complete(source)
    return source


def task(problem: Problem, text: str) -> FunctionTask | StdioTask:
    """Return the task of the solution that a model wrote (see `solution`)."""
    return problem.task(solution(problem, text))


def _defines(source: str, problem: Problem) -> bool:
    name = problem.judge.entry_point.rpartition(".")[2] if isinstance(problem.judge, FunctionTask) else ""
    return re.search(rf"^(?:async\s+)?def\s+{re.escape(name)}\b", source, re.M) is not None
