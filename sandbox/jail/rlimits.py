"""Resource limits: what every child has, and what a job adds (man 2 getrlimit)."""

from __future__ import annotations

import math
import resource

STACK_BYTES = 64 << 20
"""Deep recursion through C code needs more than the usual 8 MiB."""


def restrict_zygote() -> None:
    """The limits that all children share: no core files, no file growth, few descriptors. Raises OSError."""
    # A core file of one byte is none, nor is a program told of it that the host pipes them to; of none allowed it is (fs/coredump.c).
    for name, value in (
        ("STACK", STACK_BYTES),
        ("CORE", 1),
        ("FSIZE", 0),
        ("NOFILE", 64),
        ("MEMLOCK", 0),
        ("MSGQUEUE", 0),
    ):
        kind = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(kind)[1]
        allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (allowed, allowed))


def restrict_phase(address_space_bytes: int, cpu_seconds: float) -> None:
    """The limits of one phase; the processor limit stands only behind the supervisor's finer one. Raises OSError."""
    seconds = math.ceil(cpu_seconds) + 1
    resource.setrlimit(resource.RLIMIT_AS, (address_space_bytes, address_space_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
