"""Identify the owner of a control group or container, so that a later verifier can remove what a killed one left.

A process id is unique only together with the boot, the pid namespace, and the time at which the process started.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

_IDENTITY = re.compile(r"(?P<realm>[0-9a-f-]+\.\d+)\.(?P<pid>\d{1,9})\.(?P<started>\d+)")


def identity() -> str:
    """Return the globally unique identity of this process, ``BOOT.NAMESPACE.PID.START``. Raises OSError."""
    return f"{_realm()}.{os.getpid()}.{_start_time('self')}"


def is_gone(owner: str) -> bool:
    """Return True if the process of this identity has ended, False also if that is not known, as in another pid
    namespace.

    Args:
        owner: What `identity` returned in that process.

    Raises:
        OSError: /proc can't be read.
    """
    found = _IDENTITY.fullmatch(owner)
    if found is None or found["realm"] != _realm() or os.readlink("/proc/self") != str(os.getpid()):
        return False  # the last condition: /proc belongs to another pid namespace
    try:
        os.kill(int(found["pid"]), 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # it belongs to another user, and /proc may hide it
        pass
    return _start_time(found["pid"]) not in (0, int(found["started"]))


def _realm() -> str:
    """Return the boot and the pid namespace within which process ids are unique."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}.{os.stat('/proc/self/ns/pid').st_ino}"


def _start_time(pid: str) -> int:
    """Return the start time of a process, in clock ticks since boot (man 5 proc, stat); 0 if it is not visible."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, IndexError):
        return 0
