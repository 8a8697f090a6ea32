"""Serving: sockets, signals, and an end that answers what has begun (uvicorn does the rest)."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import resource
import signal
import socket
import stat
import threading
from collections.abc import Callable, Coroutine, Iterator
from types import FrameType
from typing import Any

import uvicorn

from selftaught.sandbox.interruption import SIGNALS, Signals
from selftaught.sandbox.server.app import Service, Settings, make
from selftaught.sandbox.server.connection import Connection
from selftaught.sandbox.verifier import Verifier

KEEP_ALIVE_SECONDS = 75
_SPARE_DESCRIPTORS = 256
_LISTEN = 4096

Watch = Callable[[Callable[[], None]], Coroutine[Any, Any, None]]


class CannotListen(Exception):
    """The address can't be used; the message says why and what to do."""


class Server(uvicorn.Server):
    """A uvicorn server that ends in a stated time and answers what it has taken in.

    At the first SIGTERM or SIGINT nothing more is admitted; what has begun has `drain_seconds`; then the verifier is closed, and what still
    waits is answered with ``cancelled``. At the second, that happens at once.
    """

    def __init__(
        self, config: uvicorn.Config, service: Service, door: Door, signals: Signals, watch: Watch | None
    ) -> None:
        super().__init__(config)
        self._service, self._door, self._signals, self._watch = service, door, signals, watch

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()

        def heed(number: int, frame: FrameType | None) -> None:
            loop.call_soon_threadsafe(self.stop)

        for number in SIGNALS:  # not the loop's own way, which would leave them to kill us when the loop is closed
            signal.signal(number, heed)
        if self._signals.count:
            self.stop()
        watching = loop.create_task(self._watch(self.stop)) if self._watch else None
        try:
            yield
        finally:
            for number in SIGNALS:
                signal.signal(number, lambda number, frame: None)
            if watching is not None:
                watching.cancel()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._door.unlist()
        await super().shutdown(sockets)

    def stop(self) -> None:
        """Begin the end, or hasten it."""
        loop, first = asyncio.get_running_loop(), not self.should_exit
        self.should_exit = True
        self._service.admission.draining.set()
        loop.call_later(self._service.settings.drain_seconds if first else 0.0, self._give_up)

    def _give_up(self) -> None:
        threading.Thread(target=self._service.verifier.close, daemon=True).start()


def serve(verifier: Verifier, settings: Settings, door: Door, signals: Signals, watch: Watch | None = None) -> int:
    """Serve until a signal comes or has come, or `watch` calls what it is given; returns how many tasks were taken in and not judged.

    Afterwards signals do nothing.
    """
    app, service = make(verifier, settings)

    class Limited(Connection):
        memory = service.admission.memory
        patience_seconds = settings.patience_seconds
        most_discarded = 2 * settings.max_body

    config = uvicorn.Config(
        app,
        http=Limited,
        loop="uvloop",
        lifespan="off",
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        backlog=_LISTEN,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        limit_concurrency=_raise_descriptors() - _SPARE_DESCRIPTORS,
        timeout_graceful_shutdown=int(settings.drain_seconds) + 10,
    )
    server = Server(config, service, door, signals, watch)
    server.run(sockets=[door.socket])
    return service.admission.unanswered


def _raise_descriptors() -> int:
    """Allow as many open files as may be allowed; returns how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, 1 << 20) if hard != resource.RLIM_INFINITY else 1 << 20
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    return max(soft, wanted)


class Door:
    """Where clients come in: a listening socket. A context manager that closes it and removes what it has put into the file system.

    path: of a Unix socket.
    """

    def __init__(self, listener: socket.socket, path: str | None = None) -> None:
        self.socket, self.path = listener, path
        self._identity = _identity(path) if path else None

    @property
    def address(self) -> str:
        """What to tell a client."""
        if self.path:
            return self.path
        host, port = self.socket.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def unlist(self) -> None:
        """Remove a Unix socket, unless another server has put its own there. May be called again."""
        ours, self._identity = self._identity, None
        with contextlib.suppress(FileNotFoundError):
            if self.path and ours and _identity(self.path) == ours:
                os.unlink(self.path)

    def __enter__(self) -> Door:
        return self

    def __exit__(self, *_: object) -> None:
        self.unlist()
        self.socket.close()


def _identity(path: str) -> tuple[int, int]:
    """Which file this is."""
    found = os.lstat(path)
    return found.st_dev, found.st_ino


def open_door(host: str, port: int) -> Door:
    """Listen on this address. Raises CannotListen."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return Door(socket.create_server(address[:2], family=family, backlog=_LISTEN))
    except OSError as error:
        raise CannotListen(
            f"{host} port {port}: {error.strerror or error}; choose another with --host and --port"
        ) from error


@contextlib.contextmanager
def open_unix_door(path: str) -> Iterator[Door]:
    """Listen at this path, for its owner alone. A socket that nobody listens on any more is replaced. Raises CannotListen.

    A signal that comes while the socket is made is heeded when it is known who removes it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        door = _bind_unix(path)
    except BaseException:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        raise
    with door:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        yield door


def _bind_unix(path: str) -> Door:
    try:
        if os.path.lexists(path):
            if not stat.S_ISSOCK(os.lstat(path).st_mode):
                raise CannotListen(f"{path} exists and is no socket: choose another with --uds")
            with socket.socket(socket.AF_UNIX) as probe:
                if probe.connect_ex(path) == 0:
                    raise CannotListen(f"{path}: another server listens there")
            os.unlink(path)
        listener = socket.socket(socket.AF_UNIX)
        before = os.umask(0o177)
        try:
            listener.bind(path)
        finally:
            os.umask(before)
        door = Door(listener, path)
        listener.listen(_LISTEN)
    except OSError as error:
        raise CannotListen(f"{path}: {error.strerror or error}") from error
    return door


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach this address. Raises CannotListen if it is none."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise CannotListen(f"{host}: {error.strerror or error}") from error
    return all(ipaddress.ip_address(str(address[0]).split("%")[0]).is_loopback for *_, address in found)
