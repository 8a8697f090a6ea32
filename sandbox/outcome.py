"""How a phase of a job ended: the evidence that a worker returns."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class End(IntEnum):
    """How a phase ended: as the supervisor saw it (up to `DIED`), or as the child reported it.

    `UNFINISHED`: the phase did not end within its time slice, or was preempted; `Outcome.observed` is 1 if it can go on
    where it was. `TOTAL` ends no phase: it follows the outcomes of cases, and says as `Outcome.observed` how many there
    are.
    """

    FORBIDDEN = 1
    CPU = 2
    WALL = 3
    MEMORY = 4
    OUTPUT = 5
    DIED = 6
    ANSWER = 7
    TOO_LARGE = 8
    WRONG_TYPE = 9
    SOLUTION_ERROR = 10
    PUZZLE_ERROR = 11
    ACCEPTED = 12
    REJECTED = 13
    EXITED = 14
    UNFINISHED = 15
    TESTS_ERROR = 16
    TOTAL = 17

    __hash__ = int.__hash__  # Enum's own is slow: it is written in Python


class Phase(IntEnum):
    """What a child or a snapshot process is to do."""

    SOL = 1
    """Run the solution and report its answer."""
    SAT = 2
    """Call the puzzle with an answer and report what it says."""
    RUN = 3
    """Run a program, without a report."""
    LOAD = 4
    """Load the puzzle alone, and report whether it loads."""
    COMPILE = 5
    """Compile sources, run none, and report their code."""
    SERVE = 6
    """Load a solution and answer calls of it."""
    TESTS = 7
    """Run tests, whose calls of the solution are relayed."""
    COMPILED = 8
    """Added to another phase if its first source is code, not source."""
    CHECK = 16
    """Judge outputs by a comparison or a checker."""
    SHARED = 17
    """Load a solution and run tests in the same process."""
    SENDS_CODE = 32
    """Added to `TESTS` if the code of the tests is to be sent first."""


NO_CASE = (1 << 32) - 1
"""As `Outcome.case`: the outcome belongs to no case."""


@dataclass(slots=True)
class Outcome:
    """The evidence of one phase.

    Attributes:
        end: how it ended.
        detail: text for the verdict's message.
        observed: value of the limit that was hit, in its unit; return code of a program that ended by itself.
        cpu_seconds, wall_seconds: CPU time and elapsed time.
        peak_memory_bytes: largest resident size.
        payload: the answer's encoding in the supervisor, its digest on the wire; output of a program (see
            `selftaught.sandbox.wire.unpack_output`).
        engine: name of the engine that ran it.
        phase: the phase that ended so.
        case: the index of the case that it belongs to, or `NO_CASE`.
    """

    end: End
    detail: str = ""
    observed: float = 0.0
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    peak_memory_bytes: int = 0
    payload: bytes = b""
    engine: str = "fork"
    phase: Phase = Phase.SOL
    case: int = NO_CASE


@dataclass(slots=True)
class Counters:
    """What a worker's snapshot engine has done since it started.

    Attributes:
        given_up: phases left to the fork engine.
        replaced: snapshot processes replaced.
        checked: comparisons with the snapshot.
        mismatches: comparisons that found a difference.
    """

    given_up: int = 0
    replaced: int = 0
    checked: int = 0
    mismatches: int = 0

    def to_tuple(self) -> tuple[int, ...]:
        """Return the counts in the order of the fields."""
        return self.given_up, self.replaced, self.checked, self.mismatches

    def __add__(self, other: Counters) -> Counters:
        return Counters(*map(int.__add__, self.to_tuple(), other.to_tuple()))
