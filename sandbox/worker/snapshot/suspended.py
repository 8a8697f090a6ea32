"""Jobs that were interrupted so that others get their turn: each goes on where it was when it is run again, instead of from its start."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from sandbox.task import Limits
from sandbox.worker.engine import Phase

ROOM_BYTES = 16 << 20
"""Of memory that is kept for them: for want of room the oldest is forgotten, which costs it the time that it has had."""
_Key = tuple[Phase, bytes, bytes, int, int, int, int]


@dataclass(frozen=True, slots=True)
class Held:
    """A job as it stood when it was interrupted: what of the runner was not as it is at the snapshot.

    pages: addresses, and what was there. registers, extended: see `Tracee`. printed: bytes so far. used: CPU time and elapsed time in seconds.
    """

    pages: list[tuple[int, bytes]]
    registers: tuple[int, ...]
    extended: bytes
    printed: int
    used: tuple[float, float]


class Suspended:
    """The jobs of one runner that are held."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Nobody asks for them any more, or the runner has gone that they could go on in."""
        self._held: OrderedDict[_Key, Held] = OrderedDict()
        self._bytes = 0

    def add(self, phase: Phase, sat: bytes, payload: bytes, limits: Limits, seed: int, held: Held) -> None:
        """Keep one; its limits of time do not matter here."""
        key = _key(phase, sat, payload, limits, seed)
        self._take(key)
        self._held[key] = held
        self._bytes += _size(held)
        while self._bytes > ROOM_BYTES:
            self._take(next(iter(self._held)))

    def take(self, phase: Phase, sat: bytes, payload: bytes, limits: Limits, seed: int) -> Held | None:
        """The same job, no longer kept here, or None."""
        return self._take(_key(phase, sat, payload, limits, seed)) if self._held else None

    def knows(self, sat: bytes, seed: int) -> bool:
        """Whether a job with this puzzle is held."""
        return any((sat, seed) == (one[1], one[4]) for one in self._held)

    def __len__(self) -> int:
        return len(self._held)

    def _take(self, key: _Key) -> Held | None:
        held = self._held.pop(key, None)
        self._bytes -= _size(held) if held else 0
        return held


def _key(phase: Phase, sat: bytes, payload: bytes, limits: Limits, seed: int) -> _Key:
    """What makes two jobs the same, but for the time that they may take."""
    return phase, sat, payload, limits.memory_bytes, seed, limits.answer_bytes, limits.output_bytes


def _size(held: Held) -> int:
    return sum(len(content) for _, content in held.pages)
