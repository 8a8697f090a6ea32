"""The warm process that a snapshot is taken of: it gets ready, waits for a job, runs it, reports, and is put back.

It never finishes a job as far as it knows: after its report the supervisor puts everything back to the moment of waiting.
A runner has no descriptor; what looks like one below is a number in a system call that the supervisor answers itself.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import gc
import os
from collections.abc import Callable
from typing import NoReturn

from selftaught.sandbox.jail import kernel, seccomp
from selftaught.sandbox.worker.inside import heap, phase
from selftaught.sandbox.worker.native.library import load

RESERVE_BYTES = 32 << 20
"""Memory a job can use before the process has to grow."""
JOB_BYTES = 4 << 20
"""The largest job, with its head."""
STACK_BYTES = 8 << 20
UFFD, MEMFD = 0, 1
"""Descriptors for the supervisor to take: a userfaultfd, and memory to share."""

_PR_SET_DUMPABLE, _PR_SET_THP_DISABLE = 4, 41
_ALIGNED = 64
_held: list[ctypes.Array[ctypes.c_char]] = []
"""Memory that is used for as long as the process lives."""


def start(program: bytes) -> NoReturn:
    """Become a runner, in a process that the zygote has just forked. `program` is the filter of its system calls."""
    try:
        kernel.prctl(_PR_SET_DUMPABLE, 1)  # else the supervisor, which is not root outside, may not trace it
        kernel.prctl(
            1, 9
        )  # PR_SET_PDEATHSIG, SIGKILL: it reports for duty, as every child does; from here on it is traced
        kernel.prctl(_PR_SET_THP_DISABLE, 1)
        os.closerange(0, 64)
        if kernel.call("userfaultfd", os.O_CLOEXEC | os.O_NONBLOCK | seccomp.USER_MODE_ONLY) != UFFD:
            os._exit(1)
        os.memfd_create("")
        heap.disable_mmap()
        heap.reserve(RESERVE_BYTES)
        heap.extend_stack(STACK_BYTES)
        seccomp.install(program, listen=False)
        buffer = heap.allocate(JOB_BYTES)
        address = ctypes.addressof(buffer)
        wait, announce = _calls()
        job, perform = (
            memoryview(buffer).cast("B"),
            phase.perform,
        )  # bound here: a puzzle may replace what is in `builtins`
        announce(UFFD, address)  # to the supervisor: where jobs are to be put
        os.close(UFFD)
        phase.warm_up(rounds=2)
        gc.collect()
        gc.freeze()
        heap.start_new_page()
        perform(job[: wait()])
    finally:
        os._exit(1)


def _calls() -> tuple[Callable[[], int], Callable[[int, int], int]]:
    """The system calls getppid and lseek, by which it waits (snapshot.c). Raises OSError if the library or the processor has not what is needed."""
    library = load()
    room, wait, announce = library.snapshot_buffer_size, library.snapshot_wait, library.snapshot_announce
    room.restype = ctypes.c_size_t
    wait.argtypes = ctypes.c_void_p, ctypes.c_uint64
    announce.argtypes = (*wait.argtypes, *[ctypes.c_long] * 2)
    wait.restype = announce.restype = ctypes.c_long
    size = room()
    if not size:
        raise OSError(errno.ENOSYS, "the processor has no XSAVE")
    _held.append(ctypes.create_string_buffer(size + _ALIGNED))
    start = ctypes.addressof(_held[-1])
    start += -start % _ALIGNED
    return functools.partial(wait, start, size), functools.partial(announce, start, size)
