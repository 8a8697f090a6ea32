"""A child that runs a program: it may flush at a limit, and how it ended is told from the kernel's figures."""

from __future__ import annotations

import errno
import os
import select
import signal
import time
from typing import TYPE_CHECKING

from selftaught.sandbox.outcome import End, Outcome
from selftaught.sandbox.worker.engine import ClientGone
from selftaught.sandbox.worker.fork.child import Child
from selftaught.sandbox.worker.fork.exit_status import CRASHES
from selftaught.sandbox.worker.fork.streams import Streams
from selftaught.sandbox.worker.inside import ending

if TYPE_CHECKING:
    from selftaught.sandbox.jail import seccomp
    from selftaught.sandbox.worker.fork.engine import ForkEngine
    from selftaught.sandbox.worker.session import Request

FLUSH_SECONDS = 0.05
"""Seconds that a program at a limit may take to write what is in its buffers."""
_FAILED = 1
"""The exit code of a program that an exception ends."""


class ProgramChild(Child):
    """A child that runs a program.

    Attributes:
        return_code: its exit code, or minus the number of the signal that ended it.
    """

    def __init__(self, engine: ForkEngine, request: Request, streams: Streams) -> None:
        super().__init__(engine, request, streams)
        self._output = streams
        self.return_code = self._size_seen = 0
        self._refusal = ""

    def refuse(self, call: seccomp.Call, reason: str) -> None:
        """Make a forbidden call fail, and note it: the program may do without, as on a machine that can't serve it."""
        self.jailed.listener.fail(call, errno.EPERM)
        self._refusal = self._refusal or reason

    def look_at_size(self) -> None:
        """Note whether the program has been at its limit of memory: it makes a call that it ends with if so."""
        self._size_seen = max(self._size_seen, self.memory_reached())

    def _end_at_limit(self) -> None:
        """Have the program write what is in its buffers.

        One that handles the signal itself loses no more than that, and gains no time beyond `FLUSH_SECONDS`.
        """
        self._cpu_at_limit, until = self._cpu(), time.monotonic() + FLUSH_SECONDS
        os.kill(self.pid, ending.FLUSH)
        while (left := until - time.monotonic()) > 0:
            for descriptor, event in self.engine.poll.poll(left * 1000):
                if descriptor == self.pidfd:
                    return
                if descriptor == self.jailed.listener.descriptor:
                    self.engine.receive_call()  # none takes place any more
                elif descriptor in self._output.open:
                    self._read_stream(descriptor)
                elif descriptor == self.engine.client and event & ~select.POLLIN:
                    raise ClientGone

    def _explain(self, outcome: Outcome, peak: int) -> Outcome:
        """Return that outcome, or that memory was lacking, or what was forbidden.

        Of memory only the kernel's figures are evidence; that the error output ends with a MemoryError is a claim. A
        program that ended well has done without what was forbidden.
        """
        if outcome.end not in (End.DIED, End.EXITED, End.MEMORY):
            return outcome
        self.return_code = int(outcome.observed) if outcome.end is not End.MEMORY else -signal.SIGKILL
        size = max(self._size_seen, self.refused_bytes) - self.jailed.base_bytes
        if -self.return_code in CRASHES and (size > 0 or peak >= self.limits.memory_bytes):
            return Outcome(End.MEMORY, outcome.detail, observed=float(max(size, peak)))
        if outcome.end is End.EXITED and self.return_code == _FAILED and size > 0:
            error = self._output.last_error()
            if error.partition(":")[0].endswith(MemoryError.__name__):
                return Outcome(End.MEMORY, f"{error} (exit code {_FAILED})", observed=float(size))
        if self._refusal and outcome.end is not End.MEMORY:
            outcome.detail = self._refusal
            outcome.end = End.FORBIDDEN if self.return_code else outcome.end
        return outcome
