"""The warm process that a snapshot is taken of: it gets ready, waits for a job, runs it, reports, and is put back.

It never finishes a job as far as it knows: after its report the warden puts everything back to the moment of waiting.
A runner has no descriptor; what looks like one below is a number in a system call that the warden answers itself.
"""

from __future__ import annotations

import ctypes
import gc
import os
from typing import NoReturn

from sandbox.jail import kernel, seccomp
from sandbox.worker import heap, phase

RESERVE_BYTES = 32 << 20
"""Memory a job can use before the process has to grow."""
JOB_BYTES = 256 << 10
"""The largest job, with its head."""
STACK_BYTES = 8 << 20
UFFD, MEMFD = 0, 1
"""Descriptors for the warden to take: a userfaultfd, and memory to share."""

_PR_SET_DUMPABLE, _PR_SET_THP_DISABLE = 4, 41


def start(program: bytes) -> NoReturn:
    """Become a runner, in a process that the zygote has just forked. `program` is the filter of its system calls."""
    try:
        kernel.prctl(_PR_SET_DUMPABLE, 1)  # else the warden, which is not root outside, may not trace it
        kernel.prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL: it reports for duty, as every child does; from here on it is traced
        kernel.prctl(_PR_SET_THP_DISABLE, 1)
        os.closerange(0, 64)
        if kernel.call("userfaultfd", os.O_CLOEXEC | os.O_NONBLOCK | seccomp.USER_MODE_ONLY) != UFFD:
            os._exit(1)
        os.memfd_create("")
        heap.gather()
        heap.reserve(RESERVE_BYTES)
        heap.extend_stack(STACK_BYTES)
        seccomp.install(program, listen=False)
        buffer = ctypes.create_string_buffer(JOB_BYTES)
        address = ctypes.addressof(buffer)
        wait, announce, string_at, perform = os.getppid, os.lseek, ctypes.string_at, phase.perform
        announce(UFFD, address, 0)  # to the warden: where jobs are to be put
        os.close(UFFD)
        phase.warm_up(rounds=2)
        gc.collect()
        gc.freeze()
        heap.turn_page()
        # Again announced with a puzzle loaded, it takes what that announcement returns for the size of the phase's job.
        perform(string_at(address, wait()), lambda: string_at(address, announce(UFFD, address, 0)))
    finally:
        os._exit(1)
