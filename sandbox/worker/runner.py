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
_SMALLEST, _LARGEST, _BYTES_HEAD, _IN_A_ROW = 16, 512, 33, 8
_held: list[object] = []
"""What fills holes, for as long as the process lives."""


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
        _held.extend(_fill_holes())
        gc.freeze()
        # Again announced with a puzzle loaded, it takes what that announcement returns for the size of the phase's job.
        perform(string_at(address, wait()), lambda: string_at(address, announce(UFFD, address, 0)))
    finally:
        os._exit(1)


def _fill_holes() -> list[object]:
    """Objects that take up the scattered free places of every size, so that a job's own objects lie together, on few pages.

    Sizes are those of Python's small-object allocator. A size is done when new objects lie one behind the other.
    """
    held: list[object] = []
    for size in range(_SMALLEST, _LARGEST + 1, _SMALLEST):
        in_a_row = before = 0
        while in_a_row < _IN_A_ROW:
            filler = object() if size == 16 else len(held) << 40 if size == 32 else bytes(size - _BYTES_HEAD)
            in_a_row = in_a_row + 1 if 0 < id(filler) - before <= 4 * size else 0  # integers are made meanwhile, too
            before = id(filler)
            held.append(filler)
    return held
