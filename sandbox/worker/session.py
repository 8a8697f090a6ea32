"""A session: a jailed process that exchanges messages with the supervisor while its phase runs.

The supervisor starts the process, gets its first message, and answers each message by another, until the process ends
its phase with a report. While the supervisor has the turn the process does nothing, or at least nothing that counts.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from selftaught.sandbox import wire
from selftaught.sandbox.outcome import Outcome, Phase
from selftaught.sandbox.task import Limits

MOST_CASES = 100_000
"""Of a task with tests."""
OVERHEAD_BYTES = 64 << 10
"""How much longer a message may be than an answer: it has what was printed, and names, besides."""


@dataclass(slots=True)
class Request:
    """A phase to run, as a session or to its end.

    Attributes:
        phase: what to do.
        sat: its first source, or the code of it.
        payload: what else it reads.
        limits: limits of the phase, or of each part of a session between `Session.begin`.
        seed: seed of the `random` module; 0 leaves it as the zygote has seeded it.
        source: the source of which `sat` is the code, if it is compiled.
        parts: how many times a session may begin anew with full limits.
        files: see `selftaught.sandbox.job.Job`.
        sends_code: the first message is C and the code of `sat`, made before anything of it runs; without code if it
            is to be compiled each time.
    """

    phase: Phase
    sat: bytes
    payload: bytes
    limits: Limits
    seed: int = 0
    source: bytes = b""
    parts: int = 1
    files: bytes = b""
    sends_code: bool = False

    def pack(self, space: int) -> bytes:
        """Return what the process reads: header (`wire.PHASE`), first source, payload.

        Args:
            space: the limit of its address space, in bytes.
        """
        head = wire.PHASE.pack(
            self.phase | (Phase.COMPILED if self.source else 0) | (Phase.SENDS_CODE if self.sends_code else 0),
            space,
            self.limits.cpu_seconds * self.parts,
            self.limits.answer_bytes,
            self.seed,
            len(self.sat),
            len(self.payload),
        )
        return head + self.sat + self.payload


@dataclass(slots=True)
class Relayed:
    """What came of passing calls on.

    Attributes:
        found: a message or the outcome of the solution or of the tests; the other one waits for its answer.
        is_solutions: True if it is the solution's.
        case: the current case.
        used: cases before that, with the CPU time and the elapsed time in seconds that both have used in each.
    """

    found: bytes | Outcome
    is_solutions: bool
    case: int
    used: list[tuple[int, float, float]]


class GivenUp(Exception):
    """A session can't go on with this engine: the fork engine must run the whole task."""


class Session(Protocol):
    """A jailed process and its messages.

    Raises:
        GivenUp: `start` or `send`, if the fork engine must run the task.
        WorkerFailed, ClientGone: as `Engine`.
    """

    def start(self) -> bytes | Outcome:
        """Start the phase. Return the first message, or the outcome if there is none."""

    def send(self, message: bytes) -> bytes | Outcome:
        """Answer the last message. Return the next, or the outcome of the phase."""

    def relay(self, solution: Session, case: int) -> Relayed | None:
        """In place of answering a request of tests: pass it on, and those that follow.

        Args:
            solution: waits for the request.
            case: the case that it belongs to, or one before.

        Returns:
            None if this request must be looked at, or the session can't do that.
        """

    def begin(self) -> None:
        """Count time against the limits from zero again."""

    def lap(self) -> Outcome:
        """Return what was used since the last call, as an outcome that the caller completes."""

    def close(self) -> int:
        """End the process, or put it back. May be called again.

        Returns:
            The largest resident set in bytes, as far as it is known.
        """


def unknown_seed() -> int:
    """Return a seed for a process that judges: a solution knows its own, and must not foresee what tests draw."""
    return int.from_bytes(os.urandom(4), "little") or 1  # NumPy takes no larger one


Open = Callable[[Request], Session]
Run = Callable[[Request], Outcome]


class Clock:
    """CPU time, elapsed time and the supervisor's own time of a process that takes turns with others.

    Attributes:
        wall, ours: seconds while it had the turn.
    """

    def __init__(self) -> None:
        self.wall = self.ours = 0.0
        self._since: tuple[float, float] | None = None

    def go(self) -> None:
        """The process gets the turn."""
        self._since = time.monotonic(), time.thread_time()

    def stop(self) -> None:
        """The process gives back the turn."""
        self.wall, self.ours = self.read()
        self._since = None

    def read(self) -> tuple[float, float]:
        """Return elapsed time and the supervisor's own CPU time until now, in seconds."""
        if self._since is None:
            return self.wall, self.ours
        wall, ours = self._since
        return self.wall + time.monotonic() - wall, self.ours + time.thread_time() - ours
