"""Find the shared libraries that extension modules need, by asking the dynamic loader (man 8 ld.so).

The loader lists what it would load for all of them, by its own rules (RPATH, cache, directories), and runs nothing.
"""

from __future__ import annotations

import functools
import os
import re
import sys

CACHE = "/etc/ld.so.cache"
"""The loader's index of libraries outside its default directories."""

_LEFT_OUT = "_tkinter"
"""Useless without a display, and it needs all the libraries of X."""
_C_LIBRARY = "libc.so.6"
_SEPARATORS, _AT_ONCE = r"[:\s]", 256
"""Of the loader's list of files, and how many are in one: a variable may have 128 KiB."""


@functools.cache
def needed() -> dict[str, str]:
    """Return the path of each library by name, those of the interpreter itself and the C library included.

    The result is cached; the first call takes about 0.01 s. It is empty if the loader is not glibc's.

    Raises:
        OSError: The interpreter can't be run.
    """
    return _trace(_modules())


def needed_by(files: list[str]) -> dict[str, str]:
    """Return the path of each library by name that the interpreter with these files needs, as `needed` does.

    Args:
        files: Paths of shared libraries.

    Raises:
        OSError: The interpreter can't be run, or the loader can't be told a path.
    """
    if odd := [path for path in files if re.search(_SEPARATORS, path)]:
        raise OSError(f"{odd[0]}: the dynamic loader takes no path with a colon or white space in a list")
    found: dict[str, str] = {}
    for first in range(0, len(files), _AT_ONCE):
        found |= _trace(files[first : first + _AT_ONCE])
    return found


def _trace(files: list[str]) -> dict[str, str]:
    """Return what the loader would load for the interpreter and these files."""
    python = getattr(sys, "_base_executable", None) or sys.executable
    variables = {"LD_TRACE_LOADED_OBJECTS": "1", "LD_PRELOAD": ":".join(files)}
    if "LD_LIBRARY_PATH" in os.environ:
        variables["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
    read, write = os.pipe()
    streams = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in (0, 2)]
    try:
        child = os.posix_spawn(
            python, [python, "-c", ""], variables, file_actions=[*streams, (os.POSIX_SPAWN_DUP2, write, 1)]
        )
    finally:
        os.close(write)
        with open(read) as file:
            lines = file.read().splitlines()
    os.waitpid(child, 0)
    found = (line.strip().partition(" => ") for line in lines)
    return {name: place.rpartition(" (")[0] for name, _, place in found if place.startswith("/")}


def beside_the_c_library(libraries: dict[str, str]) -> dict[str, str]:
    """Return for each library's path its path in a root without the loader's cache: in the C library's directory.

    The loader always searches that directory.

    Args:
        libraries: What `needed` returned.
    """
    folder = os.path.dirname(libraries.get(_C_LIBRARY, ""))
    return {path: f"{folder}/{name}" for name, path in libraries.items() if folder and os.path.exists(path)}


def _modules() -> list[str]:
    """Return the files of the extension modules."""
    return [
        entry.path
        for folder in sys.path
        if folder.endswith("lib-dynload")
        for entry in os.scandir(folder)
        if entry.name.endswith(".so") and not entry.name.startswith(_LEFT_OUT)
    ]
