"""System calls that the standard library does not wrap, made by number (man 2 syscall)."""

from __future__ import annotations

import ctypes
import os
import re

_MACHINE = os.uname().machine
_NUMBERS = {
    "x86_64": {"clone": 56, "pivot_root": 155, "capset": 126, "seccomp": 317, "userfaultfd": 323},
    "aarch64": {"clone": 220, "pivot_root": 41, "capset": 91, "seccomp": 277, "userfaultfd": 282},
}
# Calls newer than Linux 5.0 have the same number everywhere.
_EVERYWHERE = {
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "openat2": 437,
    "pidfd_getfd": 438,
    "mount_setattr": 442,
    "landlock_create_ruleset": 444,
    "landlock_add_rule": 445,
    "landlock_restrict_self": 446,
}

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def number(name: str) -> int:
    """Return the number of a system call on this machine. Raises OSError if it is not known."""
    numbers = _NUMBERS.get(_MACHINE)
    if numbers is None:
        raise OSError(f"{_MACHINE} is not supported; x86_64 and aarch64 are")
    return _EVERYWHERE.get(name) or numbers[name]


def call(name: str, *args: int | bytes | ctypes.Structure | None) -> int:
    """Make a system call.

    Args:
        name: Its name.
        args: Its arguments; structures are passed by reference.

    Returns:
        Its result.

    Raises:
        OSError: It failed; the message names it.
    """
    converted = [
        ctypes.c_long(arg) if isinstance(arg, int)
        else ctypes.byref(arg) if isinstance(arg, ctypes.Structure)
        else arg
        for arg in args
    ]  # fmt: skip
    return _checked(_libc.syscall(ctypes.c_long(number(name)), *converted), name)


def version() -> tuple[int, int]:
    """Return major and minor version of the running kernel."""
    major, minor = re.findall(r"\d+", os.uname().release)[:2]
    return int(major), int(minor)


def prctl(option: int, *args: int) -> int:
    """Call prctl (man 2 prctl). Raises OSError."""
    longs = [ctypes.c_ulong(arg) for arg in (*args, 0, 0, 0, 0)[:4]]
    return _checked(_libc.prctl(option, *longs), f"prctl({option})")


def unshare(flags: int) -> None:
    """Call unshare (man 2 unshare). Raises OSError."""
    _checked(_libc.unshare(flags), f"unshare({flags:#x})")


def umount(path: bytes, flags: int) -> None:
    """Call umount2 (man 2 umount2). Raises OSError."""
    _checked(_libc.umount2(path, flags), "umount2")


def mount(source: bytes, target: bytes, flags: int) -> None:
    """Call mount (man 2 mount), to change flags or propagation. Raises OSError."""
    _checked(_libc.mount(source, target, None, ctypes.c_ulong(flags), None), "mount")


def _checked(result: int, name: str) -> int:
    if result < 0:
        errno = ctypes.get_errno()
        raise OSError(errno, f"{name}: {os.strerror(errno)}")
    return result
