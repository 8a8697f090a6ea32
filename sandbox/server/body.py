"""Read bodies of requests within limits of size, time and memory: whole, or as a stream with read-ahead."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, MutableMapping
from typing import Any

from selftaught.sandbox.server.exchange import Gone, Receive, Refused, too_large
from selftaught.sandbox.server.memory import Share

MIN_RATE = 16 << 10
"""Bytes per second: a large body may take so much longer."""

TOTAL_FACTOR = 3
"""One body or line may take so many times `patience_seconds`, plus the time by `MIN_RATE`."""

IDLE_FACTOR = 60
"""A stream without pending tasks may be idle for so many times `patience_seconds`."""

_PIECE = 64 << 10
"""Bytes of a stream that are processed at a time, so that other connections are served in between."""

_POLL_SECONDS = 0.05


class Pace:
    """The timeouts for one body or line: for each pause, and for all pauses together.

    Only the time in which the server waits for the client counts.

    Args:
        patience_seconds: The longest pause. The total is `TOTAL_FACTOR` times that, plus the time by `MIN_RATE`.
    """

    def __init__(self, patience_seconds: float) -> None:
        self.patience_seconds = patience_seconds
        self.restart(0)

    def restart(self, size: int) -> None:
        """Start the timeouts for a new body or line, of which so many bytes were received."""
        self._size, self._waited = size, 0.0

    def received(self, size: int, waited_seconds: float) -> None:
        """Record that so many bytes were received after such a pause."""
        self._size += size
        self._waited += waited_seconds

    @property
    def left_seconds(self) -> float:
        """The most time until the next bytes."""
        total = TOTAL_FACTOR * self.patience_seconds + self._size / MIN_RATE
        return min(self.patience_seconds, total - self._waited)


async def read_whole(receive: Receive, most: int, pace: Pace, share: Share, wait_seconds: float = 0.0) -> bytes:
    """Read a whole body.

    Args:
        receive: The ASGI function that returns parts of the request.
        most: The most bytes.
        pace: The timeouts.
        share: Counts the bytes as used memory.
        wait_seconds: Wait so long for memory, before it is refused for want of it.

    Returns:
        The body.

    Raises:
        Refused: It is too large or too slow, or there is no memory.
        Gone: The client left.
    """
    body, more, clock = bytearray(), True, asyncio.get_running_loop().time
    deadline = clock() + wait_seconds
    while share.memory.scarce and clock() < deadline:  # those that have begun come first
        await asyncio.sleep(_POLL_SECONDS)
    while more:
        began = clock()
        try:
            message = await _next(receive, pace.left_seconds)
        except TimeoutError:
            raise Refused(408, "the request came too slowly: send all of it at once", close=True) from None
        part, more = message.get("body", b""), message.get("more_body", False)
        pace.received(len(part), clock() - began)
        if len(body) + len(part) > most:
            raise too_large(most)
        await grow(share, len(part), deadline)
        body += part
    return bytes(body)


async def grow(share: Share, size: int, deadline: float) -> None:
    """Count so many more bytes as used memory; wait for it until the deadline, by the loop's clock. Raises Refused."""
    while True:
        try:
            share.grow(size)
            return
        except Refused:
            if asyncio.get_running_loop().time() >= deadline:
                raise
            await asyncio.sleep(_POLL_SECONDS)


async def _next(receive: Receive, within_seconds: float) -> MutableMapping[str, Any]:
    """Return the next part of a request. Raises TimeoutError, or Gone if the client left."""
    async with asyncio.timeout(within_seconds):
        message = await receive()
    if message["type"] == "http.disconnect":
        raise Gone
    return message


class Stream:
    """A body of lines, with read-ahead: a client may send a long body before it reads any verdict.

    A line that is too slow, or for which there is no memory, ends the stream before it. So does a long time without
    pending tasks.

    Args:
        receive: The ASGI function that returns parts of the request.
        most: The most bytes that are read ahead.
        pace: The timeouts.
        share: Counts all received bytes as used memory until `release`.
    """

    def __init__(self, receive: Receive, most: int, pace: Pace, share: Share) -> None:
        self._receive, self._most, self._pace, self._share = receive, most, pace, share
        self._buffer = bytearray()
        self._open = 0  # bytes of the incomplete last line
        self._changed, self._space = asyncio.Event(), asyncio.Event()
        self._ended = False
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            while await self._read_part():
                await self._wait_for_space()
            self._share.resize(self._share.size + 1)
            self._buffer += b"\n"
        except (TimeoutError, Refused, Gone):
            pass
        self._ended = True
        self._changed.set()

    async def _read_part(self) -> bool:
        """Read the next part; return False after the last. Raises TimeoutError, Refused or Gone."""
        clock = asyncio.get_running_loop().time
        began = clock()
        message = await self._receive_part()
        part: bytes = message.get("body", b"")
        await self._reserve(len(part))
        rest = len(part) - 1 - part.rfind(b"\n")
        if rest < len(part) or not self._open:
            self._open = rest
            self._pace.restart(rest)
        else:
            self._open += rest
            self._pace.received(rest, clock() - began)
        self._buffer += part
        self._changed.set()
        return bool(message.get("more_body", False))

    async def _receive_part(self) -> MutableMapping[str, Any]:
        while True:
            try:
                return await _next(
                    self._receive, self._pace.left_seconds if self._open else IDLE_FACTOR * self._pace.patience_seconds
                )
            except TimeoutError:
                if self._open or not self._share.size:
                    raise

    async def _reserve(self, size: int) -> None:
        """Wait for memory for received bytes, unless pending lines of this stream will free theirs. Raises Refused."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + TOTAL_FACTOR * self._pace.patience_seconds
        while not self._has_pending_lines():
            try:
                await grow(self._share, size, 0.0)
                return
            except Refused:
                if clock() > deadline:
                    raise
                await asyncio.sleep(_POLL_SECONDS)
        self._share.resize(self._share.size + size)

    async def _wait_for_space(self) -> None:
        """Wait until the buffer has space. If memory is scarce, also wait for the pending lines of this stream."""
        while len(self._buffer) > self._most or (self._share.memory.scarce and self._has_pending_lines()):
            self._space.clear()
            await self._space.wait()

    def _has_pending_lines(self) -> bool:
        return self._share.size > self._open

    async def parts(self) -> AsyncIterator[bytes]:
        """Yield the body as it is received, with a newline after its end unless its last line is incomplete."""
        try:
            while self._buffer or not self._ended:
                while self._buffer:
                    part = bytes(self._buffer[:_PIECE])
                    del self._buffer[:_PIECE]
                    self._space.set()
                    yield part
                    await asyncio.sleep(0)
                if not self._ended:
                    await self._changed.wait()
                    self._changed.clear()
        finally:
            if not self._ended:
                self._reading.cancel()

    def release(self, size: int) -> None:
        """Stop counting so many bytes as used memory: their verdicts were sent."""
        self._share.shrink(size)
        self._space.set()

    def close(self) -> None:
        """Stop reading."""
        self._reading.cancel()
