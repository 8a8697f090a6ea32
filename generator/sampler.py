"""Samples a model, and stores completions until their wave is complete."""

from __future__ import annotations

import asyncio
import hashlib
import heapq
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from selftaught.generator.calls import Calls
from selftaught.generator.example import Sampling
from selftaught.generator.models import (
    Completer,
    ConcurrentCompleter,
    Conversation,
    ModelFailed,
    Refused,
    chats,
    encodable,
    known,
)
from selftaught.generator.prompts import Prompt, Unindented


@dataclass(frozen=True, slots=True)
class Drawing:
    """How completions are drawn: number for each prompt, maximum of new tokens, temperature, random seed."""

    samples: int
    new_tokens: int
    temperature: float
    seed: int


class Sampler:
    """Asks a model. A local one gets one call at a time, those of older waves first; of one that answers prompts
    concurrently all calls are under way at once, each prompt by itself.

    Args:
        model: The model.
        top_p: Nucleus sampling threshold.
        top_k: Number of likeliest tokens that are sampled from (0: all).
        beside: The sampler of another model: two local ones work in turn, since they share processors or devices.

    Attributes:
        outstanding: Number of prompts, or of calls of a local model, that are not answered.
        busy: Seconds that the model has worked.
        refused: Number of prompts that the model refused, and the reason for the last one.
    """

    def __init__(self, model: Completer, top_p: float, top_k: int = 0, beside: Sampler | None = None) -> None:
        self._model, self._top_p, self._top_k = model, top_p, top_k
        if top_k and not known(model, top_k=top_k):
            raise ModelFailed(f"{model.name} can't sample from the likeliest tokens: --set top_k=0")
        self._concurrent = model if isinstance(model, ConcurrentCompleter) else None
        self._pool = ThreadPoolExecutor(1, "sampler")
        self._stop = _Stop(chats(model))
        self._lock: _PriorityLock = beside._lock if beside else _PriorityLock()
        self.outstanding, self._since = 0, 0.0
        self.busy, self.refused = 0.0, (0, "")

    @property
    def is_concurrent(self) -> bool:
        """True if prompts of one call do not depend on each other."""
        return self._concurrent is not None

    @property
    def has_room(self) -> bool:
        """True if the model would answer more prompts at once than it is asked."""
        return self._concurrent is not None and self.outstanding < self._concurrent.capacity

    def origin(self, prompt: Prompt, drawing: Drawing, attempt: int) -> Sampling:
        """Return the record of how a sample was drawn."""
        drawn = (drawing.temperature, self._top_p, drawing.new_tokens, drawing.seed, attempt)
        return Sampling(self._model.name, self._model.digest, prompt.sha256, *drawn, list(prompt.parents), self._top_k)

    async def call(
        self, wave: int, calls: Calls, prompts: Sequence[Prompt], drawing: Drawing
    ) -> AsyncIterator[tuple[int, list[str]]]:
        """Sample completions of prompts, or yield those that are stored for the same request.

        Args:
            wave: Number of the wave.
            calls: The wave's stored calls.
            prompts: The prompts.
            drawing: How they are drawn.

        Yields:
            The index of a prompt with its completions, which end at the first line that isn't indented or later. A
            prompt that the model refuses has none.

        Raises:
            ModelFailed: The model can't be used.
        """
        if self._concurrent is None:
            async for answer in self._call_together(wave, calls, [one.content for one in prompts], drawing):
                yield answer
            return
        asking = [
            asyncio.ensure_future(self._call_one(wave, calls, number, prompt.content, drawing))
            for number, prompt in enumerate(prompts)
        ]
        for one in asking:
            self._begin()
            one.add_done_callback(self._end)
        try:
            for answered in asyncio.as_completed(asking):
                yield await answered
        finally:
            for one in asking:
                one.cancel()

    async def _call_one(
        self, wave: int, calls: Calls, number: int, content: str | Conversation, drawing: Drawing
    ) -> tuple[int, list[str]]:
        assert self._concurrent is not None
        seed = drawing.seed + 1009 * number
        asked = self._digest([content], drawing, seed)
        cached = calls.take(asked)
        if cached is not None:
            return number, cached[0]
        try:
            texts = await self._concurrent.acomplete(
                content,
                samples=drawing.samples,
                max_new_tokens=drawing.new_tokens,
                temperature=drawing.temperature,
                top_p=self._top_p,
                top_k=self._top_k,
                stop=self._stop,
                seed=seed,
                priority=wave,
            )
            texts = list(map(encodable, texts))
        except Refused as error:
            self.refused = self.refused[0] + 1, str(error)
            texts = []
        calls.add(asked, [texts])
        return number, texts

    async def _call_together(
        self, wave: int, calls: Calls, contents: list[str | Conversation], drawing: Drawing
    ) -> AsyncIterator[tuple[int, list[str]]]:
        asked = self._digest(contents, drawing, drawing.seed)
        cached = calls.take(asked)
        if cached is not None:
            for number, found in enumerate(cached):
                yield number, found
            return
        answers: dict[int, list[str]] = {}
        await self._lock.acquire(wave)
        try:
            async for number, found in self._ask(contents, drawing):
                answers[number] = list(map(encodable, found))
                yield number, answers[number]
        finally:
            self._lock.release()
        calls.add(asked, [answers[number] for number in range(len(contents))])

    def _digest(self, contents: list[str | Conversation], drawing: Drawing, seed: int) -> str:
        """Return a digest of a call."""
        drawn = (drawing.samples, drawing.new_tokens, drawing.temperature, self._top_p, self._top_k, seed)
        identity = repr((self._model.name, self._model.digest, contents, drawn)).encode("utf-8", "replace")
        return hashlib.sha256(identity).hexdigest()

    def _begin(self) -> None:
        if not self.outstanding:
            self._since = time.perf_counter()
        self.outstanding += 1

    def _end(self, *_: object) -> None:
        self.outstanding -= 1
        if not self.outstanding:
            self.busy += time.perf_counter() - self._since

    async def _ask(self, contents: list[str | Conversation], drawing: Drawing) -> AsyncIterator[tuple[int, list[str]]]:
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[tuple[int, list[str]] | None] = asyncio.Queue(len(contents) + 1)
        refused: list[int] = []

        def refuse(number: int, reason: str) -> None:
            refused.append(number)
            self.refused = self.refused[0] + 1, reason

        def work() -> None:
            options: dict[str, Any] = {
                "max_new_tokens": drawing.new_tokens,
                "temperature": drawing.temperature,
                "top_p": self._top_p,
                "seed": drawing.seed,
                **({"top_k": self._top_k} if self._top_k else {}),
                **known(self._model, on_refusal=refuse),
            }
            try:
                answers = self._model.complete(contents, samples=drawing.samples, stop=self._stop, **options)
                for answer in answers:
                    if self._stop.now:
                        return
                    loop.call_soon_threadsafe(queue.put_nowait, answer)
            finally:
                loop.call_soon_threadsafe(queue.put_nowait, None)

        self._begin()
        try:
            future = loop.run_in_executor(self._pool, work)
            while (answer := await queue.get()) is not None:
                yield answer
            await future  # raises the model's exception
        finally:
            self._end()
        for number in refused:
            yield number, []
        if self._stop.now:
            raise asyncio.CancelledError

    def close(self) -> None:
        """Stop the call that is running, and the thread."""
        self._stop.now = True
        self._pool.shutdown(cancel_futures=True)


class _PriorityLock:
    """A lock that the oldest waiting wave gets first."""

    def __init__(self) -> None:
        self._taken = False
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._count = 0

    async def acquire(self, wave: int) -> None:
        """Wait for the lock."""
        if not self._taken:
            self._taken = True
            return
        waiter = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._waiting, (wave, self._count, waiter))
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():  # it was given the lock just before
                self.release()
            raise

    def release(self) -> None:
        """Release the lock."""
        while self._waiting:
            waiter = heapq.heappop(self._waiting)[2]
            if not waiter.done():
                waiter.set_result(None)
                return
        self._taken = False


class _Stop(Unindented):
    """Stops a completion where `Unindented` does, unless it is an answer in a chat, and every one after `now` is
    set."""

    now = False

    def __init__(self, chat: bool) -> None:
        self._chat = chat
        if chat:
            self.strings = ()

    def __call__(self, text: str) -> bool:
        return self.now or (not self._chat and super().__call__(text))
