"""What all backends share: the conversation with a supervisor, wherever it runs."""

from __future__ import annotations

import json
import select
import socket
import struct
import time
from collections import deque
from typing import Any, Protocol

from selftaught.sandbox import wire
from selftaught.sandbox.errors import CannotConfine, WorkerFailed
from selftaught.sandbox.jail import namespaces, seccomp
from selftaught.sandbox.task import Limits
from selftaught.sandbox.wire import Job, Outcome

START_SECONDS = 30.0
"""How long a worker may take until it is ready."""

SEND_SECONDS = 10.0
"""How long one that has nothing else to do may take to read a job, however large."""

END_SECONDS = 10.0
"""What killing a worker and removing what it ran in takes at most."""

BUFFER_BYTES = 64 << 10
"""Of jobs that wait, this much fits into the connection, whatever the kernel adds to each."""

INTERPRETER_OPTIONS = ("-P", "-s", "-S", "-B", "-X", "utf8", "-X", "int_max_str_digits=0")
"""How a supervisor's interpreter is started: no site directory, no user code on its path, nothing written."""

COMMAND = "import os, sys; sys.path.append(os.getcwd()); os.chdir('/'); from selftaught.sandbox.worker.__main__ import main; main()()"
"""What it is to do, after ``-c``, in the folder that holds this package: the name of a script would be told by the lowest frame in the jail."""

ENVIRONMENT = {
    "PYTHONHASHSEED": "0",
    "GLIBC_TUNABLES": "glibc.pthread.rseq=0",  # else the kernel writes to the memory of a process that does not run
}
KEPT_VARIABLES = ("LD_LIBRARY_PATH", "PYTHONHOME")
"""What some interpreters can't start without. Nothing else of an environment reaches a supervisor."""


class Place(Protocol):
    """Where a supervisor runs: a process, a container. Says how to reach it and how to end it.

    connection: carries the supervisor's standard input and output. pid: the supervisor's, as this machine numbers it; 0 where it
    runs elsewhere. below_filter: whether a system-call filter that answers with errors holds the supervisor already. groups: the
    control groups that its jail is to enter. libraries: `selftaught.sandbox.jail.libraries.needed` of its interpreter, if that is known here; else
    the supervisor finds them.
    """

    connection: socket.socket
    pid: int
    below_filter: bool
    groups: list[str]
    libraries: dict[str, str] | None

    def unwrap(self, data: bytes) -> bytes:
        """What the supervisor has written, of the bytes that came through the connection."""

    def allow_memory(self, limits: Limits) -> None:
        """Make room for a phase with these limits, if there is less."""

    def last_words(self) -> str:
        """What the supervisor wrote about its end, if that is known here."""

    def abandon(self) -> None:
        """After a fork of the caller: drop this copy's descriptors; the supervisor belongs to the parent."""

    def end(self, patience_seconds: float) -> None:
        """Close the connection, give the supervisor so long to end by itself, then kill it. Leaves nothing behind."""


class Backend(Protocol):
    """Where workers run; `selftaught.sandbox.backends.LEVELS` says what each can give. Opened by a `selftaught.sandbox.backends.Placement`."""

    def start(self, level: str, limits: Limits, processor: int | None = None) -> Worker:
        """A worker of this level. processor: where all its processes run; they take turns, and a change of processor
        at each turn would cost most of the throughput. Raises CannotConfine or WorkerFailed.
        """


