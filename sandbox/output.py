"""Where a command writes: standard output or a file, and never through a symbolic link, which somebody else may have put there."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import IO, Any

_OPEN_ALREADY = re.compile(r"/dev/(stdout|stderr)|(?:/dev/fd|/proc/self/fd)/(\d+)")
_NUMBERS = {"stdout": 1, "stderr": 2}


class SymbolicLink(OSError):
    """An output is a symbolic link; the message says where it leads and what to do."""


def descriptor(output: str | Path) -> int | None:
    """The file that is open already and that this names (``-``, ``/dev/stdout``, what a shell makes of ``>(...)``), or ``None``."""
    if str(output) == "-":
        return 1
    own = _OPEN_ALREADY.fullmatch(str(output))
    return own and (_NUMBERS[own[1]] if own[1] else int(own[2]))


def refuse_link(output: str | Path) -> None:
    """Raises SymbolicLink if that is what this is, wherever it leads, and not one of our own open files."""
    path = str(output).rstrip("/")
    if descriptor(output) is None and os.path.islink(path):
        raise SymbolicLink(
            f"{output} is a symbolic link to {os.readlink(path)} and is not followed: remove it, or name where it leads"
        )


def open_output(output: str | Path, mode: str = "wb") -> IO[Any]:
    """Open an output in a binary mode. Raises SymbolicLink, OSError."""
    if (number := descriptor(output)) is not None:
        return os.fdopen(os.dup(number), "wb")
    try:
        return open(output, mode, opener=lambda path, flags: os.open(path, flags | os.O_NOFOLLOW, 0o666))
    except OSError as error:
        if error.errno == errno.ELOOP:
            refuse_link(output)
        raise
