"""Workers as confined processes of this machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from selftaught.sandbox import interpreter
from selftaught.sandbox.backends import Placement
from selftaught.sandbox.backends.worker import COMMAND, ENVIRONMENT, INTERPRETER_OPTIONS, KEPT_VARIABLES, Worker
from selftaught.sandbox.errors import CannotConfine
from selftaught.sandbox.jail import cgroup, libraries, seccomp
from selftaught.sandbox.task import Limits

_HOME = Path(__file__).parents[3]
_KERNEL_MEMORY_BYTES = 64 << 20
"""What the kernel may need for a jail beyond its address spaces: page tables, pipes."""


class Local:
    """The backend; see `selftaught.sandbox.backends.worker.Backend`."""

    def __init__(self, placement: Placement) -> None:
        interpreter.check()
        self.placement = placement

    def start(self, level: str, limits: Limits, processor: int | None = None) -> Worker:
        """See `Backend.start`."""
        return Worker(_Process(level, limits, processor), level, self.placement.engine)


class _Process:
    """A supervisor that is our child; see `selftaught.sandbox.backends.worker.Place`."""

    def __init__(self, level: str, limits: Limits, processor: int | None) -> None:
        self.below_filter = seccomp.nested()
        self.libraries: dict[str, str] | None = libraries.needed()
        self._group = _make_group(limits) if level == "full" else None
        self.groups = self._group.paths() if self._group else []
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = _spawn(level, theirs)
        except BaseException:
            ours.close()
            self._remove_group()
            raise
        self.connection = ours
        self.pid = self._process.pid
        if processor is not None:
            os.sched_setaffinity(self.pid, {processor})

    def unwrap(self, data: bytes) -> bytes:
        return data

    def allow_memory(self, limits: Limits) -> None:
        if self._group is not None:
            self._group.allow_memory(_group_bytes(limits))

    def last_words(self) -> str:
        return ""  # its standard error is ours

    def abandon(self) -> None:
        self.connection.close()
        self._group = None
        self._process.returncode = 0  # not our child: nothing to wait for

    def end(self, patience_seconds: float) -> None:
        self.connection.close()
        try:
            self._process.wait(patience_seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._remove_group()

    def _remove_group(self) -> None:
        if self._group is not None:
            self._group.remove()


def _make_group(limits: Limits) -> cgroup.Group:
    try:
        return cgroup.Group(cgroup.find(), _group_bytes(limits))
    except OSError as error:
        raise CannotConfine(f"control group: {error}") from error


def _group_bytes(limits: Limits) -> int:
    return limits.memory_bytes + limits.answer_bytes + 2 * _KERNEL_MEMORY_BYTES


def _spawn(level: str, conversation: socket.socket) -> subprocess.Popen[bytes]:
    """Start a supervisor for this level that speaks through this socket."""
    python = getattr(sys, "_base_executable", None) or sys.executable
    environment = ENVIRONMENT | {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    return subprocess.Popen(
        [python, *INTERPRETER_OPTIONS, "-c", COMMAND, level],
        env=environment,
        stdin=conversation.fileno(),
        stdout=conversation.fileno(),
        cwd=_HOME,
        start_new_session=True,  # Ctrl-C at the terminal is for the verifier
    )
