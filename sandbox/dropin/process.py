"""The one verifier of a process, which drop-in functions and rewards share."""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import Sequence

from selftaught.sandbox.errors import NotJudged
from selftaught.sandbox.task import AnyTask
from selftaught.sandbox.verdict import Verdict
from selftaught.sandbox.verifier import Verifier

TRIES = 3
"""Maximum number of verifications of a solution that could not be judged."""

_verifier: Verifier | None = None
_lock = threading.Lock()


def use(verifier: Verifier) -> None:
    """Set the verifier of this process (for other limits, workers, or a lower confinement level).

    Args:
        verifier: The verifier. The caller closes it.
    """
    global _verifier
    with _lock:
        _verifier = verifier


def current() -> Verifier:
    """Return the verifier in use; open one if there is none, which is closed when the process ends.

    Raises:
        CannotConfine: None can be opened on this machine.
    """
    global _verifier
    with _lock:
        if _verifier is None:
            _verifier = Verifier()
            atexit.register(_verifier.close)
        return _verifier


def judge(task: AnyTask) -> Verdict:
    """Return the verdict on a task; one that could not be judged is tried again, up to `TRIES` times."""
    for _ in range(TRIES):
        verdict = current().verify(task)
        if verdict.judged:
            break
    return verdict


def judge_many(tasks: Sequence[AnyTask]) -> list[Verdict]:
    """Return the verdicts on tasks, in order, as `judge` does."""
    verdicts = list(current().verify_many(tasks))
    for _ in range(TRIES - 1):
        again = [number for number, verdict in enumerate(verdicts) if not verdict.judged]
        for number, verdict in zip(again, current().verify_many([tasks[n] for n in again]), strict=True):
            verdicts[number] = verdict
    return verdicts


async def ajudge(task: AnyTask) -> Verdict:
    """Return the verdict on a task, as `judge` does, from a coroutine."""
    for _ in range(TRIES):
        verdict = await current().averify(task)
        if verdict.judged:
            break
    return verdict


async def ajudge_many(tasks: Sequence[AnyTask]) -> list[Verdict]:
    """Return the verdicts on tasks, in order, from a coroutine."""
    return await asyncio.gather(*map(ajudge, tasks))


def require_judged(verdict: Verdict) -> Verdict:
    """Return the verdict. Raises NotJudged if it is none."""
    if not verdict.judged:
        raise NotJudged(f"{verdict.status}: {verdict.message}")
    return verdict
