"""Running without judging: a program, what it is given, and what it did."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from selftaught.sandbox.task import Limits
from selftaught.sandbox.verdict import LimitHit, Usage


class Ending(StrEnum):
    """How a run ended. None of these says that a program is right."""

    EXITED = "exited"
    """By itself, with a code or by a signal of its own making: see `Run.return_code`."""
    TIME_LIMIT = "time_limit"
    MEMORY_LIMIT = "memory_limit"
    """The kernel killed it; a program that only got a ``MemoryError`` has exited."""
    FORBIDDEN = "forbidden"
    """A denied operation ended it; the message names it."""
    INVALID = "invalid"
    """Not a program: nothing was run."""
    CANCELLED = "cancelled"
    """The verifier was closed first."""
    INTERNAL_ERROR = "internal_error"
    """The verifier failed."""


@dataclass(frozen=True, slots=True)
class Program:
    """Python source to run as ``__main__``, confined as a solution is: one thread, the standard library, no files to write.

    stdin: what it reads from standard input. limits: for this program alone, ``None`` means the verifier's. Of each of standard output
    and standard error the first ``output_bytes`` are kept; ``answer_bytes`` means nothing here.
    """

    id: str
    code: str
    stdin: str = ""
    limits: Limits | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """What a program did.

    return_code: its exit code, or minus the number of the signal that ended it, as in `subprocess`; ``None`` if it was stopped for time or
    never ran. It is a claim by untrusted code and no verdict. cut: there was more output than was kept. The rest: see `Verdict`.
    """

    id: str
    ending: Ending
    return_code: int | None = None
    stdout: str = ""
    stderr: str = ""
    cut: bool = False
    message: str = ""
    limit: LimitHit | None = None
    usage: Usage = Usage()  # noqa: RUF009  # it is frozen
    level: str = ""
    retryable: bool = False
    verifier: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The run as plain data, ready for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Run:
        """The run that `to_dict` made this of. Raises KeyError, TypeError or ValueError for anything else."""
        limit, usage = fields["limit"], Usage(**fields["usage"])
        return cls(
            **{
                **fields,
                "ending": Ending(fields["ending"]),
                "limit": LimitHit(**limit) if limit else None,
                "usage": usage,
            }
        )
