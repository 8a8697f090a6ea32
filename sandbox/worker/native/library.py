"""The library of what is written in C. It uses nothing of Python, so that one build serves every version."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

REMEDY = "install again where there is a C compiler (Debian, Ubuntu: apt-get install gcc libc6-dev)"


@functools.cache  # in the jail it can't be found any more
def load() -> ctypes.PyDLL:
    """The library. Raises OSError if there is none, or one that does not fit this machine."""
    for path in Path(__file__).parent.glob("_accelerator*.so"):
        return ctypes.PyDLL(str(path))
    raise OSError(f"what is written in C was not built: {REMEDY}")


def load_checked() -> ctypes.PyDLL:
    """The same with the functions of process.h described. Raises OSError also if it was built from another description than `shared`."""
    from selftaught.sandbox.worker.native import shared

    library = load()
    try:
        built = ctypes.c_uint32.in_dll(library, "shared_digest").value
    except ValueError:
        built = 0
    if built != shared.digest():
        raise OSError(f"what is written in C belongs to another version: {REMEDY}")
    pointer, size, nanoseconds = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_int64
    for name, arguments in {
        "run": (ctypes.c_char_p, size, nanoseconds),
        "wait": (nanoseconds,),
        "proceed": (size,),
        "execute": (ctypes.c_char_p, size, ctypes.c_char_p, size, size, nanoseconds, nanoseconds),
        "restore": (),
        "list_written": (),
        "save": (size, size),
        "compare": (),
    }.items():
        getattr(library, f"process_{name}").argtypes = (pointer, *arguments)
    library.process_compare.restype = size
    return library
