"""Landlock: allow reading the standard library and using the scratch folder, and deny all other access to files.

See man 7 landlock. Where there is a /proc, jailed processes could also reach each other there: Landlock does not stop
`open` from following /proc/PID/fd to a pipe. It does stop a process from looking into another one whose domain is not
within its own. So each process gets a domain of its own (`start_domain`, `enter_domain`).
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable, Mapping

from selftaught.sandbox.jail import kernel

_VERSION = 1
_RULE_PATH_BENEATH = 1
_WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 1, 1 << 2, 1 << 3
_SCRATCH = sum(1 << right for right in (1, 2, 3, 4, 5, 7, 8, 12, 13, 14))
"""Read, write, list; remove and make folders and files; make symbolic links; move between folders; truncate. Not:
execute, make devices, sockets or pipes.
"""
_EXECUTE, _REFER = 1 << 0, 1 << 13
_FS_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}  # ABI -> how many file-system rights it knows
_FS_RIGHTS_NEWEST = 16
_NET_TCP = 0b11
_SCOPED = 0b11  # abstract sockets and signals


class _Ruleset(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def abi() -> int:
    """Return the kernel's Landlock ABI version. Raises OSError if it has none."""
    return kernel.call("landlock_create_ruleset", None, 0, _VERSION)


def restrict(files: Iterable[str], directories: Iterable[str], scratch: str, devices: Mapping[str, bool]) -> None:
    """Deny this process all access that the kernel's Landlock version covers, except as follows; needs no_new_privs.

    TCP, and signals and abstract sockets to processes outside, are denied too if the version covers them.

    Args:
        files: Files that may be read, and directories whose whole trees may be read.
        directories: Directories that may be listed, with everything below them.
        scratch: The directory below which files may be made, changed and removed.
        devices: Files that may be read, and whether they may be written to.

    Raises:
        OSError: Landlock is not available, or a path is missing.
    """
    version = abi()
    rights = (1 << _FS_RIGHTS.get(version, _FS_RIGHTS_NEWEST)) - 1
    ruleset = _Ruleset(fs=rights, net=_NET_TCP if version >= 4 else 0, scoped=_SCOPED if version >= 6 else 0)
    size = 8 if version < 4 else 16 if version < 6 else 24
    descriptor = kernel.call("landlock_create_ruleset", ruleset, size, 0)
    try:
        for path in files:
            _allow(descriptor, path, _READ_FILE | (_READ_DIR if os.path.isdir(path) else 0))
        for path in directories:
            _allow(descriptor, path, _READ_DIR)
        _allow(descriptor, scratch, _SCRATCH & rights)
        for path, writable in devices.items():
            _allow(descriptor, path, _READ_FILE | (_WRITE_FILE if writable else 0))
        kernel.call("landlock_restrict_self", descriptor, 0)
    finally:
        os.close(descriptor)


def start_domain(scratch: str) -> int:
    """Return the descriptor of a ruleset that denies no file, for `enter_domain`.

    Args:
        scratch: As above. Each ruleset has to say where files may be moved between folders.

    Raises:
        OSError: Landlock is not available, or the path is missing.
    """
    right = _REFER if abi() > 1 else _EXECUTE
    descriptor = kernel.call("landlock_create_ruleset", _Ruleset(fs=right), 8, 0)
    if right == _REFER:
        _allow(descriptor, scratch, right)
    return descriptor


def enter_domain(descriptor: int) -> None:
    """Put this process into a domain of its own and close the descriptor. Raises OSError."""
    kernel.call("landlock_restrict_self", descriptor, 0)
    os.close(descriptor)


def _allow(ruleset: int, path: str, rights: int) -> None:
    parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        kernel.call("landlock_add_rule", ruleset, _RULE_PATH_BENEATH, _Beneath(rights, parent), 0)
    finally:
        os.close(parent)
