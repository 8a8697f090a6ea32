"""Length of time slices: verifier and workers schedule jobs by a multilevel feedback queue.

Most jobs end soon, and an endless loop costs its whole limit. So each phase gets one time slice first. A job whose
slice runs out is demoted: it runs again when no other waits, or when others have had as much time, those first that
have had the least, each for a longer slice (`LONGER_SECONDS`) or at last with all its time, and it is preempted when
others come. It goes on where it was if the engine has kept its state, and starts over otherwise. What that wastes is
small while few jobs are long: the slice is twice the longest of the last few phases that ended. If it was too short for
one, a longer one is tried, twice as long each time, and it starts at the longest. If none that is much longer is left,
the next get the short one again, and eight times as many have to be late before a longer one is tried, until a job ends
thanks to one. So endless loops that come together cost those behind them little each. Phases that wait and use no CPU
time make it shorter, and the elapsed time in it too. A job whose puzzle, tests or cases have judged a solution before
gets a slice for twice what that one needed: so answers to a slow puzzle are judged in their turn. (Corbató,
Merwin-Daggett, Daley: An experimental time-sharing system, 1962.)
"""

from __future__ import annotations

import functools
import threading
from collections import OrderedDict
from dataclasses import replace

from selftaught.sandbox.job import WALL_OF_SLICE, Job, Kind, Turn
from selftaught.sandbox.outcome import End, Outcome
from selftaught.sandbox.task import Limits

SHORTEST_SECONDS, LONGEST_SECONDS = 0.01, 0.1
"""Bounds of the slice, in CPU seconds of a phase. It may take ten times that in elapsed time, up to 0.2 s. Jobs with a
limit of at most twice the longest slice are not sliced.
"""
LONGEST_KNOWN_SECONDS = 0.5
"""Bound of a slice for what is known of a job's tests or cases. Such a job always starts over."""
LONGER_SECONDS = (0.4, 1.6, 6.4)
"""The slices of a job that was demoted, in CPU seconds of a phase."""
_SHORTEST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.03, 0.2
_STEPS_A_SECOND = 100
_TWICE, _SHORTER = 2.0, 0.9
_MORE_LATE, _MOST_LATE = 8, 16
_MOST_LOST_SECONDS = 2.0
_MOST_KNOWN = 4096
_LATE = {End.UNFINISHED, End.CPU, End.WALL}


class TimeSlice:
    """The current length of the slice."""

    def __init__(self) -> None:
        self._needed, self._tried = SHORTEST_SECONDS, LONGEST_SECONDS
        self._wait_seconds = _LONGEST_WAIT_SECONDS
        self._late, self._late_before_longer = 0, 1

    @property
    def seconds(self) -> float:
        """CPU seconds: what phases have needed of late, or more if that is tried."""
        return max(self._needed, self._tried)

    def limits(self, job: Job) -> Limits:
        """Return the limits of a phase of the job: cut to the slice if this is its turn."""
        if job.turn is not Turn.SLICE:
            return job.limits
        limits = within(job.limits, max(self.seconds, job.slice_seconds))
        wait = max(self._wait_seconds, _TWICE * job.slice_seconds)
        return limits if limits.wall_seconds <= wait else replace(limits, wall_seconds=wait)

    def phase_ended(self, seconds: float, phases: int = 1) -> None:
        """Adapt to phases that ended within the slice.

        Args:
            seconds: CPU seconds of the longest of them.
            phases: how many phases ended.
        """
        if seconds > LONGEST_SECONDS:  # it was demoted, as it will be again whatever the slice
            seconds = 0.0
        if seconds > self._needed:  # it ended since a longer slice was tried
            self._late_before_longer = 1
        shorter = _SHORTER**phases
        self._needed = min(LONGEST_SECONDS, max(SHORTEST_SECONDS, self._needed * shorter, seconds * _TWICE))
        self._tried *= shorter
        self._wait_seconds = min(_LONGEST_WAIT_SECONDS, self._wait_seconds / shorter)

    def phase_expired(self, waited: bool = False) -> None:
        """Adapt to a phase that did not end within the slice.

        Args:
            waited: it used little CPU time.
        """
        if waited:
            self._needed, self._tried = max(SHORTEST_SECONDS, self._needed / _TWICE), self._tried / _TWICE
            self._wait_seconds = max(_SHORTEST_WAIT_SECONDS, self._wait_seconds / _TWICE)
            return
        if self.seconds > LONGEST_SECONDS / _TWICE:  # none that is much longer is left
            self._late, self._tried = 0, 0.0
            self._late_before_longer = min(_MOST_LATE, self._late_before_longer * _MORE_LATE)
            return
        self._late += 1
        if self._late >= self._late_before_longer:
            self._late, self._tried = 0, min(LONGEST_SECONDS, self.seconds * _TWICE)


