"""What becomes of the system calls of a job on a snapshot process: decided on number and registers, never on what a pointer points to.

Those pass that change nothing, after which there is nothing to put back, and requests for memory, after which the process is replaced.
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
"""With the arguments that the filter lets through these leave nothing in the kernel and tell of no earlier task."""
_NO_SUCH_FILE, _NO_TERMINAL = (1 << 64) - errno.ENOENT, (1 << 64) - errno.ENOTTY
"""Also what standard input, of which there is none, says to those who ask for its settings; it is at its end, as /dev/null is."""
_SOURCE_NAMES = (b"<puzzle>", b"<solution>")
_LONGEST_NAME = 11
_PRIVATE_ANONYMOUS, _READ_WRITE = 0x22, 3


class Decision(Enum):
    """What has become of a call."""

    REFUSED = auto()
    """It waits still, and must not take place."""
    LEFT_NOTHING = auto()
    GREW = auto()
    """It took place, and the process has other memory than before."""


class Calls:
    """Decides for the snapshot processes of a jailed. actions: what `SnapshotProcess.wait` does by itself, by number of the call."""

    def __init__(self, jailed: JailedProcesses) -> None:
        self.actions = {jailed.number("write"): Action.WRITE, **{jailed.number(name): Action.PASS for name in _PASS}}
        self._clock, self._mmap, self._brk = (jailed.number(name) for name in ("clock_gettime", "mmap", "brk"))
        self._of_paths = {jailed.number(name) for name in ("openat", "newfstatat")}
        self._of_stdin = {
            jailed.number(name): result for name, result in (("read", 0), ("lseek", 0), ("ioctl", _NO_TERMINAL))
        }
        self._growing = self._brk, jailed.number("munmap")

    def decide(self, process: SnapshotProcess, room: int) -> Decision:
        """Let the call that the process waits at take place, or not, or answer it. room: bytes by which it may grow, all in all."""
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
            if room < 0 or address_space(process.tracee.pid) + size > _limit(process.tracee.pid, room):
                return Decision.REFUSED  # at the limit, where all goes slowly here
            process.memory.heap_end += size if call == self._brk else 0
            process.tracee.resume()
            return Decision.GREW
        if (
            call == self._clock and arguments[0] in seccomp.CLOCKS
        ):  # the process's own have counted for all tasks before
            process.tracee.resume()
            return Decision.LEFT_NOTHING
        return Decision.REFUSED


def _limit(pid: int, room: int) -> int:
    """The address space that a process may have which grows by so much; the kernel holds it to that (man 2 getrlimit, RLIMIT_AS). Raises OSError."""
    most = resource.prlimit(pid, resource.RLIMIT_AS)[0]
    if most == resource.RLIM_INFINITY:  # it has not grown yet
        most = address_space(pid) + room
        resource.prlimit(pid, resource.RLIMIT_AS, (most, most))
    return most


def _is_plain(arguments: list[int]) -> bool:
    """Whether what mmap is asked for is memory that is private and not executable."""
    _, _, rights, flags, descriptor, _ = arguments
    return rights & ~_READ_WRITE == 0 and flags == _PRIVATE_ANONYMOUS and descriptor & 0xFFFFFFFF == 0xFFFFFFFF


def _names_source(process: SnapshotProcess, address: int) -> bool:
    """Whether a path is the name that sources are compiled under: who wants to quote from such a file looks for it, in vain.

    The path is read although it could be anything, since whatever comes of it, the call does not take place.
    """
    try:
        return process.tracee.read(address, _LONGEST_NAME).split(b"\0")[0] in _SOURCE_NAMES
    except OSError:
        return False