class Worker:
    """A running worker: jobs go in, outcomes come back in the same order.

    Not thread-safe: one lane owns it. wanted: the engine that it must have, or ``auto``. level: proven. proof: the canaries'
    evidence. engine: the one it has; reason: why none better. counters: the engine's. pid: the supervisor's.
    """

    def __init__(self, place: Place, level: str, wanted: str = "auto") -> None:
        self.level, self.pid = level, place.pid
        self.engine, self.reason, self.python = wanted, "", ""
        self.counters = wire.Counters()
        self.proof: list[dict[str, Any]] = []
        self._place = place
        place.connection.settimeout(SEND_SECONDS)
        self._frames = wire.Frames()
        self._waiting: deque[bytes] = deque()
        self._poll = select.poll()
        self._poll.register(place.connection, select.POLLIN)
        try:
            self._introduce()
        except BaseException:
            self.close()
            raise

    def _introduce(self) -> None:
        """Configure the supervisor and wait until it is ready. Raises CannotConfine or WorkerFailed."""
        try:
            below = self._place.below_filter
            filters = [seccomp.compile_filter(below, traced).hex() for traced in (False, True)]
        except OSError as error:
            raise CannotConfine(f"seccomp: {error}") from error
        config = {
            "namespaces": namespaces.identity(),
            "engine": self.engine,
            "filter": filters[0],
            "traced_filter": filters[1],
            "syscalls": seccomp.names(),
            "cgroup": self._place.groups,
            "libraries": self._place.libraries,
        }
        self._send(wire.frame(json.dumps(config).encode()))
        ready = json.loads(self._receive(START_SECONDS))
        if "error" in ready:
            kind = CannotConfine if ready["kind"] in ("CannotConfine", "OSError", "PermissionError") else WorkerFailed
            raise kind(ready["error"])
        if ready.get("dialect") != wire.dialect():
            raise CannotConfine(
                "the worker is of another build than this verifier: build its image again (make images)"
            )
        self.engine, self.reason = ready["engine"], ready["reason"]
        self.python, self.proof = ready["python"], ready["proof"]

    def submit(self, jobs: list[Job]) -> None:
        """Send jobs. Raises WorkerFailed if the worker is gone, or has read nothing for `SEND_SECONDS`.

        It reads while it has nothing to do: send ahead only what the connection holds by itself, `BUFFER_BYTES`.
        """
        for limits in {id(job.limits): job.limits for job in jobs}.values():
            self._place.allow_memory(limits)
        self._send(b"".join([wire.frame(wire.pack_job(job)) for job in jobs]))

    def collect(self, timeout_seconds: float) -> list[Outcome]:
        """The outcomes of the oldest job sent. Raises WorkerFailed if the worker died or exceeds the time."""
        data = self._waiting.popleft() if self._waiting else self._receive(timeout_seconds)
        try:
            outcomes, self.counters = wire.unpack_results(data)
        except (ValueError, struct.error) as error:
            raise WorkerFailed(f"the worker spoke nonsense: {error}") from error
        return outcomes

    def ready(self, timeout_seconds: float) -> bool:
        """Whether there is something to `collect`, or the worker is gone; waits for it no longer than this."""
        return bool(self._waiting) or bool(self._poll.poll(max(timeout_seconds, 0.0) * 1000))

    def _send(self, data: bytes) -> None:
        try:
            self._place.connection.sendall(data)
        except OSError as error:
            raise WorkerFailed(f"the worker is gone: {error}") from error

    def _receive(self, timeout_seconds: float) -> bytes:
        deadline = time.monotonic() + timeout_seconds
        while not self._waiting:
            left = deadline - time.monotonic()
            if left <= 0 or not self._poll.poll(left * 1000 + 1):
                raise WorkerFailed(f"the worker did not answer within {timeout_seconds:.0f} s")
            try:
                data = self._place.connection.recv(1 << 16)
            except OSError as error:
                raise WorkerFailed(f"the worker is gone: {error}") from error
            if not data:
                words = self._place.last_words()
                raise WorkerFailed(f"the worker died: {words}" if words else "the worker died")
            self._waiting.extend(self._frames.feed(self._place.unwrap(data)))
        return self._waiting.popleft()

    def interrupt(self) -> None:
        """From any thread: make a waiting `collect` raise WorkerFailed."""
        try:
            self._place.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # closed already

    def kill(self) -> None:
        """End a worker that no longer behaves; one that still listens ends its own processes first."""
        self._place.end(0.5)

    def abandon(self) -> None:
        """After a fork of the caller: let go of a worker that belongs to the parent."""
        self._place.abandon()

    def close(self) -> None:
        """End the worker and everything in it; leaves no process, control group or container."""
        self._place.end(2.0)
