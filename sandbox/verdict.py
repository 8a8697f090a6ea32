"""The output of a judgement: a status, the evidence for it, and what it cost."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    """The result of a judgement. `ACCEPTED` is the only one that means *right*."""

    ACCEPTED = "accepted"
    """The puzzle returned exactly ``True`` for the solution's answer; or every test or case passed."""
    REJECTED = "rejected"
    """The puzzle returned anything else, or one of its own ``assert`` statements refused the answer; or a test or case
    failed.
    """
    WRONG_TYPE = "wrong_type"
    """The answer is not plain data, or not of the type that the puzzle declares; or something that tests need can't
    cross from the solution's process.
    """
    SOLUTION_ERROR = "solution_error"
    """The solution does not compile, or it raised."""
    PUZZLE_ERROR = "puzzle_error"
    """The puzzle does not compile, defines no ``sat`` or ``f``, or it raised."""
    TESTS_ERROR = "tests_error"
    """The tests or the checker do not load, or they raised before they called the solution."""
    TIME_LIMIT = "time_limit"
    """A phase exceeded ``cpu_seconds`` or ``wall_seconds``."""
    MEMORY_LIMIT = "memory_limit"
    """A phase reached ``memory_bytes``."""
    OUTPUT_LIMIT = "output_limit"
    """Too much was printed, or the answer is larger than ``answer_bytes``."""
    FORBIDDEN = "forbidden"
    """A forbidden operation ended the phase; the message names it."""
    CRASHED = "crashed"
    """The process died, or ended without reporting."""
    UNSTABLE = "unstable"
    """Repeats of the judgement differ (only with ``repeat`` above 1)."""
    INVALID = "invalid"
    """Not a valid task: nothing was run."""
    CANCELLED = "cancelled"
    """The verifier was closed first: not a judgement."""
    INTERNAL_ERROR = "internal_error"
    """The verifier failed: not a judgement."""

    @property
    def judged(self) -> bool:
        """False if nothing was judged."""
        return self not in (Status.INVALID, Status.CANCELLED, Status.INTERNAL_ERROR)


@dataclass(frozen=True, slots=True)
class LimitHit:
    """The limit that ended a phase.

    Attributes:
        name: The field of `Limits`.
        configured: Its value.
        observed: What was measured when it was hit, in the same unit: at least `configured`, unless the request itself
            was refused.
    """

    name: str
    configured: float
    observed: float


@dataclass(frozen=True, slots=True)
class Usage:
    """What a judgement used.

    Attributes:
        cpu_seconds: CPU time of all phases, user plus system.
        wall_seconds: Elapsed time of all phases.
        peak_memory_bytes: The largest resident set of a phase, the warm interpreter included.
    """

    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    peak_memory_bytes: int = 0


@dataclass(frozen=True, slots=True)
class CaseResult:
    """The judgement of one case, or of one test, of a task.

    Attributes:
        status: See `Status`.
        message: A short explanation, printable.
        usage: See `Usage`.
        score: 1.0 if it was accepted, else what a checker gave, from 0.0 on and below 1.0.
    """

    status: Status
    message: str = ""
    usage: Usage = Usage()
    score: float = 0.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement of one task.

    Attributes:
        id: The task's id.
        status: See `Status`.
        phase: The phase that decided: ``"sol"``, ``"sat"``, ``"tests"``, ``"check"``, ``"shared"``; ``None`` if none
            ran.
        message: A short explanation, printable, with the line where there is one.
        limit: The limit that was hit, if one was.
        usage: See `Usage`.
        answer_sha256: Digest of the encoded answer (`selftaught.sandbox.codec`), if the solution returned one.
        level: The confinement level in force: ``full``, ``restricted``, ``container``; empty if nothing ran.
        retryable: A retry may succeed.
        verifier: Program, version, interpreter and engine that judged.
        isolation: ``"process"``: nothing that judges shared a process with the solution; or ``"shared"``.
        cases: The cases or tests that were judged, in order. Empty for a puzzle.
        passed: How many of them were accepted.
        total: How many there are, judged or not; 0 if that is unknown.
        decided_by: The index in `cases` of the first that was not accepted, which gave `status` and `message`.
    """

    id: str
    status: Status
    phase: str | None = None
    message: str = ""
    limit: LimitHit | None = None
    usage: Usage = Usage()
    answer_sha256: str | None = None
    level: str = ""
    retryable: bool = False
    verifier: str = ""
    isolation: str = "process"
    cases: tuple[CaseResult, ...] = ()
    passed: int = 0
    total: int = 0
    decided_by: int | None = None

    @property
    def score(self) -> float:
        """From 0.0 to 1.0: the mean of the scores of all cases; without cases, 1.0 if it was accepted."""
        if not self.total:
            return float(self.accepted)
        return sum(case.score for case in self.cases) / self.total

    @property
    def accepted(self) -> bool:
        """True if and only if the status is ``accepted``."""
        return self.status is Status.ACCEPTED

    @property
    def judged(self) -> bool:
        """False if nothing was judged: such a verdict must never become a reward or a training label."""
        return self.status.judged

    def to_dict(self) -> dict[str, Any]:
        """Return the verdict as plain data, ready for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Verdict:
        """Return the verdict from what `to_dict` returned.

        Args:
            fields: The fields by name, also after a way through JSON.

        Raises:
            KeyError, TypeError, ValueError: The fields are not those of a verdict.
        """
        limit, usage = fields["limit"], Usage(**fields["usage"])
        cases = (
            CaseResult(**{**case, "status": Status(case["status"]), "usage": Usage(**case["usage"])})
            for case in fields.get("cases", ())
        )
        return cls(
            **{
                **fields,
                "status": Status(fields["status"]),
                "limit": LimitHit(**limit) if limit else None,
                "usage": usage,
                "cases": tuple(cases),
            }
        )


def printable(text: str) -> str:
    """Return the text with control characters escaped, which a terminal would interpret."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
