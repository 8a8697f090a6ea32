"""Answers to clients that take silence for a wrong answer: blanks come until the answer does, however long that takes.

JSON allows blanks before a value, and HTTP clients measure their timeouts from one piece of a response to the next. So
load costs such clients time, and no answer. A status that was sent can't be taken back: what goes wrong after the first
blank is told as after a refusal, in a body with `detail` and `retryable`, but with status 200.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, Protocol

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from selftaught.sandbox.server.admission import Admission, Item, Result
from selftaught.sandbox.server.exchange import Gone, Refused, reply

BEAT_SECONDS = 2.0
"""Between two blanks. NeMo-Skills' client gives up after 5 s of silence at the earliest, open-instruct's after 30 s."""

LEAST_PATIENCE_SECONDS = 4.0
"""So long these clients wait for the first byte at least."""

TRIES = 3
"""Maximum number of times that an item is judged, if the server failed to."""

_LONGEST_SECONDS = 86_400.0
_AT_A_TIME = 2
"""Items of one request that are submitted at a time, for each worker."""


class Work(Protocol):
    """What a request asks for."""

    @property
    def items(self) -> Sequence[Item]:
        """What is judged or run."""

    @property
    def unpacked_bytes(self) -> int:
        """The size of what came compressed."""

    def response(self, found: list[Any]) -> Any:
        """Return the response to the verdicts or runs of all items."""


async def results(admission: Admission, items: Sequence[Item], lost: asyncio.Event) -> list[Any]:
    """Return the verdicts or runs of all items of a request, in order, however many tasks wait already.

    Raises:
        Refused: The server failed to judge one `TRIES` times, or shuts down.
        Gone: The connection was lost first.
    """
    gate = asyncio.Semaphore(_AT_A_TIME * admission.verifier.workers)

    async def judged(item: Item) -> Result:
        async with gate:
            return await _judged(admission, item, lost)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(judged(item)) for item in items]
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]


async def _judged(admission: Admission, item: Item, lost: asyncio.Event) -> Result:
    for _ in range(TRIES):
        found: Result = await admission.serve(item, lost, _LONGEST_SECONDS)
        if not found.retryable:
            return found
    raise Refused(503, found.message or "the server failed: send it again", retry_after=1)


async def respond(content: Coroutine[Any, Any, bytes]) -> Response:
    """Return a response with this JSON, which begins with blanks if the JSON is not there soon.

    Raises:
        Refused, Gone: The coroutine raised it soon.
    """
    task = asyncio.ensure_future(content)
    try:
        done, _ = await asyncio.wait({task}, timeout=BEAT_SECONDS)
    except asyncio.CancelledError:
        task.cancel()
        raise
    return reply(task.result()) if done else _Late(task)


class _Late(Response):
    """A response whose content is not there yet."""

    def __init__(self, content: asyncio.Future[bytes]) -> None:
        self._content = content

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"application/json")]
        try:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            while not self._content.done():
                await send({"type": "http.response.body", "body": b" ", "more_body": True})
                await asyncio.wait({self._content}, timeout=BEAT_SECONDS)
            body = self._content.result()
        except Refused as refusal:
            body = refusal.body()
        except Gone:
            return
        finally:
            self._content.cancel()
        await send({"type": "http.response.body", "body": body})
