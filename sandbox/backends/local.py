"""Workers as confined processes of this machine."""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sandbox import wire
from sandbox.errors import CannotConfine, WorkerFailed
from sandbox.jail import cgroup, seccomp
from sandbox.task import Limits
from sandbox.wire import Job, Outcome

LEVELS = ("full", "restricted")
"""Strongest first."""

START_SECONDS = 30.0
_WARDEN = Path(__file__).parent.parent / "worker" / "__main__.py"
_KERNEL_MEMORY_BYTES = 64 << 20
"""What the kernel may need for a jail beyond its address spaces: page tables, pipes."""


@dataclass
class Worker:
    """A running worker: jobs go in, outcomes come back in the same order.

    Not thread-safe: one lane owns it. level: proven. proof: the canaries' evidence. processor: where all its
    processes run; they take turns, and a change of processor at each turn would cost a third of the throughput. pid: the warden's.
    """

    level: str
    limits: Limits
    processor: int | None = None
    engine: str = ""
    proof: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._group = self._make_group() if self.level == "full" else None
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = _spawn(theirs.fileno())
        except OSError:
            ours.close()
            self._remove_group()
            raise
        self.pid = self._process.pid
        if self.processor is not None:
            os.sched_setaffinity(self.pid, {self.processor})
        self._connection = ours
        self._frames = wire.Frames()
        self._waiting: list[bytes] = []
        self._poll = select.poll()
        self._poll.register(ours, select.POLLIN)
        try:
            self._introduce()
        except BaseException:
            self.close()
            raise

    def _make_group(self) -> cgroup.Group:
        try:
            return cgroup.Group(cgroup.find(), self._group_bytes(self.limits))
        except OSError as error:
            raise CannotConfine(f"control group: {error}") from error

    def _group_bytes(self, limits: Limits) -> int:
        return limits.memory_bytes + limits.answer_bytes + 2 * _KERNEL_MEMORY_BYTES

    def _introduce(self) -> None:
        """Configure the warden and wait until it is ready. Raises CannotConfine or WorkerFailed."""
        try:
            program = seccomp.compile_filter()
        except OSError as error:
            raise CannotConfine(f"seccomp: {error}") from error
        config = {
            "level": self.level,
            "filter": program.hex(),
            "syscalls": seccomp.names(),
            "cgroup": self._group.paths() if self._group else [],
        }
        self._send(wire.frame(json.dumps(config).encode()))
        ready = json.loads(self._receive(START_SECONDS))
        if "error" in ready:
            kind = CannotConfine if ready["kind"] in ("CannotConfine", "OSError", "PermissionError") else WorkerFailed
            raise kind(ready["error"])
        self.engine, self.proof = ready["engine"], ready["proof"]

    def submit(self, job: Job) -> None:
        """Send a job. Raises WorkerFailed if the worker is gone."""
        if self._group is not None:
            self._group.allow_memory(self._group_bytes(job.limits))
        self._send(wire.frame(wire.pack_job(job)))

    def collect(self, timeout_seconds: float) -> list[Outcome]:
        """The outcomes of the oldest job sent. Raises WorkerFailed if the worker died or exceeds the time."""
        data = self._receive(timeout_seconds)
        try:
            return wire.unpack_outcomes(data)
        except (ValueError, struct.error) as error:
            raise WorkerFailed(f"the worker spoke nonsense: {error}") from error

    def ready(self, timeout_seconds: float) -> bool:
        """Whether there is something to `collect`, or the worker is gone; waits for it no longer than this."""
        return bool(self._waiting) or bool(self._poll.poll(max(timeout_seconds, 0.0) * 1000))

    def _send(self, data: bytes) -> None:
        try:
            self._connection.sendall(data)
        except OSError as error:
            raise WorkerFailed(f"the worker is gone: {error}") from error

    def _receive(self, timeout_seconds: float) -> bytes:
        deadline = time.monotonic() + timeout_seconds
        while not self._waiting:
            left = deadline - time.monotonic()
            if left <= 0 or not self._poll.poll(left * 1000 + 1):
                raise WorkerFailed(f"the worker did not answer within {timeout_seconds:.0f} s")
            try:
                data = self._connection.recv(1 << 18)
            except OSError as error:
                raise WorkerFailed(f"the worker is gone: {error}") from error
            if not data:
                raise WorkerFailed("the worker died")
            self._waiting = self._frames.feed(data)
        return self._waiting.pop(0)

    def interrupt(self) -> None:
        """From any thread: make a waiting `collect` raise WorkerFailed."""
        try:
            self._connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # closed already

    def kill(self) -> None:
        """End a worker that no longer behaves."""
        self._process.kill()
        self.close()

    def abandon(self) -> None:
        """After a fork of the caller: drop this copy's descriptors; the worker belongs to the parent."""
        self._connection.close()
        self._group = None
        self._process.returncode = 0  # not our child: nothing to wait for

    def close(self) -> None:
        """End the worker and everything in it; leaves no process and no control group."""
        self._connection.close()
        try:
            self._process.wait(2.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._remove_group()

    def _remove_group(self) -> None:
        if self._group is not None:
            self._group.remove()


def _spawn(descriptor: int) -> subprocess.Popen[bytes]:
    """Start a warden: no environment but a fixed hash seed, no site directory, no user code on its path."""
    python = getattr(sys, "_base_executable", None) or sys.executable
    command = [
        python,
        "-P",
        "-s",
        "-S",
        "-B",
        "-X",
        "utf8",
        "-X",
        "int_max_str_digits=0",
        str(_WARDEN),
        str(descriptor),
    ]
    environment = {"PYTHONHASHSEED": "0"}
    for name in ("LD_LIBRARY_PATH", "PYTHONHOME"):  # where an interpreter can't start without
        if name in os.environ:
            environment[name] = os.environ[name]
    return subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        cwd="/",
        pass_fds=(descriptor,),
        start_new_session=True,  # Ctrl-C at the terminal is for the verifier
    )
