"""Many tasks in one request: a JSON array or a stream of JSON lines in, a stream of JSON lines with verdicts out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

from selftaught.sandbox import records
from selftaught.sandbox.judging import Checked
from selftaught.sandbox.server import models
from selftaught.sandbox.server.admission import Admission
from selftaught.sandbox.server.body import Stream
from selftaught.sandbox.server.exchange import Gone, encode
from selftaught.sandbox.stream import AsyncStream, Cancel, Done
from selftaught.sandbox.task import Limits
from selftaught.sandbox.validation import check_task
from selftaught.sandbox.verdict import Status, Verdict

WINDOW = 64
"""The most pending tasks of one batch, for each worker."""

Item = Checked | Verdict
"""A valid task, or the verdict on an invalid item."""


def item(fields: Any, ceiling: Limits) -> Item:
    """Return the task in one element of a batch, or the verdict `invalid`."""
    try:
        return check_task(models.task(fields, ceiling))
    except ValueError as error:
        ident = fields.get("id", "") if isinstance(fields, dict) else ""
        return Verdict(str(ident) if isinstance(ident, (str, int)) else "", Status.INVALID, message=str(error))


Source = AsyncIterator[tuple[Item, int]]
"""Items, each with the bytes that stay counted as used memory until its verdict was sent."""


async def elements(text: str, ceiling: Limits) -> Source:
    """Yield the items of a JSON array."""
    for value in models.elements(text):
        yield item(value, ceiling), 0


async def lines(stream: Stream, most: int, ceiling: Limits) -> Source:
    """Yield the items of a stream of JSON lines, of any length. A line over `most` bytes is invalid."""
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
                stream.release(size)
        rest += tail
        if skipping or len(rest) > most:
            skipping = True
            stream.release(len(rest))
            rest.clear()


def _read(line: bytes, ceiling: Limits) -> Item:
    try:
        fields = records.parse(line)
    except ValueError as error:
        return Verdict("", Status.INVALID, message=f"not JSON: {error}")
    return item(fields, ceiling)


class Batch:
    """The tasks of one request. At most a window of them is pending, so that an endless stream needs constant memory.

    Duplicates are judged once, as in `Verifier.verify_many`, and occupy one slot.

    Args:
        admission: Admits the tasks.
        items: The tasks.
        lost: Set when the connection is lost.
        ordered: See `Verifier.verify_many`.
        repeat: See `Verifier.verify_many`.
        on_sent: Called with the bytes of items whose verdicts were sent.
    """

    def __init__(
        self,
        admission: Admission,
        items: Source,
        lost: asyncio.Event,
        ordered: bool,
        repeat: int,
        on_sent: Callable[[int], None] = lambda size: None,
    ) -> None:
        self._admission, self._lost, self._repeat, self._on_sent = admission, lost, repeat, on_sent
        self._taken, self._sizes = 0, dict[int, int]()
        window = WINDOW * admission.verifier.workers
        self._stream = AsyncStream(
            items, self._check, self._submit, window, ordered, on_duplicate=admission.count_duplicate
        )

    async def answer(self) -> AsyncGenerator[bytes, None]:
        """Yield the lines of the response, several at a time. Leaving cancels the unfinished tasks. Raises Gone."""
        closing, leaving = asyncio.create_task(self._admission.draining.wait()), asyncio.create_task(self._lost.wait())
        try:
            async with self._stream as stream:
                closing.add_done_callback(lambda _: stream.stop())  # a server that shuts down admits no more tasks
                leaving.add_done_callback(lambda _: stream.fail(Gone()))
                while await stream.wait():
                    found = [stream.pop() for _ in range(stream.due)]
                    yield b"".join([_line(*each) for each in found])
                    self._on_sent(sum(self._sizes.pop(number) for number, _ in found))
        finally:
            closing.cancel()
            leaving.cancel()

    def _check(self, found: tuple[Item, int]) -> Item:
        """Return the item and record its size. The stream calls this once for each, in order."""
        each, self._sizes[self._taken] = found
        self._taken += 1
        return each

    async def _submit(self, task: Checked, done: Done) -> Cancel:
        await self._admission.wait_for_slot()
        return self._admission.submit(task, done, self._repeat)


def _line(index: int, verdict: Verdict) -> bytes:
    return b'{"index":%d,%b\n' % (index, encode(verdict)[1:])
