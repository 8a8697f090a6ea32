"""Many tasks in one request: a JSON array or a stream of JSON lines in, a stream of JSON lines out as verdicts come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

from selftaught.sandbox import records
from selftaught.sandbox.server import models
from selftaught.sandbox.server.admission import Admission
from selftaught.sandbox.server.body import Stream
from selftaught.sandbox.server.exchange import Gone, encode
from selftaught.sandbox.stream import AsyncStream, Cancel, Done
from selftaught.sandbox.task import Limits, Task
from selftaught.sandbox.verdict import Status, Verdict

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


Source = AsyncIterator[tuple[Item, int]]
"""Items, each with the bytes that are held until its verdict has been handed over."""


async def elements(text: str, ceiling: Limits) -> Source:
    """The items of an array."""
    for value in models.elements(text):
        yield item(value, ceiling), 0


async def lines(stream: Stream, most: int, ceiling: Limits) -> Source:
    """The items of a stream of JSON lines, of any length. A line over `most` bytes is invalid, and the rest is read on."""
    rest, skipping = bytearray(), False
    async for data in stream.parts():
        *ends, tail = data.split(b"\n")
        for end in ends:
            rest += end
            line, size = bytes(rest), len(rest) + 1
            rest.clear()
            if skipping or len(line) > most:
                skipping = False
                yield Verdict("", Status.INVALID, message=f"the line is longer than {most:,} bytes"), size
            elif line.strip():
                yield _read(line, ceiling), size
            else:
                stream.answered(size)
        rest += tail
        if skipping or len(rest) > most:
            skipping = True
            stream.answered(len(rest))
            rest.clear()


def _read(line: bytes, ceiling: Limits) -> Item:
    try:
        fields = records.parse(line)
    except ValueError as error:
        return Verdict("", Status.INVALID, message=f"not JSON: {error}")
    return item(fields, ceiling)


class Batch:
    """The tasks of one request. At most a window of them is under way, so that an endless stream takes constant memory.

    Identical ones are judged once, as in `Verifier.verify_many`, and take one place. lost: the connection is. answered: told of bytes that
    need not be held any more.
    """

    def __init__(
        self,
        admission: Admission,
        items: Source,
        lost: asyncio.Event,
        ordered: bool,
        repeat: int,
        answered: Callable[[int], None] = lambda size: None,
    ) -> None:
        self._admission, self._lost, self._repeat, self._answered = admission, lost, repeat, answered
        self._taken, self._sizes = 0, dict[int, int]()
        window = WINDOW * admission.judge.workers
        self._stream = AsyncStream(items, self._note, self._submit, window, ordered, on_duplicate=admission.count)

    async def answer(self) -> AsyncGenerator[bytes, None]:
        """The lines of the response, several at a time. Leaving cancels what has not been judged. Raises Gone."""
        closing, leaving = asyncio.create_task(self._admission.draining.wait()), asyncio.create_task(self._lost.wait())
        try:
            async with self._stream as stream:
                closing.add_done_callback(lambda _: stream.stop())  # at the server's end nothing more is taken in
                leaving.add_done_callback(lambda _: stream.fail(Gone()))
                while await stream.wait():
                    found = [stream.pop() for _ in range(stream.due)]
                    yield b"".join([_line(*each) for each in found])
                    self._answered(sum(self._sizes.pop(number) for number, _ in found))
        finally:
            closing.cancel()
            leaving.cancel()

    def _note(self, found: tuple[Item, int]) -> Item:
        """A stream's Check, called once for each item in turn: `item` has checked it already."""
        each, self._sizes[self._taken] = found
        self._taken += 1
        return each

    async def _submit(self, task: Task, done: Done) -> Cancel:
        await self._admission.wait_for_place()
        return self._admission.submit(task, done, self._repeat)


def _line(index: int, verdict: Verdict) -> bytes:
    return b'{"index":%d,%b\n' % (index, encode(verdict)[1:])
