"""Length of time slices: verifier and workers schedule jobs by a multilevel feedback queue.

Most jobs end soon, and an endless loop costs its whole limit. So each phase gets one time slice first. A job whose
slice runs out is demoted: it runs again when no other waits, those first that have had the least time, each for a
longer slice (`LONGER_SECONDS`) or at last with all its time, and it is preempted when others come. It goes on where it
was if the engine has kept its state, and starts over otherwise. What that wastes is small while few jobs are long: the
slice is twice the longest of the last few phases, doubles when it was too short, and otherwise shrinks. It starts at
its longest. Phases that wait and use no CPU time make it shorter. (Corbató, Merwin-Daggett, Daley: An experimental
time-sharing system, 1962.)
"""

from __future__ import annotations

import functools
from dataclasses import replace

from selftaught.sandbox.job import Job, Turn
from selftaught.sandbox.task import Limits

SHORTEST_SECONDS, LONGEST_SECONDS = 0.01, 0.1
"""Bounds of the slice, in CPU seconds of a phase. It may take ten times that in elapsed time, up to
`_LONGEST_WAIT_SECONDS`. Jobs with a limit of at most twice the longest slice are not sliced.
"""
LONGER_SECONDS = (0.4, 1.6, 6.4)
"""The slices of a job that was demoted, in CPU seconds of a phase."""
_LONGEST_WAIT_SECONDS = 0.2
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
        """Return the limits of a phase of the job: cut to the slice if this is its turn."""
        if job.turn is not Turn.SLICE:
            return job.limits
        limits = within(job.limits, self.seconds)
        return replace(limits, wall_seconds=min(limits.wall_seconds, _LONGEST_WAIT_SECONDS))

    def phase_ended(self, seconds: float, phases: int = 1) -> None:
        """Adapt to phases that ended within the slice.

        Args:
            seconds: CPU seconds of the longest of them.
            phases: how many phases ended.
        """
        self.seconds = min(LONGEST_SECONDS, max(SHORTEST_SECONDS, self.seconds * _SHORTER**phases, seconds * _TWICE))

    def phase_expired(self, waited: bool = False) -> None:
        """Adapt to a phase that did not end within the slice.

        Args:
            waited: it used next to no CPU time.
        """
        self.seconds = max(SHORTEST_SECONDS, min(LONGEST_SECONDS, self.seconds * (1 / _TWICE if waited else _TWICE)))


def is_short(limits: Limits) -> bool:
    """Return True if a job with these limits is not sliced, since it is short anyway."""
    return max(limits.cpu_seconds, limits.wall_seconds / 10) <= 2 * LONGEST_SECONDS


def longer_limits(limits: Limits, level: int) -> Limits:
    """Return the limits of a turn of a demoted job: of a longer slice, or the same for its last turn.

    Args:
        limits: its own limits.
        level: in how many slices it has not ended so far, at least 1.
    """
    if level > len(LONGER_SECONDS) or 4 * LONGER_SECONDS[level - 1] > limits.cpu_seconds:
        return limits
    return within(limits, LONGER_SECONDS[level - 1])


def within(limits: Limits, seconds: float) -> Limits:
    """Return these limits with the CPU time cut to `seconds` and the elapsed time to ten times that."""
    return _within(limits, max(1, round(seconds * _STEPS_A_SECOND)))


@functools.lru_cache(256)
def _within(limits: Limits, steps: int) -> Limits:
    seconds = steps / _STEPS_A_SECOND
    return replace(
        limits, cpu_seconds=min(limits.cpu_seconds, seconds), wall_seconds=min(limits.wall_seconds, 10 * seconds)
    )
