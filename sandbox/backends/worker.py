"""What all backends share: the interfaces, and the protocol between verifier and supervisor."""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import tempfile
import time
from collections import deque
from collections.abc import Mapping
from typing import Any, Protocol

from selftaught.sandbox import wire
from selftaught.sandbox.errors import CannotConfine, WorkerFailed
from selftaught.sandbox.jail import namespaces, seccomp
from selftaught.sandbox.job import Job
from selftaught.sandbox.outcome import Counters, Outcome
from selftaught.sandbox.packages import NONE
from selftaught.sandbox.task import Limits

START_SECONDS = 30.0
"""The most time from starting a worker until it is ready."""

PACKAGES_SECONDS = 60.0
"""So much more if it imports packages."""

SEND_SECONDS = 10.0
"""The most time that an idle worker may take to read a job, however large."""

END_SECONDS = 10.0
"""The most time that it takes to kill a worker and to remove its control group or container."""

BUFFER_BYTES = 64 << 10
"""So many bytes of jobs fit into the connection's buffer, including the kernel's overhead."""

INTERPRETER_OPTIONS = ("-P", "-s", "-S", "-B", "-X", "utf8", "-X", "int_max_str_digits=0")
"""Options of a supervisor's interpreter: no site directory, no user code on its path, no files written."""

COMMAND = (
    "import os, sys; sys.path.append(os.getcwd()); os.chdir('/'); "
    "from selftaught.sandbox.worker.__main__ import main; main()()"
)
"""The supervisor's code, for ``-c``, started in the folder that contains this package.

A script instead would reveal its path to tasks, through the outermost frame of their stack.
"""

ENVIRONMENT = {
    "PYTHONHASHSEED": "0",
    # With rseq the kernel would write to the memory of a process that is not running.
    "GLIBC_TUNABLES": "glibc.pthread.rseq=0",
    # What would be looked up at its first call is looked up before the snapshot, and not once in each job.
    "LD_BIND_NOW": "1",
}
_SHARED_MEMORY = "/dev/shm"
KEPT_VARIABLES = ("LD_LIBRARY_PATH", "PYTHONHOME")
"""Environment variables that some interpreters need. A supervisor gets no others from its environment."""


class Host(Protocol):
    """What a supervisor runs in: a process of this machine, or a container.

    Attributes:
        connection: A socket to the supervisor's standard input and output.
        pid: The supervisor's process id on this machine; 0 if it runs elsewhere.
        outer_filter: The supervisor already has a system-call filter that makes calls fail with errors.
        groups: The directories of the control groups that its jail must enter.
        libraries: What `selftaught.sandbox.jail.libraries.needed` returns in its interpreter; None if the supervisor
            must call it.
    """

    connection: socket.socket
    pid: int
    outer_filter: bool
    groups: list[str]
    libraries: dict[str, str] | None

    def demultiplex(self, data: bytes) -> bytes:
        """Return what the supervisor wrote to standard output, from the bytes received through the connection."""

    def raise_memory_limit(self, limits: Limits) -> None:
        """Raise the host's memory limit to what a phase with these limits needs, if it is lower."""

    def error_output(self) -> str:
        """Return what the supervisor wrote to standard error, if that is captured."""

    def abandon(self) -> None:
        """In a forked child: close its copies of the descriptors. The supervisor belongs to the parent."""

    def end(self, timeout_seconds: float) -> None:
        """Close the connection, which makes the supervisor end; after the timeout kill it. Then remove the host."""


class Backend(Protocol):
    """Starts workers. `selftaught.sandbox.backends.WorkerConfig.open` returns one."""

    def start(self, level: str, limits: Limits, processor: int | None = None) -> Worker:
        """Start a worker.

        Args:
            level: The confinement level that it must reach, one of `selftaught.sandbox.backends.LEVELS`.
            limits: Limits that it must be able to serve from the start; later jobs may have higher ones.
            processor: Run all its processes on this one. They take turns, and moving to another processor at each turn
                would cost most of the throughput.

        Returns:
            The worker, which has proven its level.

        Raises:
            CannotConfine: The level can't be reached.
            WorkerFailed: The worker died or did not answer in time.
        """


def _temporary_folder() -> str:
    """Return where a worker without mounts makes its scratch folder. Raises CannotConfine if nothing can be written."""
    try:
        return tempfile.gettempdir()
    except FileNotFoundError:
        if os.access(_SHARED_MEMORY, os.W_OK):  # as in a container whose root is read-only
            return _SHARED_MEMORY
        raise CannotConfine(
            "there is no temporary folder for programs' files: mount one at /tmp, or set TMPDIR"
        ) from None


