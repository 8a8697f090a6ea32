"""Serving: sockets, signals, and a graceful shutdown; uvicorn does the rest."""

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
_BACKLOG = 4096

Watch = Callable[[Callable[[], None]], Coroutine[Any, Any, None]]


class CannotListen(Exception):
    """The address can't be used; the message says why and what to do."""


class Server(uvicorn.Server):
    """A uvicorn server with a graceful shutdown of bounded time.

    After the first SIGTERM or SIGINT it admits no tasks. Admitted tasks have `drain_seconds`; then the verifier is
    closed, and the remaining ones get the status ``cancelled``. After the second signal that happens at once.

    Args:
        config: uvicorn's configuration.
        service: The handlers.
        listener: The listening socket.
        signals: Counts signals that came before.
        watch: A coroutine function that runs with the server and may call its argument to shut it down.
    """

    def __init__(
        self, config: uvicorn.Config, service: Service, listener: Listener, signals: Signals, watch: Watch | None
    ) -> None:
        super().__init__(config)
        self._service, self._listener, self._signals, self._watch = service, listener, signals, watch

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()

        def handle(number: int, frame: FrameType | None) -> None:
            loop.call_soon_threadsafe(self.stop)

        for number in SIGNALS:  # loop.add_signal_handler would restore the default, which kills, when the loop closes
            signal.signal(number, handle)
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
        self._listener.unlink()
        await super().shutdown(sockets)

    def stop(self) -> None:
        """Start the shutdown, or at the second call end it at once."""
        loop, first = asyncio.get_running_loop(), not self.should_exit
        self.should_exit = True
        self._service.admission.draining.set()
        loop.call_later(self._service.settings.drain_seconds if first else 0.0, self._close_verifier)

    def _close_verifier(self) -> None:
        threading.Thread(target=self._service.verifier.close, daemon=True).start()


def serve(
    verifier: Verifier, settings: Settings, listener: Listener, signals: Signals, watch: Watch | None = None
) -> int:
    """Serve until a signal, or until `watch` calls its argument. Afterwards signals are ignored.

    Args:
        verifier: Judges the tasks.
        settings: The settings.
        listener: The listening socket.
        signals: Counts signals that came before.
        watch: A coroutine function that runs with the server and may call its argument to shut it down.

    Returns:
        The number of admitted tasks that were cancelled.
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
        backlog=_BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        limit_concurrency=_raise_descriptors() - _SPARE_DESCRIPTORS,
        timeout_graceful_shutdown=int(settings.drain_seconds) + 10,
    )
    server = Server(config, service, listener, signals, watch)
    server.run(sockets=[listener.socket])
    return service.admission.cancelled


def _raise_descriptors() -> int:
    """Raise the limit on open files as far as permitted; return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = min(hard, 1 << 20) if hard != resource.RLIM_INFINITY else 1 << 20
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, limit), hard))
    return max(soft, limit)


class Listener:
    """A listening socket. A context manager that closes it and removes a Unix socket's file.

    Args:
        listening: The socket.
        path: The path of a Unix socket.
    """

    def __init__(self, listening: socket.socket, path: str | None = None) -> None:
        self.socket, self.path = listening, path
        self._identity = _identity(path) if path else None

    @property
    def address(self) -> str:
        """The address for clients: a URL, or the path of a Unix socket."""
        if self.path:
            return self.path
        host, port = self.socket.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def unlink(self) -> None:
        """Remove a Unix socket's file, unless another server has replaced it. May be called again."""
        ours, self._identity = self._identity, None
        with contextlib.suppress(FileNotFoundError):
            if self.path and ours and _identity(self.path) == ours:
                os.unlink(self.path)

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self.unlink()
        self.socket.close()


def _identity(path: str) -> tuple[int, int]:
    """Return the device and inode of a file."""
    found = os.lstat(path)
    return found.st_dev, found.st_ino


def listen_tcp(host: str, port: int) -> Listener:
    """Listen on a TCP address.

    Args:
        host: A name or address of this machine.
        port: The port; 0 for any free one.

    Raises:
        CannotListen: The address can't be used.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return Listener(socket.create_server(address[:2], family=family, backlog=_BACKLOG))
    except OSError as error:
        raise CannotListen(
            f"{host} port {port}: {error.strerror or error}; choose another with --host and --port"
        ) from error


@contextlib.contextmanager
def listen_unix(path: str) -> Iterator[Listener]:
    """Listen on a Unix socket that only its owner can connect to.

    A socket file on which no server listens any more is replaced. Signals are blocked until the context is entered, so
    that the file is always removed.

    Args:
        path: The path.

    Raises:
        CannotListen: The path can't be used.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        listener = _bind_unix(path)
    except BaseException:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        raise
    with listener:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        yield listener


def _bind_unix(path: str) -> Listener:
    try:
        if os.path.lexists(path):
            if not stat.S_ISSOCK(os.lstat(path).st_mode):
                raise CannotListen(f"{path} exists and is not a socket: choose another with --uds")
            with socket.socket(socket.AF_UNIX) as probe:
                if probe.connect_ex(path) == 0:
                    raise CannotListen(f"{path}: another server listens there")
            os.unlink(path)
        listening = socket.socket(socket.AF_UNIX)
        before = os.umask(0o177)
        try:
            listening.bind(path)
        finally:
            os.umask(before)
        listener = Listener(listening, path)
        listening.listen(_BACKLOG)
    except OSError as error:
        raise CannotListen(f"{path}: {error.strerror or error}") from error
    return listener


def is_loopback(host: str) -> bool:
    """Return True if only this machine can reach this address. Raises CannotListen if it can't be resolved."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise CannotListen(f"{host}: {error.strerror or error}") from error
    return all(ipaddress.ip_address(str(address[0]).split("%")[0]).is_loopback for *_, address in found)
