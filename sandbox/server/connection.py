"""One connection: limits and timeouts before, between and after its requests; uvicorn and httptools do the rest."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from selftaught.sandbox.server import sandbox_fusion
from selftaught.sandbox.server.body import IDLE_FACTOR, MIN_RATE, TOTAL_FACTOR
from selftaught.sandbox.server.exchange import Refused, shutting_down
from selftaught.sandbox.server.memory import Memory, Share

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application, ASGIReceiveEvent

HEADER_BYTES = 64 << 10
"""The most bytes of a request without its body; each chunk may have `_CHUNK_BYTES` more."""

_CHUNK_BYTES = 16
_SLICE = 4 << 10
"""Bytes that are parsed at a time: if they begin a further request, the rest waits until that is served."""

_MIN_READ_BYTES = 64 << 10
"""What the client of a stream must read of it within the time that a stream may be idle."""

_POLL_SECONDS = 0.5


def _too_many_headers() -> Refused:
    return Refused(431, f"the headers are longer than {HEADER_BYTES:,} bytes", close=True)


def _authority(target: bytes) -> bytes:
    """Return the host in the target of a request that is not a path."""
    return target.partition(b"://")[2].partition(b"/")[0]


class _Transport(asyncio.Transport):
    """A connection as a response uses it: closing it waits until the rest of the request was received.

    Otherwise the kernel would reset the connection of a client that is still sending, and it would never see the
    response (RFC 9112, 9.6).
    """

    def __init__(self, connection: Connection, transport: asyncio.Transport) -> None:
        self.write, self.is_closing = transport.write, transport.is_closing  # type: ignore[method-assign]
        self.close = connection.finish  # type: ignore[method-assign]


class Connection(HttpToolsProtocol):
    """A connection to one client.

    Its public methods override those of uvicorn's protocol. Handlers find in `scope["state"]["lost"]` an event that is
    set when it is lost: `receive` reports that only to those that read.

    Attributes:
        memory: The memory that all clients use.
        patience_seconds: The most time from the connection, or from the first byte of a further request, to the end of
            the headers; other timeouts are derived from it (see `selftaught.sandbox.server.body`).
        most_discarded: The most bytes of a body that are read and discarded after its request was refused.
    """

    memory: Memory
    patience_seconds = 10.0
    most_discarded = 1 << 20

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._share = Share(self.memory)
        self._lost = asyncio.Event()
        self._refusal: Refused | None = None
        self._in_body = self._finishing = self._ending = False
        self._header_bytes = self._framing_bytes = self._discarded = self._received = 0
        self._unparsed = b""
        self._running: RequestResponseCycle | None = None
        self._timeout: asyncio.TimerHandle | None = None  # for headers, or for a body that is discarded
        self._write_timeout: asyncio.TimerHandle | None = None  # for the client to read
        self._disconnect_poll: asyncio.TimerHandle | None = None  # while reading is paused

    # Receiving

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_timeout(self._headers_too_slow)

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        if self._finishing:
            self._discard(len(data))
            return
        self._unset_keepalive_if_required()
        self._parse(self._unparsed + data)
        self._account()
        if self.flow.read_paused and self._disconnect_poll is None:
            self._poll_disconnect()

    def _parse(self, data: bytes) -> None:
        """Parse up to the beginning of a further request. Keep what follows, and stop reading, until that is served."""
        rest = memoryview(data)
        while rest and not self.pipeline and self._open():
            if not self._in_body and self._timeout is None:
                self._start_timeout(self._headers_too_slow)
            self._framing_bytes += len(rest[:_SLICE])
            super().data_received(rest[:_SLICE])  # type: ignore[arg-type]
            rest = rest[_SLICE:]
            if self._framing_bytes > HEADER_BYTES and self._open():
                self._refuse(_too_many_headers())
        self._unparsed = bytes(rest)
        if self._unparsed:
            self.flow.pause_reading()

    def _open(self) -> bool:
        return not self._finishing and not self.transport.is_closing()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["state"]["lost"] = self._lost
        self._header_bytes = 0
        if self._timeout is None:
            self._start_timeout(self._headers_too_slow)

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._header_bytes += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_body:
            self._abort_parsing(Refused(400, "headers after a body are not supported", close=True))
        super().on_header(name, value)
        self._header_bytes += len(name) + len(value) + len(": \r\n")

    def on_headers_complete(self) -> None:
        if self._header_bytes > HEADER_BYTES:
            self._abort_parsing(_too_many_headers())
        if not self.url.startswith((b"/", b"*")) and _authority(self.url) != dict(self.headers).get(b"host"):
            self._abort_parsing(Refused(400, "the target and the header host name different hosts", close=True))
        self._cancel_timeout()
        self._in_body = True
        try:
            super().on_headers_complete()
        except (httptools.HttpParserError, UnicodeDecodeError, ValueError) as error:
            raise httptools.HttpParserError(str(error)) from error
        self.cycle.transport = _Transport(self, self.transport)
        self.cycle.receive = self._accounting(self.cycle.receive)  # type: ignore[method-assign, assignment]

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_chunk_header(self) -> None:
        """Called by the parser."""
        self._framing_bytes -= _CHUNK_BYTES

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        self._framing_bytes -= len(body)
        if self.cycle.response_complete:
            self._discard(len(body))

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._cancel_timeout()
        if self.cycle.response_complete:  # it was refused before: no other timeout applies to the idle connection
            self._start_timeout(self._headers_too_slow)
        self._in_body = False
        self._framing_bytes = self._discarded = 0

    def _abort_parsing(self, refusal: Refused) -> None:
        """Leave the parser and refuse the request. Called by the parser."""
        self._refusal = refusal
        raise httptools.HttpParserError(refusal.detail)

    def send_400_response(self, msg: str) -> None:
        self._refuse(self._refusal or Refused(400, msg, close=True))

    def _refuse(self, refusal: Refused) -> None:
        """Refuse an incomplete request and close. Send no response where it would look like that to another request."""
        if self.pipeline or (self.cycle.response_started if self._in_body else self._answering()):
            self.transport.close()
            return
        if self._in_body and self.scope["path"] == sandbox_fusion.PATH:
            refusal = sandbox_fusion.gateway_timeout(refusal)
        if self._in_body:  # its handler gets a disconnect
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        body = refusal.body()
        headers = {"content-type": "application/json", "content-length": str(len(body)), **refusal.headers()}
        lines = [f"{name}: {value}\r\n".encode() for name, value in headers.items()]
        self.transport.write(b"".join([STATUS_LINE[refusal.status], *lines, b"\r\n", body]))
        self._in_body = True  # the rest of it is discarded like a body
        self.finish()

    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    # Timeouts and the end

    def _start_timeout(self, then: Any) -> None:
        self._cancel_timeout()
        self._timeout = self.loop.call_later(self.patience_seconds, then)

    def _cancel_timeout(self) -> None:
        if self._timeout is not None:
            self._timeout.cancel()
            self._timeout = None

    def _headers_too_slow(self) -> None:
        self._timeout = None
        if self._answering():
            self._start_timeout(self._headers_too_slow)  # the server is slow, with an earlier request, not the client
        elif not self.transport.is_closing():
            self.transport.close()

    def on_response_complete(self) -> None:
        if not self.pipeline:
            self.cycle.body.clear()  # no handler will read it
        super().on_response_complete()
        if self._in_body and not self.pipeline:
            self._start_timeout(self.transport.abort)
        self._stop_watching()  # for a stream
        self._watch_reader()
        if not self.pipeline and self._unparsed:
            self._parse(self._unparsed)
        self._account()

    def finish(self) -> None:
        """Close after the rest of the refused request was received and discarded."""
        if not self._in_body or self.pipeline or self._ending or self.transport.is_closing():
            self.transport.close()
            return
        self._finishing, self._unparsed = True, b""
        self.transport.write_eof()
        self.flow.resume_reading()
        self._start_timeout(self.transport.abort)

    def _discard(self, size: int) -> None:
        self._discarded += size
        if self._discarded > self.most_discarded:
            self.transport.close()

    def shutdown(self) -> None:
        self._ending = True
        if self._finishing:
            self.transport.abort()
        elif self._in_body and not self.pipeline and not self.cycle.response_started:
            self._refuse(shutting_down())  # don't wait for the rest of its body
        else:
            super().shutdown()

    def _poll_disconnect(self) -> None:
        """Poll for a disconnect while reading is paused: asyncio reports none then."""
        self._disconnect_poll = None
        if not self.flow.read_paused or self.transport.is_closing():
            return
        poll = select.poll()
        poll.register(self.transport.get_extra_info("socket").fileno(), select.POLLRDHUP)
        if poll.poll(0):
            self.transport.abort()
        else:
            self._disconnect_poll = self.loop.call_later(_POLL_SECONDS, self._poll_disconnect)

    # Slow readers

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reader()
        self._account()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_watching()
        self._watch_reader()
        self._account()

    def _watch_reader(self) -> None:
        """Start a timeout for the client to read what was written.

        A response must be read about as fast as a body must be sent. Of a stream that has filled its buffer,
        `_MIN_READ_BYTES` must be read within the time that a stream may be idle; what the client sends counts too.
        """
        waiting = self.transport.get_write_buffer_size()
        if self._write_timeout is not None or not waiting:
            return
        if self.cycle.response_complete:
            times, least, received = TOTAL_FACTOR, int(MIN_RATE * self.patience_seconds), 0
        elif self.flow.write_paused:
            times, least, received = IDLE_FACTOR, _MIN_READ_BYTES, self._received
        else:
            return
        arguments = waiting, min(least, waiting), received
        self._write_timeout = self.loop.call_later(times * self.patience_seconds, self._check_reader, *arguments)

    def _check_reader(self, waiting: int, least: int, received: int) -> None:
        self._write_timeout = None
        taken = waiting - self.transport.get_write_buffer_size()
        if received:
            taken += self._received - received
        if 0 <= taken < least:
            self.transport.abort()
        else:
            self._watch_reader()

    def _stop_watching(self) -> None:
        if self._write_timeout is not None:
            self._write_timeout.cancel()
            self._write_timeout = None

    # Memory

    def _account(self) -> None:
        """Count bytes not parsed, not read by a handler, or not read by the client. May refuse large headers."""
        if self._lost.is_set():
            return
        cycles = [cycle for cycle, _ in self.pipeline]
        if self.cycle is not None and self.cycle not in cycles:
            cycles.append(self.cycle)
        headers = 0 if self._in_body else max(self._framing_bytes, 0)
        bodies = sum(len(cycle.body) for cycle in cycles)
        self._share.resize(len(self._unparsed) + headers + bodies + self.transport.get_write_buffer_size())
        if headers > _SLICE and self.memory.full and self._open():
            self._refuse(self.memory.refusal())

    def _accounting(
        self, receive: Callable[[], Awaitable[ASGIReceiveEvent]]
    ) -> Callable[[], Awaitable[ASGIReceiveEvent]]:
        """Return `receive`, so that what a handler has read no longer counts here: the handler counts it."""

        async def take() -> ASGIReceiveEvent:
            message = await receive()
            self._account()
            return message

        return take

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._timeout, self._write_timeout, self._disconnect_poll):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)
        self._lost.set()
        self._share.close()
        if self._running is not None:  # with pipelined requests it is not the last one
            self._running.disconnected = True
            self._running.message_event.set()
