"""Load the C code: one shared library that uses nothing of Python, so that one build serves every version."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

REMEDY = "install again where there is a C compiler (Debian, Ubuntu: apt-get install gcc libc6-dev)"


@functools.cache  # the file is not there any more in the jail
def load() -> ctypes.PyDLL:
    """Return the library.

    Raises:
        OSError: it was not built, or does not fit this machine.
    """
    path = Path(__file__).with_name("_accelerator.so")
    if path.exists():
        return ctypes.PyDLL(str(path))
    raise OSError(f"the C code was not built: {REMEDY}")


def load_checked() -> ctypes.PyDLL:
    """Return the library with the argument types of the functions of process.h set.

    Raises:
        OSError: as `load`; or it was built from another version of `shared`.
    """
    from selftaught.sandbox.worker.native import shared

    library = load()
    try:
        built = ctypes.c_uint32.in_dll(library, "shared_digest").value
    except ValueError:
        built = 0
    if built != shared.digest():
        raise OSError(f"the C code belongs to another version: {REMEDY}")
    pointer, size, nanoseconds = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_int64
    for name, arguments in {
        "run": (ctypes.c_char_p, size, nanoseconds),
        "answer": (ctypes.c_char_p, size, nanoseconds),
        "wait": (nanoseconds,),
        "relay": (pointer, pointer, nanoseconds),
        "proceed": (size,),
        "execute": (ctypes.c_char_p, size, ctypes.c_char_p, size, size, nanoseconds, nanoseconds),
        "restore": (ctypes.c_int,),
        "release": (),
        "list_written": (),
        "save": (size, size),
        "compare": (),
    }.items():
        getattr(library, f"process_{name}").argtypes = (pointer, *arguments)
    library.process_compare.restype = size
    return library
