"""The local backend: workers are confined processes of this machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from selftaught.sandbox import interpreter, packages
from selftaught.sandbox.backends import WorkerConfig
from selftaught.sandbox.backends.worker import COMMAND, ENVIRONMENT, INTERPRETER_OPTIONS, KEPT_VARIABLES, Worker
from selftaught.sandbox.errors import CannotConfine
from selftaught.sandbox.jail import cgroup, libraries, seccomp
from selftaught.sandbox.task import Limits

_ROOT = Path(__file__).parents[3]
_KERNEL_MEMORY_BYTES = 64 << 20
"""Kernel memory for a jail beyond its address spaces: page tables, pipes."""


class Local:
    """The local backend; see `selftaught.sandbox.backends.worker.Backend`."""

    def __init__(self, config: WorkerConfig) -> None:
        interpreter.check()
        self.config, self._packages = config, packages.NONE
        if config.packages:
            from selftaught.sandbox.distributions import choose  # takes a moment to import

            self._packages = choose(config.packages, [str(config.site)] if config.site else sys.path)

    def start(self, level: str, limits: Limits, processor: int | None = None) -> Worker:
        """See `Backend.start`."""
        offered = bool(self.config.packages)
        return Worker(_Process(level, limits, processor, offered), level, self.config.engine, self._packages)


class _Process:
    """A child process that is a supervisor; see `selftaught.sandbox.backends.worker.Host`."""

    def __init__(self, level: str, limits: Limits, processor: int | None, has_packages: bool) -> None:
        self._extra_bytes = packages.MEMORY_BYTES if has_packages else 0
        self.outer_filter = seccomp.nested()
        self.libraries: dict[str, str] | None = libraries.needed()
        self._group = _make_group(self._group_bytes(limits)) if level == "full" else None
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

    def demultiplex(self, data: bytes) -> bytes:
        return data

    def raise_memory_limit(self, limits: Limits) -> None:
        if self._group is not None:
            self._group.raise_memory_limit(self._group_bytes(limits))

    def _group_bytes(self, limits: Limits) -> int:
        tests_too = 2 * (limits.memory_bytes + limits.answer_bytes + _KERNEL_MEMORY_BYTES)  # beside a solution
        return tests_too + self._extra_bytes

    def error_output(self) -> str:
        return ""  # not captured: it goes to this process's standard error

    def abandon(self) -> None:
        self.connection.close()
        self._group = None
        self._process.returncode = 0  # it is the parent's child: Popen must not wait for it

    def end(self, timeout_seconds: float) -> None:
        self.connection.close()
        try:
            self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._remove_group()

    def _remove_group(self) -> None:
        if self._group is not None:
            self._group.remove()


def _make_group(memory_bytes: int) -> cgroup.Group:
    try:
        return cgroup.Group(cgroup.find(), memory_bytes)
    except OSError as error:
        raise CannotConfine(f"control group: {error}") from error


def _spawn(level: str, connection: socket.socket) -> subprocess.Popen[bytes]:
    """Start a supervisor for this level, with this socket as standard input and output."""
    python = getattr(sys, "_base_executable", None) or sys.executable
    environment = ENVIRONMENT | {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    return subprocess.Popen(
        [python, *INTERPRETER_OPTIONS, "-c", COMMAND, level],
        env=environment,
        stdin=connection.fileno(),
        stdout=connection.fileno(),
        cwd=_ROOT,
        start_new_session=True,  # or Ctrl-C at the terminal would reach it too
    )
