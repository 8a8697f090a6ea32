"""Many tasks through one open request, and through another if that breaks."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from selftaught.sandbox.client.attempts import ATTEMPTS, BROKEN, Busy, Waits, encode
from selftaught.sandbox.errors import ServerRefused
from selftaught.sandbox.judging import Checked
from selftaught.sandbox.records import parse
from selftaught.sandbox.stream import Done
from selftaught.sandbox.validation import check_repeat
from selftaught.sandbox.verdict import Status, Verdict

if TYPE_CHECKING:
    from selftaught.sandbox.client.asynchronous import AsyncClient

LINES = "application/x-ndjson"


@dataclass(slots=True)
class _Pending:
    line: bytes
    id: str
    done: Done
    deadline: float
    attempts: int = 0


class BatchRequest:
    """The tasks of one stream, sent through one request that stays open. Runs in the client's event loop.

    If the request breaks, another one sends all pending tasks again.

    Args:
        client: Whose connections are used.
        repeat: How often each task is judged.

    Raises:
        ValueError: `repeat` is invalid.
    """

    def __init__(self, client: AsyncClient, repeat: int) -> None:
        check_repeat(repeat)
        self._client, self._repeat = client, repeat
        self._added = 0
        self._pending: dict[int, _Pending] = {}
        self._unsent: deque[int] = deque()
        self._changed = asyncio.Event()
        self._ended = False
        self._error: Exception | None = None

    def add(self, task: Checked, done: Done) -> None:
        """Send a task.

        Args:
            task: The task.
            done: Called once with its verdict, or with the exception that ended the request.
        """
        if self._error is not None:
            done(self._error)
            return
        deadline = asyncio.get_running_loop().time() + self._client.deadline_seconds
        self._pending[self._added] = _Pending(encode(task) + b"\n", task.id, done, deadline)
        self._unsent.append(self._added)
        self._added += 1
        self._changed.set()

    def end(self) -> None:
        """Make `drive` return when all tasks have verdicts: there are no more tasks."""
        self._ended = True
        self._changed.set()

    async def drive(self) -> None:
        """Send tasks and receive verdicts until `end` was called and every task has one."""
        waits, reason = Waits(), "it did not answer"
        try:
            while not (self._ended and not self._pending):
                if not self._pending:
                    await self._wait_for_change()
                    continue
                pause = 0.0
                try:
                    await self._request(waits)
                except Busy as busy:
                    pause, reason = busy.seconds, str(busy)
                except BROKEN as error:
                    reason = f"{type(error).__name__}: {error}"
                    if not isinstance(error, TimeoutError):
                        await self._client.reconnect()
                self._expire(reason)
                if self._pending:
                    await waits.wait(pause)
        except Exception as error:
            self._error = error
            for pending in self._pending.values():
                pending.done(error)

    async def _wait_for_change(self) -> None:
        await self._changed.wait()
        self._changed.clear()

    async def _request(self, waits: Waits) -> None:
        """Send one request with all pending tasks and those added later. Returns at its regular end."""
        self._unsent = deque(self._pending)
        sent: list[int] = []
        headers = {"Content-Type": LINES}
        path = f"/v1/verify/batch?order=completion&repeat={self._repeat}"
        first = next(iter(self._pending.values())).deadline
        async with asyncio.timeout_at(first) as timer:
            async with self._client.session().post(path, data=self._lines(sent), headers=headers) as response:
                if problem := await self._client.check(response):
                    raise ServerRefused(f"{self._client.url}: {problem['detail']}")
                rest = b""
                async for data in response.content.iter_any():
                    *lines, rest = (rest + data).split(b"\n")
                    for line in lines:
                        self._receive(sent, line)
                        waits.reset()
                    timer.reschedule(next(iter(self._pending.values())).deadline if self._pending else None)

    async def _lines(self, sent: list[int]) -> AsyncIterator[bytes]:
        """Yield the request's body. It stays open while verdicts are pending: a task may have to be sent again."""
        while self._pending or not self._ended:
            numbers = [number for number in self._unsent if number in self._pending]
            self._unsent.clear()
            if numbers:
                sent += numbers
                yield b"".join(self._pending[number].line for number in numbers)
            else:
                await self._wait_for_change()

    def _receive(self, sent: list[int], line: bytes) -> None:
        """Process a verdict: pass it on, or send its task again."""
        fields = parse(line)
        number = sent[fields.pop("index")]
        if (pending := self._pending.get(number)) is None:
            return
        verdict = replace(Verdict.from_dict(fields), id=pending.id)  # the verdict on a line that was too long has no id
        pending.attempts += verdict.status is Status.INTERNAL_ERROR
        if verdict.retryable and pending.attempts < ATTEMPTS:
            self._unsent.append(number)
        else:
            del self._pending[number]
            pending.done(verdict)
        self._changed.set()

    def _expire(self, reason: str) -> None:
        now = asyncio.get_running_loop().time()
        for number, pending in list(self._pending.items()):
            if pending.deadline <= now:
                del self._pending[number]
                text = f"no verdict from {self._client.url} within {self._client.deadline_seconds:g} s: {reason}"
                pending.done(Verdict(pending.id, Status.INTERNAL_ERROR, message=text, retryable=True))
