"""Suspended tasks: interrupted so that others get their turn, and resumed where they were when they come again."""

from __future__ import annotations

from dataclasses import dataclass

from selftaught.sandbox.job import Job
from selftaught.sandbox.worker.phases import Step, Steps

CAPACITY_BYTES = 16 << 20
"""Memory for suspended jobs, in bytes. If it is full those are dropped that have had the least time for their size."""
_Key = tuple[int, bytes, bytes, bytes, int, int, int, int]


@dataclass(frozen=True, slots=True)
class SuspendedJob:
    """The state of a job when it was interrupted: what differed from the snapshot.

    Attributes:
        pages: addresses and their content.
        registers, extended: see `Tracee`.
        printed: bytes printed so far.
        used: CPU time and elapsed time in seconds.
        streams: of a program: how much of its standard input it has read, and its two outputs so far, each with its
            whole size, of which as much was kept as the limit allows.
    """

    pages: list[tuple[int, bytes]]
    registers: tuple[int, ...]
    extended: bytes
    printed: int
    used: tuple[float, float]
    streams: tuple[int, tuple[tuple[bytes, int], tuple[bytes, int]]] | None = None


class SuspendedTasks:
    """The tasks that one process can resume: the steps of each, the current step, and its job's state."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Drop all: no one asks for them any more, or the process that could resume them has ended."""
        self._kept: dict[_Key, tuple[Steps, Step, SuspendedJob]] = {}
        self._bytes = 0

    def add(self, job: Job, steps: Steps, step: Step, suspended: SuspendedJob) -> None:
        """Add a task, in place of an equal one."""
        self.take(job)
        self._kept[_key(job)] = steps, step, suspended
        self._bytes += _size(suspended)
        while self._bytes > CAPACITY_BYTES:
            least = min(self._kept, key=lambda key: _seconds_per_byte(self._kept[key][-1]))
            self._bytes -= _size(self._kept.pop(least)[-1])

    def take(self, job: Job) -> tuple[Steps, Step, SuspendedJob] | None:
        """Remove and return the same task, which may have other time limits now; None if it is not there."""
        kept = self._kept.pop(_key(job), None)
        self._bytes -= _size(kept[-1]) if kept else 0
        return kept

    def __len__(self) -> int:
        return len(self._kept)


def _key(job: Job) -> _Key:
    limits = job.limits
    spaces = limits.memory_bytes, limits.answer_bytes, limits.output_bytes
    return job.kind, job.sat, job.sol, job.files, job.seed, *spaces


def _seconds_per_byte(suspended: SuspendedJob) -> float:
    return suspended.used[0] / max(1, _size(suspended))


def _size(suspended: SuspendedJob) -> int:
    printed = sum(len(kept) for kept, _ in suspended.streams[1]) if suspended.streams else 0
    return printed + sum(len(content) for _, content in suspended.pages)
