"""How long a task is tried before the others get their turn: most end soon, and an endless loop costs its whole limit.

What does not end in this time is run again when nothing else waits: it goes on where it was if the engine has kept it so, and else is begun anew. What that
wastes is small while few tasks are long: the time is twice what the longest of the last few took, doubles when that was too short, and otherwise
shrinks. It is long at first, when nothing is known.
"""

from __future__ import annotations

import functools
from dataclasses import replace

from selftaught.sandbox.task import Limits
from selftaught.sandbox.wire import Job

SHORTEST_SECONDS, LONGEST_SECONDS = 0.01, 0.1
"""CPU time of a phase; some ten times of elapsed time. Tasks whose limit is not over twice the longest get all of it at once."""
_STEPS_A_SECOND = 100
_TWICE, _SHORTER = 2.0, 0.9


class TimeSlice:
    """The time as it stands, in seconds."""

    def __init__(self) -> None:
        self.seconds = LONGEST_SECONDS

    def limits(self, job: Job) -> Limits:
        """What a phase of the job gets now."""
        return within(job.limits, self.seconds) if job.sliced else job.limits

    def phase_ended(self, seconds: float, phases: int = 1) -> None:
        """So many phases have ended in it, none of which took longer than that."""
        self.seconds = min(LONGEST_SECONDS, max(SHORTEST_SECONDS, self.seconds * _SHORTER**phases, seconds * _TWICE))

    def phase_expired(self) -> None:
        """A phase has not."""
        self.seconds = min(LONGEST_SECONDS, self.seconds * _TWICE)


def within(limits: Limits, seconds: float) -> Limits:
    """The limits of a phase that is tried for so long."""
    return _within(limits, max(1, round(seconds * _STEPS_A_SECOND)))


@functools.lru_cache(256)
def _within(limits: Limits, steps: int) -> Limits:
    seconds = steps / _STEPS_A_SECOND
    return replace(
        limits, cpu_seconds=min(limits.cpu_seconds, seconds), wall_seconds=min(limits.wall_seconds, 10 * seconds)
    )
