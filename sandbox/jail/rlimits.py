"""Resource limits: those of every child, and those of one phase (man 2 getrlimit)."""

from __future__ import annotations

import math
import resource

STACK_BYTES = 64 << 20
"""Deep recursion through C code needs more than the usual 8 MiB."""


DESCRIPTORS = 64
"""A child can have none with this number or a higher one."""


def restrict_zygote(file_bytes: int) -> None:
    """Set the limits that all children inherit: no core files, small files, few descriptors, no queues of signals.

    Args:
        file_bytes: The largest file, for phases that may write any.

    Raises:
        OSError: A limit can't be set.
    """
    # No signal waits in line with another of its number: those that wait are counted for all processes of the user.
    # A limit of 1 byte for core files means none. With 0 the kernel would still start the host's core handler, if
    # core files are piped to one (fs/coredump.c).
    for name, value in (
        ("STACK", STACK_BYTES),
        ("CORE", 1),
        ("FSIZE", file_bytes),
        ("NOFILE", DESCRIPTORS),
        ("MEMLOCK", 0),
        ("MSGQUEUE", 0),
        ("SIGPENDING", 0),
    ):
        kind = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(kind)[1]
        allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
        # A program may raise its own stack, as programs that recurse deeply do: it counts towards RLIMIT_AS.
        resource.setrlimit(kind, (allowed, hard if name == "STACK" else allowed))


def restrict_phase(address_space_bytes: int, cpu_seconds: float, writes_files: bool) -> None:
    """Set the limits of one phase.

    Args:
        address_space_bytes: For RLIMIT_AS.
        cpu_seconds: The phase's CPU limit. RLIMIT_CPU is a backstop above it: the supervisor's own limit is finer.
        writes_files: False for a phase in which no file may grow.

    Raises:
        OSError: A limit can't be set.
    """
    seconds = math.ceil(cpu_seconds) + 1
    resource.setrlimit(resource.RLIMIT_AS, (address_space_bytes, address_space_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    if not writes_files:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
