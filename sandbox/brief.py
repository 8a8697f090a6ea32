"""How long a task is tried before the others get their turn: most end soon, and an endless loop costs its whole limit.

What does not end in this time is begun anew when nothing else waits. What that wastes is small while few tasks are long: the time is as short
as that allows, and longer while many are.
"""

from __future__ import annotations

import functools
from dataclasses import replace

from sandbox.task import Limits

SHORTEST_SECONDS, LONGEST_SECONDS = 0.04, 0.1
"""CPU time of a phase; some ten times of elapsed time. Tasks whose limit is not over twice the longest get all of it at once."""
_STEPS_A_SECOND = 100
_LONGER, _SHORTER = 1.2, 0.985  # in balance if one task in 13 is long


class BriefTime:
    """The time as it stands, in seconds. Threads may use it at once: a change that is lost among them does no harm."""

    def __init__(self) -> None:
        self.seconds = SHORTEST_SECONDS

    def was_enough(self) -> None:
        """A task has ended in it."""
        self.seconds = max(SHORTEST_SECONDS, self.seconds * _SHORTER)

    def was_too_short(self) -> None:
        """A task has to be begun anew."""
        self.seconds = min(LONGEST_SECONDS, self.seconds * _LONGER)


def within(limits: Limits, seconds: float) -> Limits:
    """The limits of a phase that is tried for so long."""
    return _within(limits, max(1, round(seconds * _STEPS_A_SECOND)))


@functools.lru_cache(256)
def _within(limits: Limits, steps: int) -> Limits:
    seconds = steps / _STEPS_A_SECOND
    return replace(limits, cpu_seconds=min(limits.cpu_seconds, seconds), wall_seconds=min(limits.wall_seconds, 10 * seconds))
