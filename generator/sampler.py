"""Samples a model in a thread of its own, and stores completions until their wave is complete."""

from __future__ import annotations

import asyncio
import hashlib
import heapq
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from selftaught.generator.example import Sampling
from selftaught.generator.folder import Folder
from selftaught.generator.models import Completer, ModelFailed, chats, known
from selftaught.generator.prompts import Prompt, Unindented


class Sampler:
    """Makes one call of the model at a time, those of older waves first.

    Attributes:
        busy: Seconds that the model has worked.
        refused: Number of prompts that the model refused, and the reason for the last one.
    """

    def __init__(self, model: Completer, folder: Folder, top_p: float, top_k: int = 0) -> None:
        self._model, self._folder, self._top_p, self._top_k = model, folder, top_p, top_k
        if top_k and not known(model, top_k=top_k):
            raise ModelFailed(f"{model.name} can't sample from the likeliest tokens: --set top_k=0")
        self._pool = ThreadPoolExecutor(1, "sampler")
        self._stop = _Stop(chats(model))
        self._lock = _PriorityLock()
        self.busy, self.refused = 0.0, (0, "")

    def origin(self, prompt: Prompt, new_tokens: int, temperature: float, seed: int, attempt: int) -> Sampling:
        """Return the record of how a sample of a call was drawn."""
        hashed = hashlib.sha256(prompt.text.encode("utf-8", "surrogatepass")).hexdigest()
        drawn = (temperature, self._top_p, new_tokens, seed, attempt)
        return Sampling(self._model.name, self._model.digest, hashed, *drawn, list(prompt.parents), self._top_k)

    async def call(
        self,
        wave: int,
        name: str,
        prompts: Sequence[Prompt],
        samples: int,
        new_tokens: int,
        temperature: float,
        seed: int,
    ) -> AsyncIterator[tuple[int, list[str]]]:
        """Sample completions of prompts, or yield those that the folder has stored for the same request.

        Args:
            wave: Number of the wave.
            name: Name of the call within the wave.
            prompts: The prompts.
            samples: Number of completions of each prompt.
            new_tokens: Maximum number of tokens of a completion.
            temperature: Sampling temperature.
            seed: Random seed.

        Yields:
            The index of a prompt with its completions, which end at the first line that isn't indented or later. A
            prompt that the model refuses has none.

        Raises:
            ModelFailed: The model can't be used.
        """
        texts = [prompt.text for prompt in prompts]
        settings = {"max_new_tokens": new_tokens, "temperature": temperature, "top_p": self._top_p, "seed": seed}
        if self._top_k:
            settings["top_k"] = self._top_k
        identity = repr((self._model.name, self._model.digest, texts, samples, settings)).encode("utf-8", "replace")
        asked = hashlib.sha256(identity).hexdigest()
        cached = self._folder.load_call(wave, name, asked)
        if cached is not None:
            for number, found in enumerate(cached):
                yield number, found
            return
        answers: dict[int, list[str]] = {}
        await self._lock.acquire(wave)
        try:
            async for number, found in self._ask(texts, samples, settings):
                answers[number] = [text.encode("utf-8", "replace").decode() for text in found]
                yield number, answers[number]
        finally:
            self._lock.release()
        self._folder.save_call(wave, name, asked, [answers[number] for number in range(len(prompts))])

    async def _ask(
        self, texts: list[str], samples: int, settings: dict[str, Any]
    ) -> AsyncIterator[tuple[int, list[str]]]:
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[tuple[int, list[str]] | None] = asyncio.Queue(len(texts) + 1)

        refused: list[int] = []

        def refuse(number: int, reason: str) -> None:
            refused.append(number)
            self.refused = self.refused[0] + 1, reason

        def work() -> None:
            started = time.perf_counter()
            try:
                options = settings | known(self._model, on_refusal=refuse)
                for answer in self._model.complete(texts, samples=samples, stop=self._stop, **options):
                    if self._stop.now:
                        return
                    loop.call_soon_threadsafe(queue.put_nowait, answer)
            finally:
                self.busy += time.perf_counter() - started
                loop.call_soon_threadsafe(queue.put_nowait, None)

        future = loop.run_in_executor(self._pool, work)
        while (answer := await queue.get()) is not None:
            yield answer
        await future  # raises the model's exception
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
        await waiter

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
