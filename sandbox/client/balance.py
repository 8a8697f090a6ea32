"""Which of several daemons gets the next tasks, and how many it may have: pure functions of what is outstanding.

A daemon that is fast may have more tasks at a time than one that is slow, so that none has to be waited for at the end
of a stream, and an ordered stream does not stand still for its slowest daemon.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass

AHEAD_SECONDS = 0.25
"""A daemon has so much work at a time: enough to hide the network, and little enough to be done soon."""
_MEASURED_SECONDS = 0.1
_AT_FIRST = 8
"""The tasks for each worker of a daemon whose pace is not known."""


@dataclass(frozen=True, slots=True)
class Load:
    """What a daemon has to do for a client.

    Attributes:
        outstanding: Tasks that it was sent and has not answered.
        room: The tasks that it can have at a time, at least 1.
        ready: It may be sent tasks.
        busy: It has asked to be left alone for a moment.
    """

    outstanding: int
    room: int
    ready: bool = True
    busy: bool = False


def choose(loads: Sequence[Load], first: int = 0, avoid: Container[int] = (), limited: bool = True) -> int | None:
    """Choose the daemon that gets the next task: the one whose room is taken least.

    Args:
        loads: The load of each daemon.
        first: The one that is taken first among equals, and after it the following, so that many clients that begin at
            the same time don't all take the same.
        avoid: Those that are taken only if there is no other, like those that are busy.
        limited: Take only those that have room.

    Returns:
        The number of the daemon; None if none is ready, or each has all that it may have.
    """
    able = [number for number, load in enumerate(loads) if load.ready and (load.outstanding < load.room or not limited)]
    count = len(loads)

    def rank(number: int) -> tuple[bool, bool, float, int]:
        load = loads[number]
        return load.busy, number in avoid, load.outstanding / load.room, (number - first) % count

    return min(able, key=rank, default=None)


def share(load: Load, waiting: int) -> int:
    """Return how many of the waiting tasks the chosen daemon gets at once.

    Neighbours in a stream are often of one puzzle, which is compiled once where they are judged together.
    """
    return min(waiting, max(1, (load.room - load.outstanding) // 8))


class Pace:
    """How many tasks a daemon may have at a time, by the rate of its verdicts.

    Args:
        least: The fewest, for tasks that take long.
        most: The most.
    """

    def __init__(self, least: int, most: int) -> None:
        self._least, self._most = min(least, most), most
        self._rate: float | None = None
        self._since, self._count = 0.0, 0

    @property
    def room(self) -> int:
        """The tasks that it may have at a time."""
        ahead = self._least * _AT_FIRST // 2 if self._rate is None else int(self._rate * AHEAD_SECONDS)
        return max(self._least, min(ahead, self._most))

    def began(self, now: float) -> None:
        """Note that it has been sent tasks when it had none: what was before is no measure of it."""
        self._since, self._count = now, 0

    def received(self, count: int, now: float) -> None:
        """Note that so many verdicts have come."""
        self._count += count
        elapsed = now - self._since
        if elapsed >= _MEASURED_SECONDS:
            rate = self._count / elapsed
            self._rate = rate if self._rate is None else (self._rate + rate) / 2
            self.began(now)
