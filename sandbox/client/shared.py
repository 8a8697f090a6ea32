"""One daemon for all processes of a user on a machine: the first client starts it, and it ends after the last has gone.

All files are in a directory that only the user can enter; their name is a digest of the configuration. Each client
keeps a shared lock on the *lease* file, which the kernel releases when the process ends in any way. A client that has
an exclusive lock on the *start* file tests whether a daemon listens on the socket and starts one if not, so that one of
several concurrent clients starts it. The daemon tries to lock the lease exclusively every second, and ends when that
has succeeded for `idle_seconds`.
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
from selftaught.sandbox import packages
from selftaught.sandbox.backends import WorkerConfig
from selftaught.sandbox.client import AsyncClient, Client
from selftaught.sandbox.errors import CannotConfine
from selftaught.sandbox.task import Limits

START_SECONDS = 60.0
_POLL_SECONDS = 1.0
_CREDENTIALS = struct.Struct("3i")


class Shared(Client):
    """A client of the shared daemon; see `Verifier.shared`. If the daemon has died, the next call starts another.

    Args:
        config: See `Verifier.from_config`.
        workers: See `Verifier`.
        limits: See `Verifier`.
        idle_seconds: See `Verifier.shared`.

    Raises:
        CannotConfine: The level can't be reached.
        RuntimeError: The daemon does not start.
        ValueError: `workers` is 0.
    """

    def __init__(self, config: WorkerConfig, *, workers: int | None, limits: Limits, idle_seconds: float) -> None:
        if workers == 0:
            raise ValueError("workers must not be 0")
        self._options = _options(config, workers, limits, idle_seconds)
        self._container_engine = os.environ.get("DOCKER_HOST") if config.backend == "docker" else None
        directory = _directory()
        name = hashlib.sha256(json.dumps(self._identity()).encode()).hexdigest()[:16]
        self._socket, self._log = directory / f"{name}.sock", directory / f"{name}.log"
        self._start_lock, self._lease_path = directory / f"{name}.start", directory / f"{name}.lease"
        super().__init__(f"unix:{self._socket}")
        self._lease: int | None = os.open(self._lease_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lease, fcntl.LOCK_SH)
        try:
            self._ensure_daemon()
        except BaseException:
            self.close()
            raise

    def stop(self) -> None:
        """Shut the daemon down, for all its clients. It first finishes the tasks that it has admitted."""
        with (
            contextlib.suppress(ProcessLookupError, ConnectionError, FileNotFoundError),
            socket.socket(socket.AF_UNIX) as peer,
        ):
            peer.connect(str(self._socket))
            pid, _, _ = _CREDENTIALS.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
            os.kill(pid, signal.SIGTERM)

    def close(self) -> None:
        """Close every connection and release the lease. May be called again."""
        super().close()
        if self._lease is not None:
            os.close(self._lease)
            self._lease = None

    def _identity(self) -> list[Any]:
        program = [selftaught.__version__, platform.python_version(), sys.executable, os.path.dirname(sandbox.__file__)]
        return [*program, self._options, self._container_engine]

    def _make(self) -> AsyncClient:
        async def restart() -> None:
            await asyncio.to_thread(self._ensure_daemon)

        client = super()._make()
        client.on_unreachable = restart
        return client

    def _ensure_daemon(self) -> None:
        """Start the daemon if none listens. Raises CannotConfine, or RuntimeError if it does not start."""
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
                    env={name: value for name, value in os.environ.items() if name != packages.VARIABLE},
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
                    raise RuntimeError(f"the shared daemon did not start within {START_SECONDS:.0f} s; see {self._log}")
                time.sleep(0.02)
            process.returncode = 0  # it outlives this process: Popen must not wait for it

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self._socket)) == 0

    def _answers(self) -> bool:
        """Return True if the daemon answers requests, not only accepts connections."""
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1.0)
            try:
                probe.connect(str(self._socket))
                probe.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                return probe.recv(64).startswith(b"HTTP/1.1 200")
            except OSError:
                return False


def _options(config: WorkerConfig, workers: int | None, limits: Limits, idle_seconds: float) -> list[str]:
    """Return the command line of a daemon with this configuration, the same for equivalent configurations."""
    isolation = config.require_isolation or "shared"
    config = replace(config, require=config.levels[-1], require_isolation=isolation)
    pairs: dict[str, Any] = {
        "--cpu-limit": limits.cpu_seconds,
        "--wall-limit": limits.wall_seconds,
        "--memory": limits.memory_bytes,
        "--answer-limit": limits.answer_bytes,
        "--output-limit": limits.output_bytes,
        "--idle": float(idle_seconds),
        "--workers": workers,
        **{f"--{name.replace('_', '-')}": value for name, value in config.to_dict().items()},
        "--packages": ",".join(config.packages or ()) or None,
        "--site": os.path.abspath(config.site) if config.site else None,
    }
    return [text for name, value in pairs.items() if value is not None for text in (name, str(value))]


def _directory() -> Path:
    """Return a directory that only this user can enter. Raises RuntimeError if others can enter it."""
    base = os.environ.get("XDG_RUNTIME_DIR")
    path = Path(base, "selftaught") if base and os.access(base, os.W_OK) else Path("/tmp", f"selftaught-{os.getuid()}")
    path.mkdir(mode=0o700, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise RuntimeError(
            f"{path} is not a directory that only this user can enter: remove it, or set XDG_RUNTIME_DIR"
        )
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
    """Stop the daemon when no client has had the lease for so long. Runs in the daemon.

    Args:
        stop: Shuts the daemon down.
        path: The lease file.
        idle_seconds: How long the lease must have been free.
    """
    free_since: float | None = None
    while True:
        await asyncio.sleep(min(_POLL_SECONDS, idle_seconds / 2 + 0.01))
        with open(path, "rb") as lease:
            try:
                fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
                free_since = free_since or time.monotonic()
            except BlockingIOError:
                free_since = None
        if free_since is not None and time.monotonic() - free_since >= idle_seconds:
            stop()
            return
