"""The interface between a supervisor and what judges tasks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from selftaught.sandbox.wire import Counters

SLOW_PHASE_SECONDS = 0.004
"""A phase that goes on for longer lets the supervisor do something else meanwhile."""

BATCH_SECONDS = 0.012
"""Outcomes wait so long for others to go with them, unless a phase goes on for more than a moment."""


_FREE_SECONDS = 0.02


def charged(our_seconds: float, cpu_seconds: float) -> float:
    """What a phase is charged of the CPU time that the supervisor has spent on it: what goes beyond as much again as its own, and what every phase may cost."""
    return max(0.0, our_seconds - cpu_seconds - _FREE_SECONDS)


class ClientGone(Exception):
    """The verifier has closed the connection or died: stop at once."""


class Engine(Protocol):
    """Judges tasks one after the other, each phase as if it were the first. `meanwhile` is called when one goes on for more than a moment.

    Its methods raise WorkerFailed if the engine is no longer usable, ClientGone if nobody waits for the outcome.
    """

    name: str
    counters: Counters
    on_slow_phase: Callable[[], None]

    def execute(self, frames: bytes) -> Iterator[bytes]:
        """Judge the tasks in these frames (`selftaught.sandbox.wire.pack_job`), or run the programs, in their order: frames of their outcomes, as they come."""

    def idle(self) -> bool:
        """There is nothing to do for a while: get ready for what may come. Whether there is more of that."""

    def close(self) -> None:
        """Kill and reap every process of the engine."""


def do_nothing() -> None:
    """What an engine does meanwhile if nothing else is wanted."""
