"""The depth of recursion: frames of ours below a program don't count towards its limit.

The interpreter counts down how many frames a thread may still have. A program of ``python main.py`` begins with the
whole limit, and contest programs that recurse 990 deep rely on it. No function of the interpreter sets the counter, so
it is looked for beside the limit, in the first fields of the thread's state (PyThreadState, Include/cpython/pystate.h).
"""

from __future__ import annotations

import ctypes
import sys

_MARK = 0x5EED5
"""A limit that no other field has as its value."""
_FIELDS, _DEEPEST = 32, 200


def forget_frames(further: int) -> None:
    """Set this thread's counter so that a program's module will have the whole limit but its own frame.

    Nothing changes if the counter is not found.

    Args:
        further: how many frames there will be between that of the caller and that of the module.
    """
    counter = _find_counter()
    if counter is None:
        return
    seen: dict[str, int] = {}
    exec("seen['left'] = counter.value", {"seen": seen, "counter": counter})
    of_exec = counter.value - seen["left"]  # it may count itself, beside the frame that it makes
    counter.value = sys.getrecursionlimit() - 1 + of_exec + further - 1  # this frame is given back


def _find_counter() -> ctypes.c_int | None:
    before = sys.getrecursionlimit()
    state = ctypes.pythonapi.PyThreadState_Get
    state.restype = ctypes.c_void_p
    fields = (ctypes.c_int * _FIELDS).from_address(state())
    sys.setrecursionlimit(_MARK)
    places = [
        place for place in range(_FIELDS - 1) if fields[place + 1] == _MARK and 0 < _MARK - fields[place] < _DEEPEST
    ]
    sys.setrecursionlimit(before)
    if len(places) != 1:
        return None
    return ctypes.c_int.from_address(ctypes.addressof(fields) + places[0] * ctypes.sizeof(ctypes.c_int))
