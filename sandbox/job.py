"""A task on its way to a worker."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from selftaught.sandbox.outcome import End, Outcome
from selftaught.sandbox.task import Limits

WALL_OF_SLICE = 10
"""How many times its CPU time a slice may take in elapsed time."""


class Kind(IntEnum):
    """What a job judges, or that it only runs a program."""

    __hash__ = int.__hash__

    PUZZLE = 0
    PROGRAM = 1
    TESTS = 2
    """A function by tests."""
    CASES = 3
    """A function by cases."""
    STDIO = 4
    """A program by cases."""
    SHARED = 5
    """A function by tests in the same process."""


class Turn(IntEnum):
    """How long a job may run before others get their turn (`selftaught.sandbox.time_slice`).

    A job that is preemptible is left unfinished when the next job reaches its worker.
    """

    __hash__ = int.__hash__

    WHOLE = 0
    """Until it has ended or is at its limits."""
    SLICE = 1
    """Unfinished after the time slice of its engine."""
    LONGER = 2
    """Unfinished at its time limits, which are those of a longer slice; preemptible."""
    LAST = 3
    """Until it has ended or is at its limits; preemptible."""

    @property
    def is_slice(self) -> bool:
        """True if a phase that is out of time leaves the job unfinished."""
        return self in (Turn.SLICE, Turn.LONGER)

    @property
    def is_preemptible(self) -> bool:
        """True if the next job leaves this one unfinished."""
        return self in (Turn.LONGER, Turn.LAST)


@dataclass(slots=True)
class Job:
    """A task on its way to a worker.

    Attributes:
        sat, sol: sources of puzzle and solution; a program and its standard input; or of other kinds what judges, as
            `selftaught.sandbox.judging` packs it, and the source of the solution.
        limits: limits of each phase.
        seed: seed of the `random` module in all phases but those of tests and checkers; 0 for the fixed one.
        kind: what it judges.
        turn: how long it may run before others get their turn.
        files: of a program, its files and those to fetch, as `selftaught.sandbox.wire.pack_files` makes it; empty if
            there are none.
        slice_seconds: CPU seconds that its time slice has at least.
    """

    sat: bytes
    sol: bytes
    limits: Limits
    seed: int = 0
    kind: Kind = Kind.PUZZLE
    turn: Turn = Turn.WHOLE
    files: bytes = b""
    slice_seconds: float = 0.0

    @property
    def has_steps(self) -> bool:
        """True if its phases follow one another: it is a puzzle or a program."""
        return self.kind in (Kind.PUZZLE, Kind.PROGRAM)

    def is_expired(self, outcome: Outcome) -> bool:
        """Return True if this outcome leaves the job unfinished: a phase was out of time, and has a slice only.

        A longer slice leaves a job's own limit of elapsed time as it is if that is less: then that is final.
        """
        limits = self.limits
        if self.turn is Turn.LONGER and limits.wall_seconds < WALL_OF_SLICE * limits.cpu_seconds:
            return outcome.end is End.CPU
        return self.turn.is_slice and outcome.end in (End.CPU, End.WALL)

    @property
    def program(self) -> bool:
        """True if the job only runs a program, and judges nothing."""
        return self.kind is Kind.PROGRAM
