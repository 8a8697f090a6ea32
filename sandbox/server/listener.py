"""Serving: sockets, signals, slow and oversized headers, and an end that answers what has begun (uvicorn does the rest)."""

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
from typing import Any

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sandbox.server.app import Service, Settings, make
from sandbox.verifier import Verifier

HEADER_BYTES = 64 << 10
_DISCARDED_BYTES = 1 << 20
"""What may still come of a body after its request has been answered."""

KEEP_ALIVE_SECONDS = 75
_SPARE_DESCRIPTORS = 256
_LISTEN = 4096

Watch = Callable[[Callable[[], None]], Coroutine[Any, Any, None]]


class CannotListen(Exception):
    """The address can't be used; the message says why and what to do."""


class Protocol(HttpToolsProtocol):
    """A connection that may not be slow or endless in its headers, nor go on with a body that was refused.

    patience_seconds: from a connection, or the first byte of a further request, to the end of the headers.
    """

    patience_seconds = 10.0
    _heading: asyncio.TimerHandle | None = None
    _header_bytes = 0
    _in_headers = True
    _discarded = 0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._headers_done()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_headers:
            if self._heading is None:
                self._expect_headers()
            self._header_bytes += len(data)
        super().data_received(data)
        if self._in_headers and self._header_bytes > HEADER_BYTES and not self.transport.is_closing():
            self.send_400_response(f"The headers are longer than {HEADER_BYTES} bytes.")

    def on_headers_complete(self) -> None:
        self._headers_done()
        self._in_headers = False
        try:
            super().on_headers_complete()
        except (httptools.HttpParserError, UnicodeDecodeError, ValueError) as error:
            raise httptools.HttpParserError(str(error)) from error

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        if self.cycle is not None and self.cycle.response_complete:
            self._discarded += len(body)
            if self._discarded > _DISCARDED_BYTES:
                self.transport.close()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_headers, self._header_bytes, self._discarded = True, 0, 0

    def _expect_headers(self) -> None:
        self._heading = self.loop.call_later(self.patience_seconds, self._too_slow)

    def _headers_done(self) -> None:
        if self._heading is not None:
            self._heading.cancel()
            self._heading = None

    def _too_slow(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.close()


class Server(uvicorn.Server):
    """A uvicorn server that ends in a stated time and answers what it has taken in.

    At the first SIGTERM or SIGINT nothing more is admitted; what has begun has `drain_seconds`; then the verifier is closed, and what still
    waits is answered with ``cancelled``. At the second, that happens at once.
    """

    def __init__(self, config: uvicorn.Config, service: Service, watch: Watch | None) -> None:
        super().__init__(config)
        self._service, self._watch = service, watch

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        watching = loop.create_task(self._watch(self.stop)) if self._watch else None
        yield
        if watching is not None:
            watching.cancel()

    def stop(self) -> None:
        """Begin the end, or hasten it."""
        loop, first = asyncio.get_running_loop(), not self.should_exit
        self.should_exit = True
        self._service.desk.draining.set()
        loop.call_later(self._service.settings.drain_seconds if first else 0.0, self._give_up)

    def _give_up(self) -> None:
        threading.Thread(target=self._service.verifier.close, daemon=True).start()


def serve(verifier: Verifier, settings: Settings, sockets: list[socket.socket], watch: Watch | None = None) -> int:
    """Serve until a signal comes, or `watch` calls what it is given; returns how many tasks were taken in and not judged."""
    app, service = make(verifier, settings)

    class Patient(Protocol):
        patience_seconds = settings.patience_seconds

    config = uvicorn.Config(
        app,
        http=Patient,
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
    server = Server(config, service, watch)
    server.run(sockets=sockets)
    return service.desk.unanswered


def _raise_descriptors() -> int:
    """Allow as many open files as may be allowed; returns how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, 1 << 20) if hard != resource.RLIM_INFINITY else 1 << 20
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    return max(soft, wanted)


def bind(host: str, port: int) -> socket.socket:
    """A socket on this address. Raises CannotListen."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=_LISTEN)
    except OSError as error:
        raise CannotListen(f"{host} port {port}: {error.strerror or error}; choose another with --host and --port") from error


def bind_unix(path: str) -> socket.socket:
    """A socket at this path, for its owner alone. A socket that nobody listens on any more is replaced. Raises CannotListen."""
    try:
        if os.path.exists(path):
            if not stat.S_ISSOCK(os.stat(path).st_mode):
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
        listener.listen(_LISTEN)
    except OSError as error:
        raise CannotListen(f"{path}: {error.strerror or error}") from error
    return listener


def identity(path: str) -> tuple[int, int]:
    """Which file this is."""
    found = os.stat(path)
    return found.st_dev, found.st_ino


def unbind_unix(path: str, ours: tuple[int, int] | None) -> None:
    """Remove our socket, unless another server has put its own there."""
    with contextlib.suppress(FileNotFoundError):
        if identity(path) == ours:
            os.unlink(path)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach this address. Raises CannotListen if it is none."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise CannotListen(f"{host}: {error.strerror or error}") from error
    return all(ipaddress.ip_address(str(address[0]).split("%")[0]).is_loopback for *_, address in found)
