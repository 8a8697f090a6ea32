"""The warm process that a snapshot is taken of: it gets ready, waits for a job, runs it, reports, and is put back.

It never finishes a job as far as it knows: after its report the warden puts everything back to the moment of waiting.
A runner has no descriptor; what looks like one below is a number in a system call that the warden answers itself.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import os
from collections.abc import Callable
from typing import NoReturn

from sandbox.jail import kernel, seccomp
from sandbox.worker.inside import heap, phase
from sandbox.worker.native import library as accelerator

RESERVE_BYTES = 32 << 20
"""Memory a job can use before the process has to grow."""
JOB_BYTES = 256 << 10
"""The largest job, with its head."""
STACK_BYTES = 8 << 20
UFFD, MEMFD = 0, 1
"""Descriptors for the warden to take: a userfaultfd, and memory to share."""
LOADS_EXTENDED = 1
"""Announced: when it goes on after a job, it loads the extended registers itself (runner.c)."""

_PR_SET_DUMPABLE, _PR_SET_THP_DISABLE = 4, 41
_ALIGNED = 64
_held: list[ctypes.Array[ctypes.c_char]] = []
"""Memory that is used for as long as the process lives."""


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
        wait, announce, loads_extended = _calls()
        job, as_bytes, perform = memoryview(buffer), bytes, phase.perform  # bound here: a puzzle may replace what is in `builtins`
        announce(UFFD, address, loads_extended)  # to the warden: where jobs are to be put
        os.close(UFFD)
        phase.warm_up(rounds=2)
        gc.collect()
        gc.freeze()
        heap.turn_page()
        # Again announced with a puzzle loaded, it takes what that announcement returns for the size of the phase's job.
        perform(as_bytes(job[: wait()]), lambda: as_bytes(job[: announce(UFFD, address, 0)]))
    finally:
        os._exit(1)


def _calls() -> tuple[Callable[[], int], Callable[[int, int, int], int], int]:
    """The system calls getppid and lseek, by which it waits; and `LOADS_EXTENDED` if they come back with the extended registers as before."""
    try:
        library = accelerator.load()
        room, wait, announce = library.runner_room, library.runner_wait, library.runner_announce
    except (OSError, AttributeError):  # none, or an older one
        return os.getppid, os.lseek, 0
    room.restype = ctypes.c_size_t
    wait.argtypes, announce.argtypes = (ctypes.c_void_p,), (ctypes.c_void_p, *[ctypes.c_long] * 3)
    wait.restype = announce.restype = ctypes.c_long
    size = room()
    if not size:
        return os.getppid, os.lseek, 0
    _held.append(ctypes.create_string_buffer(size + _ALIGNED))
    start = ctypes.addressof(_held[-1])
    start += -start % _ALIGNED
    return functools.partial(wait, start), functools.partial(announce, start), LOADS_EXTENDED
