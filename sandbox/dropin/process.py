"""The one verifier of a process, which drop-in functions and rewards share.

It is one that `use` has set, or it is opened when first needed. If the environment variable ``SELFTAUGHT_DAEMON`` has
addresses of daemons, separated by spaces, it is a client of them, with the token in the file that
``SELFTAUGHT_TOKEN_FILE`` names. Otherwise, where one process asks, it is a `Verifier` of its own. Where many may ask on
one machine it is a client of one daemon that all of them share (`Verifier.shared`), so that there are not as many
workers as processes times processors. Many may ask

* in a process of Ray, or one that is connected to it;
* in a child of `multiprocessing`, and after a fork of a process that has asked;
* under torchrun, `accelerate launch` or mpirun with several processes on this machine (``LOCAL_WORLD_SIZE``,
  ``OMPI_COMM_WORLD_LOCAL_SIZE``).

The environment variable ``SELFTAUGHT_SHARED`` decides instead: ``1`` for the daemon, ``0`` for a verifier of one's own.
The daemon needs the extra `server`; without it the process warns, and opens a verifier of its own.
"""

from __future__ import annotations

import asyncio
import atexit
import importlib.util
import logging
import multiprocessing
import os
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from selftaught.sandbox.daemon_address import DAEMON_VARIABLE, TOKEN_VARIABLE, read_token
from selftaught.sandbox.errors import NotJudged
from selftaught.sandbox.task import AnyTask, Limits
from selftaught.sandbox.verdict import Status, Verdict
from selftaught.sandbox.verifier import Verifier

if TYPE_CHECKING:
    from selftaught.sandbox.client import Client

_log = logging.getLogger(__name__)

TRIES = 3
"""Maximum number of verifications of a solution that could not be judged."""

VARIABLE = "SELFTAUGHT_SHARED"
"""The environment variable that says whether the processes of a machine share a daemon: ``1`` or ``0``."""

CEILING = Limits(cpu_seconds=60.0, memory_bytes=4 << 30, output_bytes=16 << 20)
"""The highest limits of a task that the shared daemon accepts. Tasks without limits get the usual ones."""

_SIZES = ("LOCAL_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE")
_SERVER = ("aiohttp", "starlette", "uvicorn", "httptools", "msgspec", "prometheus_client", "uvloop")

_verifier: Verifier | Client | None = None
_opened_here = False
"""`_verifier` was opened by `current`, which closes it."""
_forked = False
"""This process was forked from one that had asked."""
_lock = threading.Lock()
_inherited: list[Any] = []
"""What a parent opened: it is neither used nor closed here."""


def use(verifier: Verifier | Client) -> None:
    """Set the verifier of this process (for other limits, workers, or a lower confinement level).

    Args:
        verifier: The verifier, or a client of a daemon. The caller closes it.
    """
    global _verifier, _opened_here
    with _lock:
        _verifier, _opened_here = verifier, False


def current() -> Verifier | Client:
    """Return the verifier in use; open one if there is none, which is closed when the process ends.

    Raises:
        CannotConfine: None can be opened on this machine.
        ValueError: The environment variable `VARIABLE` is neither ``1`` nor ``0``, or that of daemons has no addresses.
        OSError: The file with the daemons' token can't be read.
    """
    global _verifier, _opened_here
    with _lock:
        if _verifier is None:
            _verifier = _open()
            if not _opened_here:
                atexit.register(_close)
            _opened_here = True
        return _verifier


def _open() -> Verifier | Client:
    if urls := os.environ.get(DAEMON_VARIABLE, "").split():
        from selftaught.sandbox.client import Client

        path = os.environ.get(TOKEN_VARIABLE)
        return Client(urls, token=read_token(path) if path else None, limits=Limits())
    return Verifier.shared(limits=CEILING) if shares() else Verifier()


def limits() -> Limits:
    """Return the limits for tasks that have none of their own."""
    verifier = current()
    return Limits() if _opened_here else verifier.limits


def shares() -> bool:
    """Return True if `current` opens a client of the daemon that the processes of this machine share.

    Raises:
        ValueError: The environment variable `VARIABLE` is neither ``1`` nor ``0``.
    """
    wish = os.environ.get(VARIABLE, "")
    if wish not in ("", "0", "1"):
        raise ValueError(f"{VARIABLE} must be 1 (share one daemon) or 0 (a verifier of one's own), not {wish!r}")
    if wish or not _one_of_many():
        return wish == "1"
    if missing := [name for name in _SERVER if importlib.util.find_spec(name) is None]:
        _log.warning(
            "many processes of this machine may verify, and each opens workers of its own, as the shared daemon needs "
            "%s: pip install 'selftaught[server]'", ", ".join(missing),
        )  # fmt: skip
        return False
    return True


def _one_of_many() -> bool:
    """Return True if other processes of this machine may verify at the same time."""
    ray = sys.modules.get("ray")
    if ray is not None and getattr(ray, "is_initialized", bool)():
        return True
    sizes = [os.environ.get(name, "") for name in _SIZES]
    many = any(size.isdigit() and int(size) > 1 for size in sizes)
    return many or _forked or multiprocessing.parent_process() is not None


def _close() -> None:
    if _opened_here and _verifier is not None:
        _verifier.close()


def _after_fork() -> None:
    """In a forked child: forget the verifier that the parent has opened. One that `use` has set opens its workers anew
    by itself."""
    global _verifier, _opened_here, _forked, _lock
    _lock = threading.Lock()
    if _opened_here:
        _inherited.append(_verifier)
        _verifier, _opened_here, _forked = None, False, True


os.register_at_fork(after_in_child=_after_fork)


def judge(task: AnyTask) -> Verdict:
    """Return the verdict on a task; one that could not be judged is tried again, up to `TRIES` times."""
    for _ in range(TRIES):
        verdict = current().verify(_limited(task))
        if not _may_be_judged(verdict):
            break
    return verdict


def judge_many(tasks: Sequence[AnyTask]) -> list[Verdict]:
    """Return the verdicts on tasks, in order, as `judge` does."""
    tasks = list(map(_limited, tasks))
    verdicts = list(current().verify_many(tasks))
    for _ in range(TRIES - 1):
        again = [number for number, verdict in enumerate(verdicts) if _may_be_judged(verdict)]
        for number, verdict in zip(again, current().verify_many([tasks[n] for n in again]), strict=True):
            verdicts[number] = verdict
    return verdicts


async def ajudge(task: AnyTask) -> Verdict:
    """Return the verdict on a task, as `judge` does, from a coroutine."""
    for _ in range(TRIES):
        verdict = await current().averify(_limited(task))
        if not _may_be_judged(verdict):
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


def _limited(task: AnyTask) -> AnyTask:
    """Return the task with the usual limits if it has none: the shared daemon's own are the highest."""
    if _opened_here and not isinstance(_verifier, Verifier) and task.limits is None:
        return replace(task, limits=Limits())
    return task


def _may_be_judged(verdict: Verdict) -> bool:
    """Return True if a task was not judged, but may be if it is asked for again."""
    return not verdict.judged and verdict.status is not Status.INVALID
