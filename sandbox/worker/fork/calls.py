"""Decides about a system call of a child that waits for the supervisor: let it pass, answer it, or end the phase.

The decision rests on the call's number and registers, never on what a pointer points to. Other threads of the child
run at the same time. So whatever else a decision looks at must not be theirs to change, or the answer must do no harm
either way:

* How many threads there are, to bound them. More can be on their way (`threads.MOST`).
* Which file a descriptor is, where a program maps code and the kernel does not know that its own files are none (level
  `restricted`): another thread could put standard input in its place after the supervisor has looked. So there code is
  mapped only while there is one thread. Otherwise the call fails.
* Which threads are the child's own. Their numbers can't pass to another process while the caller waits.
"""

from __future__ import annotations

import errno
import signal
from typing import TYPE_CHECKING

from selftaught.sandbox.errors import WorkerFailed
from selftaught.sandbox.jail import kernel, seccomp
from selftaught.sandbox.outcome import End, Outcome, Phase
from selftaught.sandbox.worker.fork import threads
from selftaught.sandbox.worker.fork.refusals import refusal
from selftaught.sandbox.worker.fork.scratch import FileCalls, is_library
from selftaught.sandbox.worker.inside import zygote
from selftaught.sandbox.worker.jailed import JailedProcesses, address_space

if TYPE_CHECKING:
    from selftaught.sandbox.worker.fork.child import Child

_NUMBERS_BEFORE = 1
"""The supervisor answers getpid with this plus the phase's number: never 1, and different in `sol` and `sat`."""
_SIGNALS = {"kill": (0, 1), "tkill": (0, 1), "tgkill": (1, 2)}
"""Calls that send a signal: positions of the arguments that name its receiver, and the signal."""
_LOW = 0xFFFFFFFF
_PR_SET_NAME = 15
_UNINTERRUPTED = (5, 19)
"""The Linux version from which on a signal does not interrupt a call that waits for the supervisor."""


class Calls:
    """Decides for the children of a worker."""

    def __init__(self, jailed: JailedProcesses) -> None:
        self._jailed, self._listener = jailed, jailed.listener
        self._files = FileCalls(jailed)
        number = jailed.number
        self._prctl, self._mmap, self._mremap, self._clone = map(number, ("prctl", "mmap", "mremap", "clone"))
        self._getpid, self._gettid = map(number, seccomp.ANSWERED)
        self._futex, self._getaffinity = number("futex"), number("sched_getaffinity")
        self._tgkill, self._prlimit = number("tgkill"), number("prlimit64")
        self._signals = {number(name): places for name, places in _SIGNALS.items() if number(name) >= 0}
        self._signals_first = kernel.version() >= _UNINTERRUPTED

    def decide(self, child: Child, call: seccomp.Call) -> None:
        """Handle a call. What ends the phase becomes the child's outcome.

        Raises:
            WorkerFailed: the child made another call than it has to before it was ready.
        """
        if not child.pid:
            self._decide_unready(child, call)
        elif child.outcome is not None:
            if child.streams is not None:  # a signal has come, upon which it writes what is in its buffers
                self._listener.fail(call, errno.EINTR)
        elif not (
            self._decide_memory(child, call)
            or self._decide_thread(child, call)
            or self._decide_signal(child, call)
            or self._decide_limit(call)
            or self._files.decide(child, call)
        ):
            child.refuse(call, refusal(self._jailed.name(call.number)))

    def _decide_unready(self, child: Child, call: seccomp.Call) -> None:
        """Handle a call before any task code has run."""
        prepares = call.number in (self._mmap, self._mremap, self._prlimit)  # memory to read a large job; limits
        if prepares or (call.number == self._prctl and call.args[:2] == zygote.SHOW_DESCRIPTORS):
            self._listener.allow(call)
        elif call.number == self._prctl and call.args[:2] == (zygote.PR_SET_PDEATHSIG, signal.SIGKILL):
            child.adopt(call, _NUMBERS_BEFORE + child.request.phase)
        else:
            raise WorkerFailed("the child made another system call before it was ready")

    def _decide_memory(self, child: Child, call: seccomp.Call) -> bool:
        """Handle a call that requests memory, or maps code from a file of the root. Return False for any other."""
        if call.number == self._mmap and seccomp.maps("code", call.args):
            if self._files.looks_at_code(child) and not child.threads.is_alone():
                self._listener.fail(call, errno.EPERM)
                return True
            if self._files.looks_at_code(child) and not is_library(child.pid, call.args[4], self._jailed.scratch):
                return False
        elif call.number != self._mremap and not (call.number == self._mmap and seccomp.maps("data", call.args)):
            return False
        size = call.args[1] if call.number == self._mmap else call.args[2] - call.args[1]
        if (total := address_space(child.pid) + size) > child.cap:
            child.refused_bytes = max(child.refused_bytes, total)  # RLIMIT_AS makes the kernel refuse it
        self._listener.allow(call)
        return True

    def _decide_thread(self, child: Child, call: seccomp.Call) -> bool:
        """Handle a call that starts a thread, or that the C library makes in threads. Return False for any other."""
        number, listener = call.number, self._listener
        if number == self._clone and call.args[0] in threads.FLAGS:
            if child.threads.count() >= threads.MOST:
                listener.fail(call, errno.EAGAIN)
            else:
                if not child.threads.begun:
                    self._jailed.reset_thread_numbers()
                child.threads.begun = True
                listener.allow(call)
        elif number == self._getpid:
            child.look_at_size()
            listener.answer(call, child.threads.number(child.pid))
        elif number == self._gettid:
            listener.answer(call, child.threads.number(call.pid))
        elif number == self._futex and seccomp.waits_shared(call.args):
            listener.fail(call, errno.EAGAIN)  # it looks again, and gives the thread that it waits for time to end
        elif number == self._getaffinity and child.threads.begun:
            listener.fail(call, errno.ENOSYS)  # asked about a thread by the kernel's number; the C library goes on
        elif number == self._prctl and call.args[0] & _LOW == _PR_SET_NAME:
            listener.answer(call, 0)  # a name for a thread, which would appear in the host's lists of processes
        else:
            return False
        return True

    def _decide_limit(self, call: seccomp.Call) -> bool:
        """Answer a call that sets the limit of CPU time, without effect. Return False for any other.

        There is such a limit, and a child that dies of another one would look like one that is killed from outside.
        """
        if call.number != self._prlimit or not seccomp.limits_cpu_time(call.args):
            return False
        if call.args[3]:  # it wants to be told the limit before
            self._listener.fail(call, errno.EPERM)
        else:
            self._listener.answer(call, 0)
        return True

    def _decide_signal(self, child: Child, call: seccomp.Call) -> bool:
        """Handle a signal of a program to itself, or an abort. Return False for any other call."""
        if call.number not in self._signals:
            return False
        to, what = (call.args[place] & _LOW for place in self._signals[call.number])
        if child.request.phase is not Phase.RUN:
            if call.number == self._tgkill and what == signal.SIGABRT and child.threads.answer_to(to):
                child.outcome = Outcome(End.DIED, "aborted", observed=-signal.SIGABRT)
            return child.outcome is not None
        if not child.threads.answer_to(to):
            return False
        if what >= signal.NSIG:
            self._listener.fail(call, errno.EINVAL)
            return True
        if not self._signals_first:  # it would interrupt the call
            self._listener.answer(call, 0)
        child.signal(what)
        if self._signals_first:
            self._listener.answer(call, 0)
        return True