class Worker:
    """A running worker: receives jobs, and returns their outcomes in the same order.

    Not thread-safe: one worker thread owns it.

    Args:
        host: What its supervisor runs in.
        level: The confinement level that it must reach.
        engine: The engine that it must use, or ``auto``.
        packages: What `selftaught.sandbox.distributions.choose` returned; or, for the supervisor to call it,
            ``names`` and ``site``.

    Attributes:
        level: The confinement level, which it has proven.
        proof: The evidence of the canaries.
        engine: The engine in use.
        reason: Why no faster engine is in use.
        python: The interpreter's name and version.
        packages: Version of each distribution that tasks may import, by name.
        counters: The engine's counters.
        pid: The supervisor's process id on this machine; 0 if it runs elsewhere.

    Raises:
        CannotConfine: The level or the engine is not available.
        WorkerFailed: The worker died or did not answer in time.
    """

    def __init__(self, host: Host, level: str, engine: str = "auto", packages: Mapping[str, Any] = NONE) -> None:
        self.level, self.pid = level, host.pid
        self.engine, self.reason, self.python = engine, "", ""
        self.counters = Counters()
        self.proof: list[dict[str, Any]] = []
        self.packages: dict[str, str] = {}
        self._host = host
        host.connection.settimeout(SEND_SECONDS)
        self._frames = wire.Frames()
        self._waiting: deque[bytes] = deque()
        self._poll = select.poll()
        self._poll.register(host.connection, select.POLLIN)
        try:
            self._handshake(packages)
        except BaseException:
            self.close()
            raise

    def _handshake(self, packages: Mapping[str, Any]) -> None:
        """Configure the supervisor and wait until it is ready. Raises CannotConfine or WorkerFailed."""
        try:
            below, offered = self._host.outer_filter, any(packages.values())
            filters = [seccomp.compile_filter(below, traced, offered).hex() for traced in (False, True)]
        except OSError as error:
            raise CannotConfine(f"seccomp: {error}") from error
        config = {
            "namespaces": namespaces.identity(),
            "engine": self.engine,
            "filter": filters[0],
            "traced_filter": filters[1],
            "syscalls": seccomp.names(),
            "cgroup": self._host.groups,
            "libraries": self._host.libraries,
            "packages": packages,
            "temporary": _temporary_folder() if self.level == "restricted" else "",
        }
        self._send(wire.frame(json.dumps(config).encode()))
        ready = json.loads(self._receive(START_SECONDS + PACKAGES_SECONDS * offered))
        if "error" in ready:
            kind = CannotConfine if ready["kind"] in ("CannotConfine", "OSError", "PermissionError") else WorkerFailed
            raise kind(ready["error"])
        if ready.get("dialect") != wire.dialect():
            raise CannotConfine(
                "the worker and this verifier are different builds: build its image again (make images)"
            )
        self.engine, self.reason = ready["engine"], ready["reason"]
        self.python, self.proof, self.packages = ready["python"], ready["proof"], ready["packages"]

    def submit(self, jobs: list[Job]) -> None:
        """Send jobs. A worker reads only when it is idle, so send a busy one no more than `BUFFER_BYTES` altogether.

        Args:
            jobs: The jobs.

        Raises:
            WorkerFailed: The worker has died, or has read nothing for `SEND_SECONDS`.
        """
        for limits in {id(job.limits): job.limits for job in jobs}.values():
            self._host.raise_memory_limit(limits)
        self._send(b"".join([wire.frame(wire.pack_job(job)) for job in jobs]))

    def collect(self, timeout_seconds: float) -> list[Outcome]:
        """Wait for the outcomes of the oldest job and return them.

        Args:
            timeout_seconds: How long to wait.

        Raises:
            WorkerFailed: The worker died, broke the protocol, or exceeded the time.
        """
        data = self._waiting.popleft() if self._waiting else self._receive(timeout_seconds)
        try:
            outcomes, self.counters = wire.unpack_results(data)
        except (ValueError, struct.error) as error:
            raise WorkerFailed(f"the worker broke the protocol: {error}") from error
        return outcomes

    def ready(self, timeout_seconds: float) -> bool:
        """Wait until `collect` would not block, no longer than this; return True if it would not."""
        return bool(self._waiting) or bool(self._poll.poll(max(timeout_seconds, 0.0) * 1000))

    def _send(self, data: bytes) -> None:
        try:
            self._host.connection.sendall(data)
        except OSError as error:
            raise WorkerFailed(f"the worker is gone: {error}") from error

    def _receive(self, timeout_seconds: float) -> bytes:
        deadline = time.monotonic() + timeout_seconds
        while not self._waiting:
            left = deadline - time.monotonic()
            if left <= 0 or not self._poll.poll(left * 1000 + 1):
                raise WorkerFailed(f"the worker did not answer within {timeout_seconds:.0f} s")
            try:
                data = self._host.connection.recv(1 << 16)
            except OSError as error:
                raise WorkerFailed(f"the worker is gone: {error}") from error
            if not data:
                output = self._host.error_output()
                raise WorkerFailed(f"the worker died: {output}" if output else "the worker died")
            self._waiting.extend(self._frames.feed(self._host.demultiplex(data)))
        return self._waiting.popleft()

    def interrupt(self) -> None:
        """Make a waiting `collect` raise WorkerFailed. May be called from any thread."""
        try:
            self._host.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it is closed

    def kill(self) -> None:
        """End a worker that failed, with little time for it to end its own processes."""
        self._host.end(0.5)

    def abandon(self) -> None:
        """In a forked child: close its copies of the descriptors. The worker belongs to the parent."""
        self._host.abandon()

    def close(self) -> None:
        """End the worker; leave no process, control group or container."""
        self._host.end(2.0)
