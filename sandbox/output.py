"""Output of commands: standard output or a file.

Never through a symbolic link, which another user may have created, and never to a file that another process is writing.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
from pathlib import Path
from typing import IO, Any

_OPEN_ALREADY = re.compile(r"/dev/(stdout|stderr)|(?:/dev/fd|/proc/self/fd)/(\d+)")
_NUMBERS = {"stdout": 1, "stderr": 2}


class SymbolicLink(OSError):
    """An output is a symbolic link; the message names its target and a remedy."""


class InUse(OSError):
    """Another process is writing an output; the message says what to do."""


def descriptor(output: str | Path) -> int | None:
    """Return the number of the open file that this names, or ``None`` for any other path.

    Such names are ``-``, ``/dev/stdout``, ``/dev/stderr``, and what a shell substitutes for ``>(...)``.
    """
    if str(output) == "-":
        return 1
    own = _OPEN_ALREADY.fullmatch(str(output))
    return own and (_NUMBERS[own[1]] if own[1] else int(own[2]))


def refuse_link(output: str | Path) -> None:
    """Raise SymbolicLink if the path is a symbolic link, unless it names an open file of this process."""
    path = str(output).rstrip("/")
    if descriptor(output) is None and os.path.islink(path):
        raise SymbolicLink(
            f"{output} is a symbolic link to {os.readlink(path)} and is not followed: remove it, or name its target"
        )


def open_output(output: str | Path, mode: str = "wb") -> IO[Any]:
    """Open an output in a binary mode.

    The file is locked until it is closed, where its file system has locks (man 2 flock). If it is locked already, what
    it has stays.

    Args:
        output: A path, or a name of an open file (see `descriptor`).
        mode: As for `open`; ignored for an open file.

    Raises:
        SymbolicLink: The path is a symbolic link.
        InUse: Another process has opened it here.
        OSError: It can't be opened.
    """
    if (number := descriptor(output)) is not None:
        return os.fdopen(os.dup(number), "wb")
    try:
        return open(output, mode, opener=_open_locked)
    except OSError as error:
        if error.errno == errno.ELOOP:
            refuse_link(output)
        raise


def _open_locked(path: str, flags: int) -> int:
    """Open a file; truncate it, if that is asked for, only when it is locked."""
    number = os.open(path, (flags | os.O_NOFOLLOW) & ~os.O_TRUNC, 0o666)
    try:
        if stat.S_ISREG(os.fstat(number).st_mode):
            _lock(number, path)
            if flags & os.O_TRUNC:
                os.ftruncate(number, 0)
    except BaseException:
        os.close(number)
        raise
    return number


def _lock(number: int, path: str) -> None:
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InUse(f"another process is writing {path}: wait until it ends, or name another output") from None
    except OSError:  # its file system has no locks
        return


def replace_json(path: Path, content: object) -> None:
    """Write a JSON file atomically: a reader, or a run that goes on after a crash, finds the old one or the new one.

    Raises:
        SymbolicLink: The path with ``.new`` at its end is a symbolic link.
        OSError: It can't be written.
    """
    import orjson

    temporary = path.with_name(path.name + ".new")
    with open_output(temporary) as file:
        file.write(orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
