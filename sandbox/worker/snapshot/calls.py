"""Decides about system calls of a job by number and registers, never by what a pointer points to.

Calls pass that change nothing, so that there is nothing to put back. A job that needs more memory than the process has
in reserve goes to fork: a process that has grown could not be put back, and to replace it costs more than a fork.
"""

from __future__ import annotations

import errno
import os
import stat
import struct

from selftaught.sandbox.jail import seccomp
from selftaught.sandbox.worker.jailed import JailedProcesses
from selftaught.sandbox.worker.native.shared import Action
from selftaught.sandbox.worker.snapshot.process import SnapshotProcess
from selftaught.sandbox.worker.snapshot.tracee import ARGUMENTS, ORIG_RAX

_PASS = "getrandom gettimeofday time sched_yield nanosleep clock_nanosleep futex".split()
"""With the arguments that the filter allows, these change nothing in the kernel and show nothing of earlier tasks."""
_NO_SUCH_FILE = (1 << 64) - errno.ENOENT
"""The result of calls on paths of sources."""
_SOURCE_NAMES = (b"<puzzle>", b"<solution>", b"<prelude>", b"<tests>", b"<checker>")
_LONGEST_NAME = max(map(len, _SOURCE_NAMES)) + 1
_EMPTY_PATH = 0x1000  # AT_EMPTY_PATH
_STAT = struct.Struct("<3Q3I4xQ3Q72x")
"""struct stat of x86-64: device, inode, links; mode, user, group; device; size, block size, blocks; times."""
_MEMFD_MODE, _PIPE_MODE = stat.S_IFREG | 0o777, stat.S_IFIFO | 0o600
_NO_SEEK = (1 << 64) - errno.ESPIPE


class Calls:
    """Decides for the snapshot processes of a worker.

    Attributes:
        actions: what the C code does by itself (`SnapshotProcess.wait`), by number of the call.
    """

    def __init__(self, jailed: JailedProcesses) -> None:
        self.actions = {
            jailed.number("write"): Action.WRITE,
            jailed.number("read"): Action.READ,
            jailed.number("ioctl"): Action.IOCTL,
            **{jailed.number(name): Action.PASS for name in _PASS},
        }
        self._clock, self._exit = jailed.number("clock_gettime"), jailed.number("exit_group")
        self._fstat, self._stat_at = jailed.number("fstat"), jailed.number("newfstatat")
        self._lseek, self._sigreturn = jailed.number("lseek"), jailed.number("rt_sigreturn")
        self._of_paths = {jailed.number(name) for name in ("openat", "newfstatat")}
        self._of_stdin = {jailed.number("read"): 0, self._lseek: 0}

    def allow(self, process: SnapshotProcess) -> bool:
        """Let the call at which the process waits take place, or answer it. Return False if it must not take place.

        Args:
            process: a process that has stopped with `Stop.CALL`.

        Raises:
            OSError: the process has died.
        """
        now = process.now
        call, arguments = now[ORIG_RAX], [now[place] for place in ARGUMENTS]
        if position := process.stdin_position:
            answer = self._answer_program(process, call, arguments, position)
        else:
            answer = self._of_stdin.get(call) if arguments[0] == 0 else None
        if answer is None and call in self._of_paths and _names_source(process, arguments[1]):
            answer = _NO_SUCH_FILE
        if answer is not None:
            process.proceed_with(answer)
        elif call == self._clock and arguments[0] in seccomp.CLOCKS:  # its own clocks have run during earlier tasks
            process.tracee.resume()
        else:
            return False
        return True

    def returns_from_handler(self, process: SnapshotProcess) -> bool:
        """Return True if it waits at the call by which a signal handler ends, and which puts back the signal mask."""
        return process.call == self._sigreturn

    def exit_code(self, process: SnapshotProcess) -> int | None:
        """Return the exit code if a program waits at the call that ends it."""
        if process.call != self._exit or process.stdin_position is None:
            return None
        return process.now[ARGUMENTS[0]] & 0xFF

    def _answer_program(
        self, process: SnapshotProcess, call: int, arguments: list[int], position: tuple[int, int]
    ) -> int | None:
        """Return the result of a call on a program's standard streams, as if its input were a file in memory, and its
        outputs pipes.
        """
        descriptor, (at, size) = arguments[0], position
        if descriptor > 2:
            return None
        if call == self._lseek and descriptor:
            return _NO_SEEK
        if call == self._lseek and arguments[1] == 0 and arguments[2] == os.SEEK_CUR:
            return at
        of_descriptor = call == self._fstat
        if call == self._stat_at and arguments[3] == _EMPTY_PATH and process.tracee.read(arguments[1], 1) == b"\0":
            of_descriptor = True
        if of_descriptor:
            mode, size = (_PIPE_MODE, 0) if descriptor else (_MEMFD_MODE, size)
            blocks = -(-size // 4096) * 8
            process.write(
                arguments[1 if call == self._fstat else 2], _STAT.pack(0, 0, 0, mode, 0, 0, 0, size, 4096, blocks)
            )
            return 0
        return None


def _names_source(process: SnapshotProcess, address: int) -> bool:
    """Return True if a path is the name that sources are compiled under: quoting from such a file fails.

    The path may change after it is read here. That does no harm: whatever it is, the call does not take place.
    """
    try:
        return process.tracee.read(address, _LONGEST_NAME).split(b"\0")[0] in _SOURCE_NAMES
    except OSError:
        return False
