"""A job in the pool's queue: its result's receiver, and the turns that it has had (`selftaught.sandbox.time_slice`)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from selftaught.sandbox import time_slice
from selftaught.sandbox.job import Job, Turn
from selftaught.sandbox.judging import PUZZLE_PHASES
from selftaught.sandbox.task import Limits

GRACE_SECONDS = 10.0
"""How much longer than its limits a job may take before its worker is killed."""

OTHER_PHASE_RUNS = 4
"""Upper bound on the phases besides those of a job itself that a worker runs during one attempt at it.

Phase `sol` of another job, which may run between two of its own, on two engines (2); and, after that phase and its own
phase `sol`, the puzzle without the solution (2).
"""


@dataclass(slots=True, eq=False)
class Ticket:
    """A job and the callback that receives its result.

    Attributes:
        id: The id of the task or program.
        job: What is sent to a worker.
        done: Called once with the Verdict, or for a program with the Run, from a worker thread. Must not block or
            raise.
        phases: Upper bound on the phases of the job, each as long as its limit on elapsed time.
        attempts: How many workers have failed on the job.
        cancelled: The caller no longer wants the result.
        slices: In how many time slices it has not ended. If it is above 0 the job is demoted: it waits for an empty
            queue.
        lost_seconds: Elapsed time of unfinished turns after which it had to start over.
        thread: The worker thread in which its last turn was.
        limits: Its own limits; those of `job` are of its next turn.
        size: Size of its sources in bytes.
    """

    id: str
    job: Job
    done: Callable[[Any], None]
    phases: int = PUZZLE_PHASES
    attempts: int = 0
    cancelled: bool = field(default=False)
    slices: int = 0
    lost_seconds: float = 0.0
    thread: threading.Thread | None = None
    limits: Limits = field(init=False)
    size: int = field(init=False)

    def __post_init__(self) -> None:
        job = self.job
        self.limits, self.size = job.limits, len(job.sat) + len(job.sol) + len(job.files)
        self._set_turn()

    def _set_turn(self) -> None:
        """Set how long the job may run at its next turn."""
        job, limits = self.job, self.limits
        if not self.slices:
            job.turn = Turn.WHOLE if time_slice.is_short(limits) else Turn.SLICE
            return
        job.limits = time_slice.longer_limits(limits, self.slices)
        job.turn = Turn.LAST if job.limits == limits else Turn.LONGER
        if self.must_end:
            job.limits, job.turn = limits, Turn.WHOLE

    @property
    def must_end(self) -> bool:
        """True if it is not preempted any more: it has lost too much time."""
        return self.lost_seconds > self.limits.cpu_seconds

    def demote(self, thread: threading.Thread, seconds: float, resumable: bool, preempted: bool) -> None:
        """Note that a turn was over before the job had ended.

        Args:
            thread: The worker thread in which it was.
            seconds: Elapsed time of that turn.
            resumable: It can go on where it was.
            preempted: The turn was cut short by others.
        """
        self.thread = thread
        if not resumable:
            self.lost_seconds += seconds
        if not preempted:
            self.slices += 1
        self._set_turn()

    def cancel(self) -> None:
        """Mark the job as cancelled, from any thread, and free its sources, since it may stay queued for long."""
        self.cancelled, self.id = True, ""
        self.job = replace(self.job, sat=b"", sol=b"", files=b"")

    @property
    def most_seconds(self) -> float:
        """Upper bound on the time of an attempt, once sent: each phase may run on two engines."""
        return (2 * self.phases + OTHER_PHASE_RUNS) * self.limits.wall_seconds + GRACE_SECONDS
