"""verl's `compute_score` for its sources of code (codecontests, apps, codeforces, taco)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from selftaught.sandbox import formats
from selftaught.sandbox.dropin import process
from selftaught.sandbox.dropin.human_eval import limits
from selftaught.sandbox.errors import NotJudged
from selftaught.sandbox.formats import answers
from selftaught.sandbox.formats.problem import Malformed
from selftaught.sandbox.task import FunctionTask, StdioTask, Task
from selftaught.sandbox.verdict import Status, Verdict

SECONDS = 10.0
"""CPU seconds of a case."""

_SCORED = 10
"""For how many cases a share is given: problems may have very many."""


def compute_score(
    completion: str, test_cases: str | Mapping[str, Any], continuous: bool = False
) -> tuple[bool | float, list[dict[str, Any]] | None]:
    """Return the score of a completion, as `verl.utils.reward_score.prime_code.compute_score` does.

    Args:
        completion: What the model wrote (see `selftaught.sandbox.completion.code`).
        test_cases: ``inputs``, ``outputs`` and maybe ``fn_name``, or ``assert_case``; an object, or its JSON text.
        continuous: If some case fails, return the share that passes of the first 10 cases.

    Returns:
        ``True``, ``False``, or the share; and for each case that was judged ``status``, ``error_message`` and
        ``test_case`` (``input``, ``output``, ``res``). ``False`` and ``None`` if `test_cases` are malformed.

    Raises:
        NotJudged: The completion could not be judged, or no code is understood in it.
    """
    try:
        problem = formats.read(dict(test_cases) if isinstance(test_cases, Mapping) else test_cases, "verl")
    except Malformed:
        return False, None
    written = answers.task(problem, completion)
    if written is None:
        raise NotJudged("no code is understood in the completion")
    assert not isinstance(written, Task)  # the format verl has no puzzles
    task = dataclasses.replace(written, limits=limits(SECONDS))
    verdict = _judged(task)
    if verdict.accepted or not continuous:
        return verdict.accepted, _metadata(task, verdict)
    first = _first_cases(task)
    verdict = _judged(first)
    scored = verdict.cases[:_SCORED]
    share = sum(case.status is Status.ACCEPTED for case in scored) / max(min(verdict.total, _SCORED), 1)
    return share, _metadata(first, verdict)


def _first_cases(task: FunctionTask | StdioTask) -> FunctionTask | StdioTask:
    """Return the task with the cases that a share is given for."""
    if isinstance(task, StdioTask):
        return dataclasses.replace(task, cases=task.cases[:_SCORED], all_cases=True)
    return dataclasses.replace(task, cases=task.cases and task.cases[:_SCORED], all_cases=True)


def _judged(task: FunctionTask | StdioTask) -> Verdict:
    verdict = process.judge(task)
    return verdict if verdict.status is Status.INVALID else process.require_judged(verdict)


def _metadata(task: FunctionTask | StdioTask, verdict: Verdict) -> list[dict[str, Any]]:
    cases: list[tuple[Any, ...]] = [tuple(case) for case in task.cases or ()]
    found = []
    for number, case in enumerate(verdict.cases):
        given, expected = (cases[number][0], cases[number][-1]) if number < len(cases) else ("", "")
        result = {"input": str(given), "output": str(expected), "res": str(case.status is Status.ACCEPTED)}
        found.append({"status": str(case.status), "error_message": case.message, "test_case": result})
    return found
