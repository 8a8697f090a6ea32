"""Length of time slices: verifier and workers schedule tasks by a multilevel feedback queue of two levels.

Most tasks end soon, and an endless loop costs its whole limit. So while other tasks wait, each phase gets one time
slice. A task whose slice runs out is demoted: it runs again, with all its time, when no other task waits. It goes on
where it was if the engine has kept its state, and starts over otherwise. What that wastes is small while few tasks are
long: the slice is twice the longest of the last few phases, doubles when it was too short, and otherwise shrinks. It
starts at its longest. (Corbató, Merwin-Daggett, Daley: An experimental time-sharing system, 1962.)
"""

from __future__ import annotations

import functools
from dataclasses import replace

from selftaught.sandbox.task import Limits
from selftaught.sandbox.wire import Job

SHORTEST_SECONDS, LONGEST_SECONDS = 0.01, 0.1
"""Bounds of the slice, in CPU seconds of a phase. It may take ten times that in elapsed time.
Tasks whose CPU limit is at most twice the longest slice are not sliced.
"""
_STEPS_A_SECOND = 100
_TWICE, _SHORTER = 2.0, 0.9


class TimeSlice:
    """The current length of the slice.

    Attributes:
        seconds: CPU seconds.
    """

    def __init__(self) -> None:
        self.seconds = LONGEST_SECONDS

    def limits(self, job: Job) -> Limits:
        """Return the limits of a phase of the job: cut to the slice if the job is sliced."""
        return within(job.limits, self.seconds) if job.sliced else job.limits

    def phase_ended(self, seconds: float, phases: int = 1) -> None:
        """Adapt to phases that ended within the slice.

        Args:
            seconds: CPU seconds of the longest of them.
            phases: how many phases ended.
        """
        self.seconds = min(LONGEST_SECONDS, max(SHORTEST_SECONDS, self.seconds * _SHORTER**phases, seconds * _TWICE))

    def phase_expired(self) -> None:
        """Adapt to a phase that did not end within the slice."""
        self.seconds = min(LONGEST_SECONDS, self.seconds * _TWICE)


def within(limits: Limits, seconds: float) -> Limits:
    """Return these limits with the CPU time cut to `seconds` and the elapsed time to ten times that."""
    return _within(limits, max(1, round(seconds * _STEPS_A_SECOND)))


@functools.lru_cache(256)
def _within(limits: Limits, steps: int) -> Limits:
    seconds = steps / _STEPS_A_SECOND
    return replace(
        limits, cpu_seconds=min(limits.cpu_seconds, seconds), wall_seconds=min(limits.wall_seconds, 10 * seconds)
    )
