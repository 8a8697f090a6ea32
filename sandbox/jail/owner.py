"""Whose something is that a killed verifier leaves behind, a control group or a container: so that a later verifier can remove it.

A process number means something within one boot and one pid namespace, and only with the time at which the process started.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

_IDENTITY = re.compile(r"(?P<realm>[0-9a-f-]+\.\d+)\.(?P<pid>\d{1,9})\.(?P<started>\d+)")


def identity() -> str:
    """This process, as ``BOOT.NAMESPACE.NUMBER.START``: no other has that, on this machine or elsewhere. Raises OSError."""
    return f"{_realm()}.{os.getpid()}.{_start_time('self')}"


def is_gone(owner: str) -> bool:
    """Whether the process of this identity has ended; False where that can't be told from here, as of another pid namespace. Raises OSError."""
    found = _IDENTITY.fullmatch(owner)
    if found is None or found["realm"] != _realm() or os.readlink("/proc/self") != str(os.getpid()):
        return False  # the last: /proc shows another namespace than ours
    try:
        os.kill(int(found["pid"]), 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # it is another user's, and /proc may hide it
        pass
    return _start_time(found["pid"]) not in (0, int(found["started"]))


def _realm() -> str:
    """Where a process number means something: this boot of this machine, and this pid namespace."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}.{os.stat('/proc/self/ns/pid').st_ino}"


def _start_time(pid: str) -> int:
    """When a process started, in clock ticks since boot (man 5 proc, stat); 0 if it can't be seen."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, IndexError):
        return 0
