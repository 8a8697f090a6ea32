"""Decides about a system call of a child that waits for the supervisor: let it pass, answer it, or end the phase.

The decision rests on the call's number and registers, never on what a pointer points to.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from selftaught.sandbox.errors import WorkerFailed
from selftaught.sandbox.jail import seccomp
from selftaught.sandbox.wire import End, Outcome
from selftaught.sandbox.worker.fork.scratch import FileCalls
from selftaught.sandbox.worker.inside import zygote
from selftaught.sandbox.worker.jailed import JailedProcesses, address_space

if TYPE_CHECKING:
    from selftaught.sandbox.worker.fork.child import Child

_NUMBERS_BEFORE = 1
"""The supervisor answers getpid with this plus the phase's number: never 1, and different in `sol` and `sat`."""


class Calls:
    """Decides for the children of a worker."""

    def __init__(self, jailed: JailedProcesses) -> None:
        self._jailed, self._listener = jailed, jailed.listener
        self._prctl, self._mmap, self._mremap, self._tgkill = map(jailed.number, ("prctl", "mmap", "mremap", "tgkill"))
        self._files = FileCalls(jailed)
        self._answered = [jailed.number(name) for name in seccomp.ANSWERED]

    def decide(self, child: Child, call: seccomp.Call) -> None:
        """Handle a call. What ends the phase becomes the child's outcome.

        Raises:
            WorkerFailed: the child made another call than it has to before it was ready.
        """
        if not child.pid:
            self._decide_unready(child, call)
        elif self._may_grow(child, call):
            size = call.args[1] if call.number == self._mmap else call.args[2] - call.args[1]
            if (total := address_space(child.pid) + size) > child.cap:
                child.refused_bytes = max(child.refused_bytes, total)  # RLIMIT_AS makes the kernel refuse it
            self._listener.allow(call)
        elif call.number in self._answered:
            self._listener.answer(call, _NUMBERS_BEFORE + child.request.phase)
        elif self._files.decide(child, call):
            pass
        elif call.number == self._tgkill and call.args[2] == signal.SIGABRT:
            child.outcome = Outcome(End.DIED, "aborted", observed=-signal.SIGABRT)
        else:
            child.outcome = Outcome(End.FORBIDDEN, f"system call {self._jailed.name(call.number)}")

    def _decide_unready(self, child: Child, call: seccomp.Call) -> None:
        """Handle a call before any task code has run."""
        allocates = call.number in (self._mmap, self._mremap)  # memory to read a large job
        if allocates or (call.number == self._prctl and call.args[:2] == zygote.SHOW_DESCRIPTORS):
            self._listener.allow(call)
        elif call.number == self._prctl and call.args[:2] == (zygote.PR_SET_PDEATHSIG, signal.SIGKILL):
            child.adopt(call)
        else:
            raise WorkerFailed("the child made another system call before it was ready")

    def _may_grow(self, child: Child, call: seccomp.Call) -> bool:
        """Return True if the call requests memory, or maps code from a file of the root."""
        if call.number == self._mmap and seccomp.maps("code", call.args):
            return self._files.may_be_code(child, call.args[4])
        return call.number == self._mremap or (call.number == self._mmap and seccomp.maps("data", call.args))
