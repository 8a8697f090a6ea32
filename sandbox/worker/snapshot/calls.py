"""Decides about system calls of a job by number and registers, never by what a pointer points to.

Calls pass that change nothing, so that there is nothing to put back, and requests for memory, after which the process
is replaced.
"""

from __future__ import annotations

import errno
import resource
from enum import Enum, auto

from selftaught.sandbox.jail import seccomp
from selftaught.sandbox.worker.jailed import JailedProcesses, address_space
from selftaught.sandbox.worker.native.shared import Action
from selftaught.sandbox.worker.snapshot.process import SnapshotProcess
from selftaught.sandbox.worker.snapshot.tracee import ARGUMENTS, ORIG_RAX

_PASS = "getrandom gettimeofday time sched_yield nanosleep clock_nanosleep futex".split()
"""With the arguments that the filter allows, these change nothing in the kernel and show nothing of earlier tasks."""
_NO_SUCH_FILE, _NO_TERMINAL = (1 << 64) - errno.ENOENT, (1 << 64) - errno.ENOTTY
"""The results of calls on paths of sources, and of a terminal's ioctl on standard input, which is as at end of file."""
_SOURCE_NAMES = (b"<puzzle>", b"<solution>")
_LONGEST_NAME = 11
_PRIVATE_ANONYMOUS, _READ_WRITE = 0x22, 3


class Decision(Enum):
    """What has become of a call."""

    REFUSED = auto()
    """It still waits, and must not take place."""
    LEFT_NOTHING = auto()
    GREW = auto()
    """It took place, and the process's memory has changed."""


class Calls:
    """Decides for the snapshot processes of a worker.

    Attributes:
        actions: what the C code does by itself (`SnapshotProcess.wait`), by number of the call.
    """

    def __init__(self, jailed: JailedProcesses) -> None:
        self.actions = {jailed.number("write"): Action.WRITE, **{jailed.number(name): Action.PASS for name in _PASS}}
        self._clock, self._mmap, self._brk = (jailed.number(name) for name in ("clock_gettime", "mmap", "brk"))
        self._of_paths = {jailed.number(name) for name in ("openat", "newfstatat")}
        self._of_stdin = {
            jailed.number(name): result for name, result in (("read", 0), ("lseek", 0), ("ioctl", _NO_TERMINAL))
        }
        self._growing = self._brk, jailed.number("munmap")

    def decide(self, process: SnapshotProcess, growth: int) -> Decision:
        """Let the call at which the process waits take place, answer it, or refuse it.

        Args:
            process: a process that has stopped with `Stop.CALL`.
            growth: bytes by which it may grow in total.

        Raises:
            OSError: the process has died.
        """
        now = process.now
        call, arguments = now[ORIG_RAX], [now[place] for place in ARGUMENTS]
        answer = self._of_stdin.get(call) if arguments[0] == 0 else None
        if call in self._of_paths and _names_source(process, arguments[1]):
            answer = _NO_SUCH_FILE
        if answer is not None:
            process.proceed_with(answer)
            return Decision.LEFT_NOTHING
        if call in self._growing or (call == self._mmap and _is_plain(arguments)):
            size = (
                arguments[1]
                if call == self._mmap
                else max(0, arguments[0] - process.memory.heap_end)
                if call == self._brk
                else 0
            )
            if growth < 0 or address_space(process.tracee.pid) + size > _limit(process.tracee.pid, growth):
                return Decision.REFUSED  # near the limit each call is slow here
            process.memory.heap_end += size if call == self._brk else 0
            process.tracee.resume()
            return Decision.GREW
        if call == self._clock and arguments[0] in seccomp.CLOCKS:  # its own clocks have run during earlier tasks
            process.tracee.resume()
            return Decision.LEFT_NOTHING
        return Decision.REFUSED


def _limit(pid: int, growth: int) -> int:
    """Return the address space that a process that may grow by so much can have; the kernel enforces it (RLIMIT_AS)."""
    limit = resource.prlimit(pid, resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:  # it has not grown yet
        limit = address_space(pid) + growth
        resource.prlimit(pid, resource.RLIMIT_AS, (limit, limit))
    return limit


def _is_plain(arguments: list[int]) -> bool:
    """Return True if mmap is asked for private memory that is not executable."""
    _, _, rights, flags, descriptor, _ = arguments
    return rights & ~_READ_WRITE == 0 and flags == _PRIVATE_ANONYMOUS and descriptor & 0xFFFFFFFF == 0xFFFFFFFF


def _names_source(process: SnapshotProcess, address: int) -> bool:
    """Return True if a path is the name that sources are compiled under: quoting from such a file fails.

    The path may change after it is read here. That does no harm: whatever it is, the call does not take place.
    """
    try:
        return process.tracee.read(address, _LONGEST_NAME).split(b"\0")[0] in _SOURCE_NAMES
    except OSError:
        return False
