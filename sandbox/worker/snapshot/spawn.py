"""Spawn a snapshot process: fork it from the zygote, attach as tracer, wait until it is ready for a job.

Until its own filter is in force the process runs our code alone. It makes the calls of `_GRANTED`, in this order,
through the zygote's filter and so through the supervisor; after that each of its system calls stops it.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
from dataclasses import dataclass

from selftaught.sandbox.errors import WorkerFailed
from selftaught.sandbox.jail import kernel
from selftaught.sandbox.jail.seccomp import Call
from selftaught.sandbox.worker.engine import ClientGone
from selftaught.sandbox.worker.inside import snapshot, zygote
from selftaught.sandbox.worker.jailed import JailedProcesses
from selftaught.sandbox.worker.native.shared import Stop
from selftaught.sandbox.worker.snapshot.memory import read_maps
from selftaught.sandbox.worker.snapshot.tracee import ARGUMENTS, ORIG_RAX, Tracee

_GRANTED = ("prctl", "prctl", "prctl", "userfaultfd", "memfd_create", "seccomp")
_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Spawned:
    """A snapshot process that waits for its first job.

    Attributes:
        tracee: the traced process.
        uffd, memfd: copies of its descriptors, to be closed by the owner.
        job_at: address where it reads jobs.
    """

    tracee: Tracee
    uffd: int
    memfd: int
    job_at: int


def spawn(jailed: JailedProcesses, client: int) -> Spawned:
    """Have the zygote fork a snapshot process, and wait until it is ready.

    Args:
        jailed: the jailed processes.
        client: descriptor of the connection to the verifier.

    Raises:
        OSError, WorkerFailed: the host can't run a snapshot process; the text says why.
        ClientGone: the verifier has closed the connection.
    """
    spawn = _Spawn(jailed, client)
    try:
        return spawn.run()
    except BaseException:
        spawn.abort()
        raise


class _Spawn:
    """One spawn of a snapshot process."""

    def __init__(self, jailed: JailedProcesses, client: int) -> None:
        self._jailed, self._client = jailed, client
        self._poll = select.poll()
        self._poll.register(jailed.listener.descriptor, select.POLLIN)
        self._poll.register(jailed.pidfd, select.POLLIN)
        self._poll.register(client, select.POLLRDHUP)
        self._pid, self._pidfd = 0, -1

    def run(self) -> Spawned:
        """Spawn the process and return it when it is ready."""
        self._jailed.fork(zygote.SNAPSHOT)
        call = self._next_call("clone")
        if not self._jailed.is_spawn(call):
            raise WorkerFailed("a snapshot process was requested, and something else was spawned")
        self._jailed.listener.allow(call)
        tracee = self._allow_setup_calls()
        return self._wait_until_ready(tracee)

    def abort(self) -> None:
        """Kill and reap a process that did not get ready."""
        if self._pidfd >= 0:
            os.close(self._pidfd)
            with contextlib.suppress(ProcessLookupError, ChildProcessError):  # it is dead and reaped
                os.kill(self._pid, signal.SIGKILL)
                os.waitpid(self._pid, 0x40000000)  # __WALL

    def _next_call(self, expected: str) -> Call:
        for descriptor, _ in self._poll.poll(_SECONDS * 1000):
            if descriptor == self._client:
                raise ClientGone
            if descriptor == self._jailed.pidfd:
                raise WorkerFailed("the zygote died")
            if descriptor == self._pidfd:
                break
            if call := self._jailed.listener.receive():
                return call
        raise WorkerFailed(f"the snapshot process died or hung before {expected}{self._exit_reason()}")

    def _exit_reason(self) -> str:
        """Return why the process ended: its exit code is the number of the error."""
        if self._pidfd < 0:
            return ""
        found = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if found and found.si_code == os.CLD_EXITED:
            return f": {os.strerror(found.si_status)}"
        if found and found.si_status == signal.SIGSYS:
            return ": an outer filter refuses it, such as a container engine's default (images/seccomp.json does not)"
        return ""

    def _allow_setup_calls(self) -> Tracee:
        tracee = None
        for name in _GRANTED:
            call = self._next_call(name)
            if call.number != self._jailed.number(name):
                raise WorkerFailed(f"the snapshot process called {self._jailed.name(call.number)}, not {name}")
            if self._pidfd < 0:
                self._pid, self._pidfd = call.pid, os.pidfd_open(call.pid)
                self._poll.register(self._pidfd, select.POLLIN)
            if name == "prctl" and call.args[0] == zygote.PR_SET_PDEATHSIG:
                tracee = Tracee(call.pid)
            self._jailed.listener.allow(call)
        if tracee is None:
            raise WorkerFailed("the snapshot process made no ready call")
        return tracee

    def _wait_until_ready(self, tracee: Tracee) -> Spawned:
        """Wait from its own filter to the point where it waits for a job."""
        ready, announce = self._jailed.number("getppid"), self._jailed.number("lseek")
        uffd = memfd = job_at = -1
        rounds = 0
        while rounds < 2:  # the snapshot is taken after an empty job: so is a comparison
            stop = tracee.wait(_SECONDS)
            if stop is not Stop.CALL:
                raise WorkerFailed(f"the snapshot process did not get ready: {stop.name}")
            registers = tracee.registers()
            if registers[ORIG_RAX] == announce:
                uffd, memfd = (
                    kernel.call("pidfd_getfd", self._pidfd, number, 0) for number in (snapshot.UFFD, snapshot.MEMFD)
                )
                job_at = registers[ARGUMENTS[1]]
                tracee.resume_with(registers, 1)
            elif registers[ORIG_RAX] == ready:
                rounds += 1
                if rounds < 2:
                    tracee.resume_with(registers, 0)
            else:
                tracee.resume()
        self._check(tracee.pid)
        os.close(self._pidfd)
        return Spawned(tracee, uffd, memfd, job_at)

    def _check(self, pid: int) -> None:
        """Check that nothing is there that a rollback can't put back, and keep the stack from growing."""
        if (open_there := os.listdir(f"/proc/{pid}/fd")) != [str(snapshot.MEMFD)]:
            raise WorkerFailed(f"the snapshot process has descriptors besides its memfd: {', '.join(open_there)}")
        if len(os.listdir(f"/proc/{pid}/task")) != 1:
            raise WorkerFailed("the snapshot process has threads")
        (stack,) = (mapping for mapping in read_maps(pid) if mapping.name == "[stack]")
        size = stack.end - stack.start
        resource.prlimit(pid, resource.RLIMIT_STACK, (size, size))
