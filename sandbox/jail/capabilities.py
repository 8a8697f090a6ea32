"""Drop all capabilities and set no_new_privs (man 7 capabilities, man 2 prctl)."""

from __future__ import annotations

import ctypes

from selftaught.sandbox.jail import kernel

_VERSION_3 = 0x20080522
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("words", ctypes.c_uint32 * 6),)


def drop() -> None:
    """Empty every capability set; the bounding set only if that is permitted. Raises OSError."""
    kernel.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    for capability in range(64):
        try:
            kernel.prctl(_PR_CAPBSET_DROP, capability)
        except OSError:
            break  # no such capability, or not permitted: then no_new_privs is the protection
    kernel.call("capset", _Header(version=_VERSION_3), _Sets())


def forbid_new() -> None:
    """Set no_new_privs: no program executed from now on can gain privileges. Raises OSError."""
    kernel.prctl(_PR_SET_NO_NEW_PRIVS, 1)
