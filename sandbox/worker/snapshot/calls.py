"""What becomes of the system calls of a job on a runner: decided on number and registers, never on what a pointer points to.

Those pass that change nothing, after which there is nothing to put back, and requests for memory, after which the runner is replaced.
"""

from __future__ import annotations

import errno
from enum import Enum, auto

from sandbox.worker.cell import Cell
from sandbox.worker.snapshot.process import Action, Rollback
from sandbox.worker.snapshot.tracee import ARGUMENTS, ORIG_RAX

_PASS = "getrandom gettimeofday time sched_yield nanosleep clock_nanosleep".split()
_OWN_CLOCKS, _CLOCKS = (2, 3), 12  # CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID; higher and negative ones are of processes too
_FUTEX_WAIT_OR_WAKE = (0, 1, 9, 10)  # FUTEX_WAIT, _WAKE, _WAIT_BITSET, _WAKE_BITSET: nothing stays in the kernel
_FUTEX_FLAGS = 128 | 256
_NO_SUCH_FILE = (1 << 64) - errno.ENOENT
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
    """Decides for the runners of a cell. actions: what `Rollback.wait` does by itself, by number of the call."""

    def __init__(self, cell: Cell) -> None:
        self.actions = {cell.number("write"): Action.WRITE, **{cell.number(name): Action.PASS for name in _PASS}}
        self._clock, self._futex, self._mmap, self._munmap, self._brk, self._open = (
            cell.number(name) for name in ("clock_gettime", "futex", "mmap", "munmap", "brk", "openat")
        )

    def decide(self, back: Rollback, room: int) -> tuple[Decision, int]:
        """Let the call that the runner waits at take place, or not, or answer it; and the `room`, in bytes, that there is to grow after that."""
        call, arguments = back.now[ORIG_RAX], [back.now[place] for place in ARGUMENTS]
        if call == self._open and _names_source(back, arguments[1]):
            back.proceed_with(_NO_SUCH_FILE)
            return Decision.LEFT_NOTHING, room
        decision = Decision.REFUSED
        if call == self._mmap:
            room -= arguments[1]
            decision = Decision.GREW if room >= 0 and _is_plain(arguments) else Decision.REFUSED
        elif call == self._brk:
            end = back.memory.heap_end
            decision = Decision.GREW if arguments[0] == 0 or end <= arguments[0] <= end + room else Decision.REFUSED
        elif call == self._munmap:
            decision = Decision.GREW
        elif call == self._clock:
            decision = Decision.LEFT_NOTHING if arguments[0] not in _OWN_CLOCKS and arguments[0] < _CLOCKS else Decision.REFUSED
        elif call == self._futex and (arguments[1] & ~_FUTEX_FLAGS) in _FUTEX_WAIT_OR_WAKE:
            decision = Decision.LEFT_NOTHING
        if decision is not Decision.REFUSED:
            back.tracee.resume()
        return decision, room


def _is_plain(arguments: list[int]) -> bool:
    """Whether what mmap is asked for is memory that is private and not executable."""
    _, _, rights, flags, descriptor, _ = arguments
    return rights & ~_READ_WRITE == 0 and flags == _PRIVATE_ANONYMOUS and descriptor & 0xFFFFFFFF == 0xFFFFFFFF


def _names_source(back: Rollback, address: int) -> bool:
    """Whether a path is the name that sources are compiled under: the parser looks for such a file to quote from, in vain.

    The path is read although it could be anything, since whatever comes of it, the call does not take place.
    """
    try:
        return back.tracee.read(address, _LONGEST_NAME).split(b"\0")[0] in _SOURCE_NAMES
    except OSError:
        return False
