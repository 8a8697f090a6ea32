"""The snapshot process: configures its memory, waits for a job, runs it and reports.

After each report the supervisor puts the process back to the moment when it waited, so it never sees a job end.
It has no descriptors but one to share memory by: it reports by a system call that the supervisor answers itself.
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
from selftaught.sandbox.worker.inside import heap
from selftaught.sandbox.worker.native.library import load

RESERVE_BYTES = 32 << 20
"""Free heap for a job, in bytes. A job that needs more goes to the fork engine."""
JOB_BYTES = 4 << 20
"""Largest job with its header, in bytes."""
STACK_BYTES = 8 << 20
UFFD, MEMFD = 0, 1
"""Descriptors that the supervisor takes: a userfaultfd, and a memfd for shared memory."""

_PR_SET_DUMPABLE, _PR_SET_THP_DISABLE = 4, 41
_ALIGNED = 64
_kept: list[ctypes.Array[ctypes.c_char]] = []
"""Memory in use as long as the process lives."""


def start(program: bytes) -> NoReturn:
    """Become a snapshot process, in a process that the zygote has just forked.

    Args:
        program: the seccomp filter that traces every system call.
    """
    from selftaught.sandbox.worker.inside import phase  # the supervisor, which imports this module, needs none of it

    try:
        kernel.prctl(_PR_SET_DUMPABLE, 1)  # else the supervisor, which is not root outside, may not trace it
        kernel.prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL: reports that it is ready; it is traced from here on
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
        job, perform = memoryview(buffer).cast("B"), phase.perform  # bound before a puzzle can replace `builtins`
        phase.set_messages(job)
        announce(UFFD, address)  # passes the address for jobs to the supervisor
        os.close(UFFD)
        phase.warm_up(rounds=2)
        gc.collect()
        gc.freeze()
        heap.start_new_page()
        perform(job[: wait()])
    finally:
        os._exit(1)


def _calls() -> tuple[Callable[[], int], Callable[[int, int], int]]:
    """Return functions that wait by getppid and announce by lseek (snapshot.c).

    Raises:
        OSError: the C code was not built, or the processor has no XSAVE.
    """
    library = load()
    buffer_size, wait, announce = library.snapshot_buffer_size, library.snapshot_wait, library.snapshot_announce
    buffer_size.restype = ctypes.c_size_t
    wait.argtypes = ctypes.c_void_p, ctypes.c_uint64
    announce.argtypes = (*wait.argtypes, *[ctypes.c_long] * 2)
    wait.restype = announce.restype = ctypes.c_long
    size = buffer_size()
    if not size:
        raise OSError(errno.ENOSYS, "the processor has no XSAVE")
    _kept.append(ctypes.create_string_buffer(size + _ALIGNED))
    start = ctypes.addressof(_kept[-1])
    start += -start % _ALIGNED
    return functools.partial(wait, start, size), functools.partial(announce, start, size)
