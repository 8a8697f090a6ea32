"""Bodies of requests, within limits of size, time and memory: read whole, or read ahead of their use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, MutableMapping
from typing import Any

from selftaught.sandbox.server.exchange import Gone, Receive, Refused, too_large
from selftaught.sandbox.server.memory import Share

LEAST_RATE = 16 << 10
"""Bytes a second: what is large may take longer, but must not be slower than this."""

ALTOGETHER = 3
"""How many times the patience may be spent on one body or line, besides."""

IDLE = 60
"""How many times the patience a stream may lie idle, with no task under way."""

_PIECE = 64 << 10
"""Bytes of a stream that are worked on at a time: other connections get their turn in between."""

_LOOK_SECONDS = 0.05


class Pace:
    """How slowly a client may send one thing: no pause above the patience, three times that altogether, and more for what is large.

    Only the time counts in which we wait for the client.
    """

    def __init__(self, patience_seconds: float) -> None:
        self.patience_seconds = patience_seconds
        self.restart(0)

    def restart(self, size: int) -> None:
        """Something new has begun, and so many bytes of it have come."""
        self._size, self._waited = size, 0.0

    def came(self, size: int, waited_seconds: float) -> None:
        """So many more bytes have come, after so long."""
        self._size += size
        self._waited += waited_seconds

    @property
    def left_seconds(self) -> float:
        """How long the next bytes may take."""
        altogether = ALTOGETHER * self.patience_seconds + self._size / LEAST_RATE
        return min(self.patience_seconds, altogether - self._waited)


async def read_whole(receive: Receive, most: int, pace: Pace, share: Share) -> bytes:
    """The whole body, held by the share. Raises Refused if it is too large or too slow or finds no room, Gone if the client leaves."""
    body, more, clock = bytearray(), True, asyncio.get_running_loop().time
    while more:
        asked = clock()
        try:
            message = await _next(receive, pace.left_seconds)
        except TimeoutError:
            raise Refused(408, "the request came too slowly: send all of it at once", close=True) from None
        part, more = message.get("body", b""), message.get("more_body", False)
        pace.came(len(part), clock() - asked)
        if len(body) + len(part) > most:
            raise too_large(most)
        share.grow(len(part))
        body += part
    return bytes(body)


async def _next(receive: Receive, within_seconds: float) -> MutableMapping[str, Any]:
    """The next part of a request. Raises TimeoutError, or Gone if the client has left."""
    async with asyncio.timeout(within_seconds):
        message = await receive()
    if message["type"] == "http.disconnect":
        raise Gone
    return message


class Stream:
    """A body of lines that is read ahead, up to `most` bytes: so a client may send all of it before it reads an answer.

    A line that comes too slowly, or finds no room, ends the stream before it, and so does a long time with nothing under way. The share
    holds all bytes that have come until `answered`.
    """

    def __init__(self, receive: Receive, most: int, pace: Pace, share: Share) -> None:
        self._receive, self._most, self._pace, self._share = receive, most, pace, share
        self._held = bytearray()
        self._open = 0  # bytes of the line that has not come to its end
        self._news, self._room = asyncio.Event(), asyncio.Event()
        self._ended = False
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            while await self._read_on():
                await self._wait_for_room()
            self._share.resize(self._share.size + 1)
            self._held += b"\n"
        except (TimeoutError, Refused, Gone):
            pass
        self._ended = True
        self._news.set()

    async def _read_on(self) -> bool:
        """Take in what comes next; says whether there may be more. Raises TimeoutError, Refused or Gone."""
        clock = asyncio.get_running_loop().time
        asked = clock()
        message = await self._wait_for_more()
        part: bytes = message.get("body", b"")
        await self._hold(len(part))
        rest = len(part) - 1 - part.rfind(b"\n")
        if rest < len(part) or not self._open:
            self._open = rest
            self._pace.restart(rest)
        else:
            self._open += rest
            self._pace.came(rest, clock() - asked)
        self._held += part
        self._news.set()
        return bool(message.get("more_body", False))

    async def _wait_for_more(self) -> MutableMapping[str, Any]:
        while True:
            try:
                return await _next(
                    self._receive, self._pace.left_seconds if self._open else IDLE * self._pace.patience_seconds
                )
            except TimeoutError:
                if self._open or not self._share.size:
                    raise

    async def _hold(self, size: int) -> None:
        """Find room for what has come: that of our own lines that are under way will be free, that of others perhaps. Raises Refused."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + ALTOGETHER * self._pace.patience_seconds
        while not self._lines_under_way():
            try:
                self._share.grow(size)
                return
            except Refused:
                if clock() > deadline:
                    raise
                await asyncio.sleep(_LOOK_SECONDS)
        self._share.resize(self._share.size + size)

    async def _wait_for_room(self) -> None:
        """Where memory is scarce nothing is read as long as lines of our own are under way, whose room will be free."""
        while len(self._held) > self._most or (self._share.memory.scarce and self._lines_under_way()):
            self._room.clear()
            await self._room.wait()

    def _lines_under_way(self) -> bool:
        return self._share.size > self._open

    async def parts(self) -> AsyncIterator[bytes]:
        """The body as it comes, with a newline after its end. What comes of a last line that was not waited for has none."""
        try:
            while self._held or not self._ended:
                while self._held:
                    part = bytes(self._held[:_PIECE])
                    del self._held[:_PIECE]
                    self._room.set()
                    yield part
                    await asyncio.sleep(0)
                if not self._ended:
                    await self._news.wait()
                    self._news.clear()
        finally:
            if not self._ended:
                self._reading.cancel()

    def answered(self, size: int) -> None:
        """So many bytes need not be held any more."""
        self._share.shrink(size)
        self._room.set()

    def close(self) -> None:
        """Read no more."""
        self._reading.cancel()
