"""The shared libraries that modules of the standard library need, found by asking the dynamic loader (man 8 ld.so).

It says what it would load for all of them together, by its own rules (RPATH, its cache, its directories), and runs nothing.
"""

from __future__ import annotations

import functools
import os
import sys

CACHE = "/etc/ld.so.cache"
"""Where the loader looks up libraries that are not in its own directories."""

_LEFT_OUT = "_tkinter"
"""Of no use without a display, and it needs all of X."""
_C_LIBRARY = "libc.so.6"


@functools.cache
def needed() -> dict[str, str]:
    """Name -> path of every one, the C library among them. Empty where the loader is not glibc's. Raises OSError if it can't be run.

    Asked once a process: it takes about 0.01 s. A library that the interpreter itself has loaded is among them, too.
    """
    python = getattr(sys, "_base_executable", None) or sys.executable
    variables = {"LD_TRACE_LOADED_OBJECTS": "1", "LD_PRELOAD": ":".join(_modules())}
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
    """Path -> path that it gets in a root without a cache: where the loader looks by itself, which it does where the C library is."""
    folder = os.path.dirname(libraries.get(_C_LIBRARY, ""))
    return {path: f"{folder}/{name}" for name, path in libraries.items() if folder and os.path.exists(path)}


def _modules() -> list[str]:
    """The extension modules, as files."""
    return [
        entry.path
        for folder in sys.path
        if folder.endswith("lib-dynload")
        for entry in os.scandir(folder)
        if entry.name.endswith(".so") and not entry.name.startswith(_LEFT_OUT)
    ]
