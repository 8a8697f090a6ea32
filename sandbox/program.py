"""Running without judging: a program, its input, and what it did."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from selftaught.sandbox.task import Limits
from selftaught.sandbox.verdict import LimitHit, Usage


class Ending(StrEnum):
    """How a run ended. None of these means that a program is right."""

    EXITED = "exited"
    """It ended by itself, with an exit code or a signal that it caused: see `Run.return_code`."""
    TIME_LIMIT = "time_limit"
    """It exceeded ``cpu_seconds`` or ``wall_seconds``: `Run.limit` says which."""
    MEMORY_LIMIT = "memory_limit"
    """It had reached ``memory_bytes`` when the kernel killed it, when it crashed, or when it ended by a ``MemoryError``
    that it did not catch. One that catches the error and goes on has exited."""
    OUTPUT_LIMIT = "output_limit"
    """It ended by itself, but printed more than ``output_bytes``, so that what is kept is not all of its output."""
    FORBIDDEN = "forbidden"
    """A forbidden operation failed, which the message names, and the program did not end well. One that did without it
    has exited, with the same message."""
    INVALID = "invalid"
    """Not a valid program: nothing was run."""
    CANCELLED = "cancelled"
    """The verifier was closed first."""
    INTERNAL_ERROR = "internal_error"
    """The verifier failed."""


@dataclass(frozen=True, slots=True)
class Program:
    """Python source to run as ``__main__``, confined as a solution is: no processes and no network.

    It may import the standard library, have 64 threads at a time, run event loops, and send itself signals. Its
    working directory is a private folder, which has ``main.py``, the program itself, and `files`; it is gone
    afterwards, but for what `fetch` names. The program may write 64 MiB there, in 1,000 files and folders.

    Attributes:
        id: Any string; the run has it too. Need not be unique.
        code: The source.
        stdin: What it reads from standard input.
        limits: For this program alone; ``None`` means the verifier's. The first ``output_bytes`` of standard output and
            of standard error are kept, each; ``answer_bytes`` has no meaning here.
        files: Files that it finds in its folder: content by path, such as ``{"data/in.csv": b"1,2"}``. At most 48 MiB
            in 500 files and folders.
        fetch: Paths in the folder of files that `Run.files` is to have.
    """

    id: str
    code: str
    stdin: str = ""
    limits: Limits | None = None
    files: Mapping[str, bytes] = field(default_factory=dict, hash=False)
    fetch: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Run:
    """What a program did.

    Attributes:
        id: The program's id.
        ending: See `Ending`.
        return_code: Its exit code, or minus the number of the signal that ended it, as in `subprocess`; ``None`` if it
            hit a time limit or never ran. Untrusted code chooses it: it is not a verdict.
        stdout: What it wrote to standard output, decoded as UTF-8. Of a program that was ended, what was in the
            interpreter's buffers too, unless it did not come back from a call into C in time.
        stderr: What it wrote to standard error, decoded as UTF-8.
        cut: It wrote more than was kept.
        message: A short explanation, printable.
        limit: The limit that was hit, if one was: `LimitHit.name` is ``cpu_seconds``, ``wall_seconds``,
            ``memory_bytes`` or ``output_bytes``.
        usage: See `Usage`.
        level: The confinement level in force; empty if nothing ran.
        retryable: A retry may succeed.
        verifier: Program, version and interpreter that ran it.
        files: Content, by path, of the files named in `Program.fetch`, as far as they exist in the end. They are
            regular files, no links, and 64 MiB altogether: what exceeds that is left out.
    """

    id: str
    ending: Ending
    return_code: int | None = None
    stdout: str = ""
    stderr: str = ""
    cut: bool = False
    message: str = ""
    limit: LimitHit | None = None
    usage: Usage = Usage()  # noqa: RUF009  # `Usage` is frozen
    level: str = ""
    retryable: bool = False
    verifier: str = ""
    files: dict[str, bytes] = field(default_factory=dict, hash=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the run as plain data, ready for JSON; contents of files in base64."""
        files = {path: base64.b64encode(content).decode() for path, content in self.files.items()}
        return {**dataclasses.asdict(dataclasses.replace(self, files={})), "files": files}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Run:
        """Return the run from what `to_dict` returned.

        Args:
            fields: The fields by name, also after a way through JSON.

        Raises:
            KeyError, TypeError, ValueError: The fields are not those of a run.
        """
        limit, usage = fields["limit"], Usage(**fields["usage"])
        files = {path: base64.b64decode(content, validate=True) for path, content in fields.get("files", {}).items()}
        return cls(
            **{
                **fields,
                "ending": Ending(fields["ending"]),
                "limit": LimitHit(**limit) if limit else None,
                "usage": usage,
                "files": files,
            }
        )
