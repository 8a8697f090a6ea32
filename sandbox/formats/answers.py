"""The solution in what a model wrote (`selftaught.sandbox.completion`), for a problem of a dataset."""

from __future__ import annotations

from typing import Any

from selftaught.sandbox import completion
from selftaught.sandbox.formats.problem import Problem
from selftaught.sandbox.task import AnyTask, FunctionTask


def solution(problem: Problem, written: Any, prompt: Any = "") -> str | None:
    """Return the whole solution that a model wrote.

    It is the code in the answer. What does not define the problem's function continues the problem's prompt, if there
    is one.

    Args:
        problem: The problem.
        written: What the model wrote: text or messages.
        prompt: The prompt that it continues; text or messages.

    Returns:
        The source; None if no code is understood in the answer.
    """
    names = _names(problem)
    source = completion.code(written, prompt, names)
    if source is None or not problem.prompt or completion.defines(source, names):
        return source
    return completion.continued(problem.prompt, source)


def task(problem: Problem, written: Any, prompt: Any = "") -> AnyTask | None:
    """Return the task of the solution that a model wrote (see `solution`); None if there is none."""
    source = solution(problem, written, prompt)
    return None if source is None else problem.task(source)


def _names(problem: Problem) -> tuple[str, ...]:
    """Return the names of which a solution defines one; none for a program."""
    if not isinstance(problem.judge, FunctionTask):
        return ()
    name = problem.judge.entry_point.rpartition(".")[2]
    return (name, "Solution") if problem.method or "." in problem.judge.entry_point else (name,)
