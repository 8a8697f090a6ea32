"""Tasks that were interrupted so that others get their turn: each goes on where it was when it comes again, instead of from its start."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from selftaught.sandbox.wire import Job
from selftaught.sandbox.worker.phases import Step, Steps

CAPACITY_BYTES = 16 << 20
"""Of memory that is kept for them: for want of room the oldest is forgotten, which costs it the time that it has had."""
_Key = tuple[bytes, bytes, int, int, int, int]


@dataclass(frozen=True, slots=True)
class SuspendedJob:
    """A job as it stood when it was interrupted: what of the process was not as it is at the snapshot.

    pages: addresses, and what was there. registers, extended: see `Tracee`. printed: bytes so far. used: CPU time and elapsed time in seconds.
    """

    pages: list[tuple[int, bytes]]
    registers: tuple[int, ...]
    extended: bytes
    printed: int
    used: tuple[float, float]


class SuspendedTasks:
    """The tasks that one process can go on with: the trial of each, its step, and where that stood."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Nobody asks for them any more, or the process has gone that they could go on in."""
        self._kept: OrderedDict[_Key, tuple[Steps, Step, SuspendedJob]] = OrderedDict()
        self._bytes = 0

    def add(self, job: Job, steps: Steps, step: Step, suspended: SuspendedJob) -> None:
        """Keep one."""
        self.take(job)
        self._kept[_key(job)] = steps, step, suspended
        self._bytes += _size(suspended)
        while self._bytes > CAPACITY_BYTES:
            _, (*_, oldest) = self._kept.popitem(last=False)
            self._bytes -= _size(oldest)

    def take(self, job: Job) -> tuple[Steps, Step, SuspendedJob] | None:
        """The same task, which may have other limits of time now, no longer kept here; or None."""
        kept = self._kept.pop(_key(job), None)
        self._bytes -= _size(kept[-1]) if kept else 0
        return kept

    def __len__(self) -> int:
        return len(self._kept)


def _key(job: Job) -> _Key:
    limits = job.limits
    return job.sat, job.sol, job.seed, limits.memory_bytes, limits.answer_bytes, limits.output_bytes


def _size(suspended: SuspendedJob) -> int:
    return sum(len(content) for _, content in suspended.pages)
