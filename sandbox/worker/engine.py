"""The interface between a warden and what runs a phase for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from sandbox.task import Limits
from sandbox.wire import Counters, Outcome

Phase = int
"""`sandbox.worker.inside.phase.SOL`, `.SAT` or `.RUN`."""


MOMENT_SECONDS = 0.004
"""A phase that goes on for longer lets the warden do something else meanwhile."""

TOGETHER_SECONDS = 0.012
"""Outcomes wait so long for others to go with them, unless a phase goes on for more than a moment."""


@dataclass(slots=True)
class Judged:
    """What an engine has judged at once. told: frames of the outcomes. taken: bytes of the tasks' frames. more: there may be more tasks of that kind.
    begun: the next task is."""

    tasks: int = 0
    told: bytes = b""
    taken: int = 0
    more: bool = False
    begun: bool = False


class SupervisorGone(Exception):
    """The verifier has closed the connection or died: stop at once."""


class Engine(Protocol):
    """Runs phases one at a time, each as if it were the first. `meanwhile` is called when one goes on for more than a moment."""

    name: str
    counters: Counters
    meanwhile: Callable[[], None]

    def run(self, phase: Phase, sat: bytes, payload: bytes, limits: Limits, seed: int, resumable: bool = False) -> Outcome:
        """Run a phase to its end, within its limits. resumable: if it runs into those of time it will be run again, with more of it, and may go on then
        where it was; it is charged for all that it used.

        payload: the solution's source (phase ``sol``) or the answer's bytes (phase ``sat``). In phase ``run``, which belongs to no
        judgement, `sat` is the program and the payload its standard input.
        Raises WorkerFailed if the engine is no longer usable, SupervisorGone if nobody waits for the outcome.
        """

    def judge(self, frames: bytes) -> Judged:
        """Judge tasks, in the order of these frames, for `TOGETHER_SECONDS`: as many as go as most do. Raises as `run` does.

        Unless there may be more of them, the phases of the next task are to be run next; if that is not begun, also together with those like it.
        """

    def prepare(self, phase: Phase, sat: bytes, limits: Limits, seed: int, times: int) -> None:
        """So many runs of this phase with this puzzle come next, and no other: an engine may load the puzzle once for them all.

        Every one of them finds what it would have found after a load of its own, and is charged for it.
        Raises as `run` does.
        """

    def rest(self) -> bool:
        """There is nothing to do for a while: get ready for what may come. Whether there is more of that. Raises as `run` does."""

    def close(self) -> None:
        """Kill and reap every process of the engine."""


def do_nothing() -> None:
    """What an engine does meanwhile if nothing else is wanted."""
