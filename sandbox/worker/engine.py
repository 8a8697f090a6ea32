"""The interface between the supervisor and the engines that run tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from selftaught.sandbox.outcome import Counters

SLOW_PHASE_SECONDS = 0.004
"""A phase that runs longer is slow: the engine calls `Engine.on_slow_phase`."""

BATCH_SECONDS = 0.012
"""Outcomes wait this long for others, to be sent together. A slow phase sends them at once."""

_FREE_SECONDS = 0.02
"""Supervisor CPU time that no phase is charged for."""


def charged(our_seconds: float, cpu_seconds: float) -> float:
    """Return the part of the supervisor's CPU time that a phase is charged for.

    Args:
        our_seconds: CPU time that the supervisor spent on the phase.
        cpu_seconds: CPU time of the phase itself; the supervisor may spend as much again, and `_FREE_SECONDS`, for
            free.

    Returns:
        Seconds to add to the phase's CPU time.
    """
    return max(0.0, our_seconds - cpu_seconds - _FREE_SECONDS)


class Preempted(Exception):
    """The next job has come while a preemptible one runs: leave that one unfinished."""


class ClientGone(Exception):
    """The verifier has closed the connection or died: stop at once."""


class Engine(Protocol):
    """Runs tasks one after another, each phase as if it were the first.

    Attributes:
        name: name of the engine in verdicts, one of `wire.ENGINES`.
        counters: what the engine has done since it started.
        on_slow_phase: called once in each phase that runs longer than `SLOW_PHASE_SECONDS`.

    Raises:
        WorkerFailed: any method, if the engine is no longer usable.
        ClientGone: any method, if the verifier has closed the connection.
    """

    name: str
    counters: Counters
    on_slow_phase: Callable[[], None]

    def execute(self, frames: bytes) -> Iterator[bytes]:
        """Run tasks or programs in their order.

        Args:
            frames: whole frames of jobs (`wire.frame`, `wire.pack_job`).

        Yields:
            Frames of counters and outcomes (`wire.unpack_results`), one for each job, in order, as they are ready.
        """

    def idle(self) -> bool:
        """Use the time while no task waits to prepare for the next. Return True if there is more to prepare."""

    def close(self) -> None:
        """Kill and reap every process of the engine."""


def do_nothing() -> None:
    """Default of `Engine.on_slow_phase`."""