def seconds_needed(job: Job, outcomes: list[Outcome]) -> float:
    """Return the CPU seconds that the longest phase of a job has taken; all tests are run in one."""
    times = [outcome.cpu_seconds for outcome in outcomes]
    return sum(times) if job.kind in (Kind.TESTS, Kind.SHARED) else max(times)


class Needed:
    """What solutions needed of late, by the puzzle, tests or cases that judged them. Thread-safe.

    Only what needs a longer slice than the shortest is remembered, and what ends in the longest.
    """

    def __init__(self) -> None:
        self._seconds: OrderedDict[int, float] = OrderedDict()
        self._lock = threading.Lock()

    def slice_seconds(self, job: Job) -> float:
        """Return the slice for a job: twice what the last one needed with the same puzzle, tests or cases."""
        if not self._seconds:
            return 0.0
        return min(_longest(job), _TWICE * self._seconds.get(hash(job.sat), 0.0))

    def note(self, job: Job, outcomes: list[Outcome]) -> None:
        """Note what a job has needed, or that its turn or its time has not sufficed."""
        seconds = seconds_needed(job, outcomes)
        is_known = SHORTEST_SECONDS / _TWICE < seconds <= _longest(job) and _LATE.isdisjoint(
            outcome.end for outcome in outcomes
        )
        if not (is_known or self._seconds):
            return
        key = hash(job.sat)
        with self._lock:
            if not is_known:
                self._seconds.pop(key, None)
                return
            self._seconds[key] = seconds
            self._seconds.move_to_end(key)
            if len(self._seconds) > _MOST_KNOWN:
                self._seconds.popitem(last=False)


def _longest(job: Job) -> float:
    return LONGEST_SECONDS if job.has_steps else LONGEST_KNOWN_SECONDS


class DemotedShare:
    """What one worker owes demoted jobs: as much time as it gives all others while there are some.

    Attributes:
        owed_seconds: Elapsed time, up to that of one turn.
    """

    def __init__(self) -> None:
        self.owed_seconds = 0.0

    @property
    def is_due(self) -> bool:
        """True if the next job is to be a demoted one, though others wait."""
        return self.owed_seconds >= LONGER_SECONDS[0]

    def count(self, seconds: float, demoted: bool, others_wait: bool) -> None:
        """Note a job's time.

        Args:
            seconds: Elapsed time of the job.
            demoted: It is a demoted one.
            others_wait: There are demoted jobs that wait.
        """
        if demoted:
            self.owed_seconds = max(0.0, self.owed_seconds - seconds)
        else:
            self.owed_seconds = min(LONGER_SECONDS[0], self.owed_seconds + seconds) if others_wait else 0.0

    def turn_seconds(self, lost_seconds: float) -> float:
        """Return for how long a demoted job is not preempted: longer if it had to start over, so that it gets further.

        Args:
            lost_seconds: Elapsed time of the turns after which it had to.
        """
        return self.owed_seconds + min(lost_seconds, _MOST_LOST_SECONDS)

    def settle(self) -> None:
        """Owe nothing any more."""
        self.owed_seconds = 0.0


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
        limits,
        cpu_seconds=min(limits.cpu_seconds, seconds),
        wall_seconds=min(limits.wall_seconds, WALL_OF_SLICE * seconds),
    )
