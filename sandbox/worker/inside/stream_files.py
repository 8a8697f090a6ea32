"""Standard streams by the names of their files, such as ``/dev/stdin``. The jail has no /proc that these lead to.

In a program that may name one, `open`, `os.open` and `os.stat` look for these names first. All other programs keep the
interpreter's own functions, so that no traceback shows a frame of ours.
"""

from __future__ import annotations

import builtins
import io
import os
from typing import Any

_NUMBERS = {
    **{f"/dev/{name}": number for number, name in enumerate(("stdin", "stdout", "stderr"))},
    **{f"{folder}/{number}": number for folder in ("/dev/fd", "/proc/self/fd") for number in range(3)},
}
_open, _os_open, _stat = io.open, os.open, os.stat


def install() -> None:
    """Replace the functions."""
    builtins.open = io.open = open_file
    os.open, os.stat = open_descriptor, stat


def _number(file: Any) -> int | None:
    """Return the number of the descriptor that a path names, if it is one of these files."""
    try:
        return _NUMBERS.get(os.fspath(file))
    except TypeError:  # a descriptor, or nothing that can be opened
        return None


def open_file(
    file: Any,
    mode: str = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: Any = None,
) -> Any:
    """Do what `open` does."""
    number = _number(file)
    if number is not None and opener is None:

        def opener(path: str, flags: int) -> int:
            return os.dup(number)

    return _open(file, mode, buffering, encoding, errors, newline, closefd, opener)


def open_descriptor(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
    """Do what `os.open` does."""
    number = _number(path)
    return _os_open(path, flags, mode, dir_fd=dir_fd) if number is None else os.dup(number)


def stat(path: Any, *, dir_fd: int | None = None, follow_symlinks: bool = True) -> os.stat_result:
    """Do what `os.stat` does."""
    number = _number(path)
    if number is None:
        return _stat(path, dir_fd=dir_fd, follow_symlinks=follow_symlinks)
    return os.fstat(number)


for _one in (open_file, open_descriptor, stat):
    _one.__name__ = _one.__qualname__ = _one.__name__.partition("_")[0]
