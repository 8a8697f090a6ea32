"""One daemon for all processes of a user on a machine: started by the first that needs it, ended when the last is gone.

Theory of operation. Everything lies in a directory that only the user can enter, under a name made of the configuration. Who needs the
daemon holds a shared lock on the *lease* file, which the kernel lets go of when a process ends, however it ends. Under an exclusive
lock on the *start* file it looks whether somebody listens on the socket, and starts a daemon if not; so of many that come at once
one starts it. The daemon tries for an exclusive lock on the lease each second, and ends when it has been free for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import json
import os
import platform
import signal
import socket
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import selftaught
from selftaught import sandbox
from selftaught.sandbox.backends import Placement
from selftaught.sandbox.client import AsyncClient, Client
from selftaught.sandbox.errors import CannotConfine
from selftaught.sandbox.task import Limits

START_SECONDS = 60.0
_LOOK_SECONDS = 1.0
_CREDENTIALS = struct.Struct("3i")


class Shared(Client):
    """A client of the shared daemon; see `Verifier.shared`. If the daemon has died, the next call starts another."""

    def __init__(self, placement: Placement, *, workers: int | None, limits: Limits, idle_seconds: float) -> None:
        if workers == 0:
            raise ValueError("workers must not be 0")
        self._options = _options(placement, workers, limits, idle_seconds)
        self._engine_at = os.environ.get("DOCKER_HOST") if placement.backend == "docker" else None
        directory = _directory()
        name = hashlib.sha256(json.dumps(self._identity()).encode()).hexdigest()[:16]
        self._socket, self._log = directory / f"{name}.sock", directory / f"{name}.log"
        self._start_lock, self._lease_path = directory / f"{name}.start", directory / f"{name}.lease"
        super().__init__(f"unix:{self._socket}")
        self._lease: int | None = os.open(self._lease_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lease, fcntl.LOCK_SH)
        try:
            self._ensure()
        except BaseException:
            self.close()
            raise

    def stop(self) -> None:
        """Have the daemon end, for all its clients; what it has begun is answered first."""
        with (
            contextlib.suppress(ProcessLookupError, ConnectionError, FileNotFoundError),
            socket.socket(socket.AF_UNIX) as peer,
        ):
            peer.connect(str(self._socket))
            pid, _, _ = _CREDENTIALS.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
            os.kill(pid, signal.SIGTERM)

    def close(self) -> None:
        """Let go of the daemon, which ends some time after its last client. May be called again."""
        super().close()
        if self._lease is not None:
            os.close(self._lease)
            self._lease = None

    def _identity(self) -> list[Any]:
        program = [selftaught.__version__, platform.python_version(), sys.executable, os.path.dirname(sandbox.__file__)]
        return [*program, self._options, self._engine_at]

    def _make(self) -> AsyncClient:
        async def revive() -> None:
            await asyncio.to_thread(self._ensure)

        client = super()._make()
        client.on_unreachable = revive
        return client

    def _ensure(self) -> None:
        """Start the daemon if nobody listens. Raises CannotConfine, or RuntimeError if it does not come up."""
        with _locked(self._start_lock):
            if self._listens():
                return
            command = [
                sys.executable,
                "-m",
                "selftaught.sandbox.cli",
                "serve",
                "--uds",
                str(self._socket),
                "--lease",
                str(self._lease_path),
            ]
            with open(self._log, "wb") as log:
                process = subprocess.Popen(
                    [*command, *self._options],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            deadline = time.monotonic() + START_SECONDS
            while not self._answers():
                if process.poll() is not None:
                    text = self._log.read_text(errors="replace").strip()
                    raise (CannotConfine if process.returncode == 2 else RuntimeError)(
                        f"the shared daemon ended at once: {text}"
                    )
                if time.monotonic() > deadline:
                    process.kill()
                    raise RuntimeError(
                        f"the shared daemon did not come up within {START_SECONDS:.0f} s; see {self._log}"
                    )
                time.sleep(0.02)
            process.returncode = 0  # it outlives us: nothing to wait for

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self._socket)) == 0

    def _answers(self) -> bool:
        """Whether it serves, and does not only listen."""
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1.0)
            try:
                probe.connect(str(self._socket))
                probe.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                return probe.recv(64).startswith(b"HTTP/1.1 200")
            except OSError:
                return False


def _options(placement: Placement, workers: int | None, limits: Limits, idle_seconds: float) -> list[str]:
    """The command line of a daemon with this configuration: the same one for all that mean the same."""
    placement = replace(placement, require=placement.levels[-1])
    pairs: dict[str, Any] = {
        "--cpu-limit": limits.cpu_seconds,
        "--wall-limit": limits.wall_seconds,
        "--memory": limits.memory_bytes,
        "--answer-limit": limits.answer_bytes,
        "--output-limit": limits.output_bytes,
        "--idle": float(idle_seconds),
        "--workers": workers,
        **{f"--{name}": value for name, value in placement.to_dict().items()},
    }
    return [text for name, value in pairs.items() if value is not None for text in (name, str(value))]


def _directory() -> Path:
    """A directory that only this user can enter. Raises RuntimeError if somebody else has made it."""
    base = os.environ.get("XDG_RUNTIME_DIR")
    path = Path(base, "selftaught") if base and os.access(base, os.W_OK) else Path("/tmp", f"selftaught-{os.getuid()}")
    path.mkdir(mode=0o700, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise RuntimeError(f"{path} is not a directory of this user's alone: remove it, or set XDG_RUNTIME_DIR")
    return path


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


async def stop_without_lease(stop: Callable[[], None], path: str, idle_seconds: float) -> None:
    """In the daemon: stop it when nobody has held the lease for so long."""
    free_since: float | None = None
    while True:
        await asyncio.sleep(min(_LOOK_SECONDS, idle_seconds / 2 + 0.01))
        with open(path, "rb") as lease:
            try:
                fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
                free_since = free_since or time.monotonic()
            except BlockingIOError:
                free_since = None
        if free_since is not None and time.monotonic() - free_since >= idle_seconds:
            stop()
            return
