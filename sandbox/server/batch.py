"""Many tasks in one request: a JSON array or a stream of JSON lines in, a stream of JSON lines out as verdicts come."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from sandbox import records
from sandbox.server import models
from sandbox.server.desk import Desk, departure
from sandbox.server.exchange import Gone, Receive, chunks, encode
from sandbox.stream import AsyncStream, Cancel, Done
from sandbox.task import Limits, Task
from sandbox.verdict import Status, Verdict

WINDOW = 64
"""Tasks of one batch under way, for each worker."""

Item = Task | Verdict
"""A task, or the verdict on what is none."""


def item(fields: Any, ceiling: Limits) -> Item:
    """What one element of a batch asks for."""
    try:
        return models.task(fields, ceiling)
    except ValueError as error:
        ident = fields.get("id", "") if isinstance(fields, dict) else ""
        return Verdict(str(ident) if isinstance(ident, (str, int)) else "", Status.INVALID, message=str(error))


async def elements(values: list[Any], ceiling: Limits) -> AsyncIterator[Item]:
    """The items of an array."""
    for value in values:
        yield item(value, ceiling)


class Body:
    """A request's body that is read ahead, up to `most` bytes: so a client may send all of it before it reads an answer.

    After its end it is watched for the client's leaving.
    """

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive, self._most = receive, most
        self._held: deque[bytes] = deque()
        self._size = 0
        self._news, self._room, self.gone = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._ended = False
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            async for part in chunks(self._receive, None):
                self._held.append(part)
                self._size += len(part)
                self._news.set()
                while self._size > self._most:
                    self._room.clear()
                    await self._room.wait()
            self._ended = True
            self._news.set()
            await departure(self._receive)
        except Gone:
            pass
        self.gone.set()

    async def parts(self) -> AsyncIterator[bytes]:
        """The body, with a newline after its end."""
        try:
            while self._held or not self._ended:
                while self._held:
                    part = self._held.popleft()
                    self._size -= len(part)
                    self._room.set()
                    yield part
                if not self._ended:
                    await self._news.wait()
                    self._news.clear()
            yield b"\n"
        finally:
            if not self._ended:
                self._reading.cancel()

    def close(self) -> None:
        """Read no more."""
        self._reading.cancel()


async def lines(body: Body, most: int, ceiling: Limits) -> AsyncIterator[Item]:
    """The items of a stream of JSON lines, of any length. A line over `most` bytes is invalid, and the rest is read on."""
    rest, skipping = bytearray(), False
    async for data in body.parts():
        rest += data
        *whole, tail = rest.split(b"\n")
        for line in whole:
            if skipping or len(line) > most:
                skipping = False
                yield Verdict("", Status.INVALID, message=f"the line is longer than {most:,} bytes")
            elif line.strip():
                yield _read(bytes(line), ceiling)
        rest = tail
        if len(rest) > most:
            skipping = True
            rest.clear()


def _read(line: bytes, ceiling: Limits) -> Item:
    try:
        fields = records.parse(line)
    except ValueError as error:
        return Verdict("", Status.INVALID, message=f"not JSON: {error}")
    return item(fields, ceiling)


class Batch:
    """The tasks of one request. At most a window of them is under way, so that an endless stream takes constant memory.

    Identical ones are judged once, as in `Verifier.verify_many`, and take one place.
    """

    def __init__(
        self, desk: Desk, items: AsyncIterator[Item], gone: Coroutine[Any, Any, object], ordered: bool, repeat: int
    ) -> None:
        self._desk, self._gone, self._repeat = desk, gone, repeat
        window = WINDOW * desk.judge.workers
        self._stream = AsyncStream(items, _as_it_is, self._submit, window, ordered, copied=desk.count)

    async def answer(self) -> AsyncIterator[bytes]:
        """The lines of the response, several at a time. Leaving cancels what has not been judged. Raises Gone."""
        closing, leaving = asyncio.create_task(self._desk.draining.wait()), asyncio.create_task(self._gone)
        try:
            async with self._stream as stream:
                closing.add_done_callback(lambda _: stream.stop())  # at the server's end nothing more is taken in
                leaving.add_done_callback(lambda _: stream.fail(Gone()))
                while await stream.wait():
                    yield b"".join([_line(*stream.give()) for _ in range(stream.due)])
        finally:
            closing.cancel()
            leaving.cancel()

    async def _submit(self, task: Task, done: Done) -> Cancel:
        await self._desk.wait_for_place()
        return self._desk.submit(task, done, self._repeat)


def _as_it_is(item: Item) -> Item:
    """A stream's Check for what `item` has checked."""
    return item


def _line(index: int, verdict: Verdict) -> bytes:
    return b'{"index":%d,%b\n' % (index, encode(verdict)[1:])
