"""One connection: what a client may not do to it before, between and after its requests (uvicorn and httptools do the rest)."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from selftaught.sandbox.server.body import ALTOGETHER, IDLE, LEAST_RATE
from selftaught.sandbox.server.exchange import Refused, shutting_down
from selftaught.sandbox.server.memory import Memory, Share

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application, ASGIReceiveEvent

HEADER_BYTES = 64 << 10
"""Of a request: what is not its body. Chunks may take `_CHUNK_BYTES` each besides."""

_CHUNK_BYTES = 16
_SLICE = 4 << 10
"""Bytes that are parsed at a time: once a further request has begun, the rest waits for its turn."""

_TAKEN_BYTES = 64 << 10
"""What the client of a stream must take of it in the time that a stream may lie idle."""

_LOOK_SECONDS = 0.5


def _too_many_headers() -> Refused:
    return Refused(431, f"the headers are longer than {HEADER_BYTES:,} bytes", close=True)


def _authority(target: bytes) -> bytes:
    """Whom the target of a request names, where it is not a path."""
    return target.partition(b"://")[2].partition(b"/")[0]


class _Transport(asyncio.Transport):
    """A connection as an answer sees it. Not closed before the rest of the request has come, or a client that still sends it would find
    the connection reset and never see the answer (RFC 9112, 9.6)."""

    def __init__(self, connection: Connection, transport: asyncio.Transport) -> None:
        self.write, self.is_closing = transport.write, transport.is_closing  # type: ignore[method-assign]
        self.close = connection.finish  # type: ignore[method-assign]


class Connection(HttpToolsProtocol):
    """A connection to one client.

    Handlers find in `scope["state"]["lost"]` an event for its end: while they don't read, `receive` would not tell.

    memory: what is held of all clients. patience_seconds: from a connection, or the first byte of a further request, to the end of the
    headers; other times follow from it (see `selftaught.sandbox.server.body`). most_discarded: bytes of a body that may still come after its request
    was refused.
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
        self._patience: asyncio.TimerHandle | None = None  # for the rest of headers, or of a body that is discarded
        self._reader: asyncio.TimerHandle | None = None  # for what is written to be taken
        self._leaving: asyncio.TimerHandle | None = None  # for another look

    # What comes

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait(self._headers_too_slow)

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        if self._finishing:
            self._discard(len(data))
            return
        self._unset_keepalive_if_required()
        self._parse(self._unparsed + data)
        self._count()
        if self.flow.read_paused and self._leaving is None:
            self._look_for_leaving()

    def _parse(self, data: bytes) -> None:
        """Parse until a further request waits for its turn; what follows that is kept and not read on."""
        rest = memoryview(data)
        while rest and not self.pipeline and self._open():
            if not self._in_body and self._patience is None:
                self._wait(self._headers_too_slow)
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
        if self._patience is None:
            self._wait(self._headers_too_slow)

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._header_bytes += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_body:
            self._give_up(Refused(400, "headers after a body are not understood", close=True))
        super().on_header(name, value)
        self._header_bytes += len(name) + len(value) + len(": \r\n")

    def on_headers_complete(self) -> None:
        if self._header_bytes > HEADER_BYTES:
            self._give_up(_too_many_headers())
        if not self.url.startswith((b"/", b"*")) and _authority(self.url) != dict(self.headers).get(b"host"):
            self._give_up(Refused(400, "the target and the header host name different hosts", close=True))
        self._stop_waiting()
        self._in_body = True
        try:
            super().on_headers_complete()
        except (httptools.HttpParserError, UnicodeDecodeError, ValueError) as error:
            raise httptools.HttpParserError(str(error)) from error
        self.cycle.transport = _Transport(self, self.transport)
        self.cycle.receive = self._counted(self.cycle.receive)  # type: ignore[method-assign, assignment]

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
        self._stop_waiting()
        if (
            self.cycle.response_complete
        ):  # it was refused before: nothing else bounds how long the connection lies idle now
            self._wait(self._headers_too_slow)
        self._in_body = False
        self._framing_bytes = self._discarded = 0

    def _give_up(self, refusal: Refused) -> None:
        """Within the parser: leave it, and refuse the request."""
        self._refusal = refusal
        raise httptools.HttpParserError(refusal.detail)

    def send_400_response(self, msg: str) -> None:
        self._refuse(self._refusal or Refused(400, msg, close=True))

    def _refuse(self, refusal: Refused) -> None:
        """Answer what has not come whole, and end; without a word where that would look like the answer to another request."""
        if self.pipeline or (self.cycle.response_started if self._in_body else self._answering()):
            self.transport.close()
            return
        if self._in_body:  # its handler finds the client gone
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        body = refusal.body()
        headers = {"content-type": "application/json", "content-length": str(len(body)), **refusal.headers()}
        lines = [f"{name}: {value}\r\n".encode() for name, value in headers.items()]
        self.transport.write(b"".join([STATUS_LINE[refusal.status], *lines, b"\r\n", body]))
        self._in_body = True  # what may still come of it is discarded like a body
        self.finish()

    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    # What is not waited for

    def _wait(self, then: Any) -> None:
        self._stop_waiting()
        self._patience = self.loop.call_later(self.patience_seconds, then)

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _headers_too_slow(self) -> None:
        self._patience = None
        if self._answering():
            self._wait(
                self._headers_too_slow
            )  # an earlier request is being answered: then it is not the client who is slow
        elif not self.transport.is_closing():
            self.transport.close()

    def on_response_complete(self) -> None:
        if not self.pipeline:
            self.cycle.body.clear()  # nobody will read it
        super().on_response_complete()
        if self._in_body and not self.pipeline:
            self._wait(self.transport.abort)
        self._stop_watching()  # as a stream
        self._watch_reader()
        if not self.pipeline and self._unparsed:
            self._parse(self._unparsed)
        self._count()

    def finish(self) -> None:
        """Close, but let what was refused come to its end, unread."""
        if not self._in_body or self.pipeline or self._ending or self.transport.is_closing():
            self.transport.close()
            return
        self._finishing, self._unparsed = True, b""
        self.transport.write_eof()
        self.flow.resume_reading()
        self._wait(self.transport.abort)

    def _discard(self, size: int) -> None:
        self._discarded += size
        if self._discarded > self.most_discarded:
            self.transport.close()

    def shutdown(self) -> None:
        self._ending = True
        if self._finishing:
            self.transport.abort()
        elif self._in_body and not self.pipeline and not self.cycle.response_started:
            self._refuse(shutting_down())  # the rest of its body would only be waited for in vain
        else:
            super().shutdown()

    def _look_for_leaving(self) -> None:
        """While nothing is read, the client's leaving is not told."""
        self._leaving = None
        if not self.flow.read_paused or self.transport.is_closing():
            return
        poll = select.poll()
        poll.register(self.transport.get_extra_info("socket").fileno(), select.POLLRDHUP)
        if poll.poll(0):
            self.transport.abort()
        else:
            self._leaving = self.loop.call_later(_LOOK_SECONDS, self._look_for_leaving)

    # What is not read

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reader()
        self._count()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_watching()
        self._watch_reader()
        self._count()

    def _watch_reader(self) -> None:
        """See that what has been written is taken: an answer about as fast as a body must come; a stream that has filled its buffer in
        the time that a stream may lie idle, and there what the client sends meanwhile counts too."""
        waiting = self.transport.get_write_buffer_size()
        if self._reader is not None or not waiting:
            return
        if self.cycle.response_complete:
            times, least, received = ALTOGETHER, int(LEAST_RATE * self.patience_seconds), 0
        elif self.flow.write_paused:
            times, least, received = IDLE, _TAKEN_BYTES, self._received
        else:
            return
        arguments = waiting, min(least, waiting), received
        self._reader = self.loop.call_later(times * self.patience_seconds, self._look_at_reader, *arguments)

    def _look_at_reader(self, waiting: int, least: int, received: int) -> None:
        self._reader = None
        taken = waiting - self.transport.get_write_buffer_size()
        if received:
            taken += self._received - received
        if 0 <= taken < least:
            self.transport.abort()
        else:
            self._watch_reader()

    def _stop_watching(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            self._reader = None

    # What it takes

    def _count(self) -> None:
        """Hold what is not parsed, not taken by a handler, or not read by the client; refuse large headers if there is no room."""
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

    def _counted(self, receive: Callable[[], Awaitable[ASGIReceiveEvent]]) -> Callable[[], Awaitable[ASGIReceiveEvent]]:
        """What a handler has taken is its own to hold."""

        async def take() -> ASGIReceiveEvent:
            message = await receive()
            self._count()
            return message

        return take

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._patience, self._reader, self._leaving):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)
        self._lost.set()
        self._share.close()
        if self._running is not None:  # not the last one that came, where requests were sent ahead
            self._running.disconnected = True
            self._running.message_event.set()
