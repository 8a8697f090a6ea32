"""Capabilities, all dropped, and no_new_privs (man 7 capabilities, man 2 prctl)."""

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
    """Empty every capability set, the bounding set where that is permitted. Raises OSError."""
    kernel.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    for capability in range(64):
        try:
            kernel.prctl(_PR_CAPBSET_DROP, capability)
        except OSError:
            break  # past the last one, or no right to: no_new_privs holds the rest
    kernel.call("capset", _Header(version=_VERSION_3), _Sets())


def forbid_new() -> None:
    """No program that is executed from here on can gain a right (no_new_privs). Raises OSError."""
    kernel.prctl(_PR_SET_NO_NEW_PRIVS, 1)
