"""What is answered: a status, the evidence behind it, and what it cost."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    """The outcome of a judgement. `ACCEPTED` is the only one that means *right*."""

    ACCEPTED = "accepted"
    """The puzzle returned exactly ``True`` for the solution's answer."""
    REJECTED = "rejected"
    """The puzzle returned anything else, or one of its own ``assert`` statements refused the answer."""
    WRONG_TYPE = "wrong_type"
    """The answer is not plain data, or not of the type that the puzzle declares."""
    SOLUTION_ERROR = "solution_error"
    """The solution does not compile, or it raised."""
    PUZZLE_ERROR = "puzzle_error"
    """The puzzle does not compile, defines no ``sat`` or ``f``, or it raised."""
    TIME_LIMIT = "time_limit"
    MEMORY_LIMIT = "memory_limit"
    OUTPUT_LIMIT = "output_limit"
    """Too much was printed, or the answer is larger than ``answer_bytes``."""
    FORBIDDEN = "forbidden"
    """A denied operation ended the run; the message names it."""
    CRASHED = "crashed"
    """The process died, or ended without reporting."""
    UNSTABLE = "unstable"
    """Repeats of the same judgement differ (only when repeats were asked for)."""
    INVALID = "invalid"
    """Not a task: nothing was run."""
    CANCELLED = "cancelled"
    """The verifier was closed first: not a judgement."""
    INTERNAL_ERROR = "internal_error"
    """The verifier failed: not a judgement."""


@dataclass(frozen=True, slots=True)
class LimitHit:
    """The limit that ended a phase.

    name: the field of `Limits`. configured: its value. observed: what was measured when it
    tripped, in the same unit (at least `configured` unless the request itself was refused).
    """

    name: str
    configured: float
    observed: float


@dataclass(frozen=True, slots=True)
class Usage:
    """What a judgement used: CPU and wall seconds of all its phases, and the largest resident size.

    `peak_memory_bytes` includes the warm interpreter itself.
    """

    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    peak_memory_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement of one task.

    id: the task's. status: see `Status`. phase: ``"sol"`` or ``"sat"``, the phase that decided, or
    ``None`` if none ran. message: a short explanation, printable, with the line where there is one.
    limit: the limit that tripped. usage: see `Usage`. answer_sha256: digest of the encoded answer
    (`selftaught.sandbox.codec`) when the solution produced one. level: the confinement really in force (``full``,
    ``restricted``, ``container``; empty if nothing ran). retryable: trying again makes sense.
    verifier: program, version, interpreter and engine that judged.
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

    @property
    def accepted(self) -> bool:
        """True exactly when the status is ``accepted``."""
        return self.status is Status.ACCEPTED

    @property
    def judged(self) -> bool:
        """False when nothing was judged: never make a reward or a training label of such a verdict."""
        return self.status not in (Status.INVALID, Status.CANCELLED, Status.INTERNAL_ERROR)

    def to_dict(self) -> dict[str, Any]:
        """The verdict as plain data, ready for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Verdict:
        """The verdict that `to_dict` made this of. Raises KeyError, TypeError or ValueError for anything else."""
        limit, usage = fields["limit"], Usage(**fields["usage"])
        return cls(
            **{
                **fields,
                "status": Status(fields["status"]),
                "limit": LimitHit(**limit) if limit else None,
                "usage": usage,
            }
        )


def printable(text: str) -> str:
    """Return the text with control characters escaped, which could speak to a terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
