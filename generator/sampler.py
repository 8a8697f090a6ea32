"""Asks a model in a thread of its own, and remembers what it said until it isn't needed any more."""

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
from selftaught.generator.models import Completer
from selftaught.generator.prompts import Prompt, Unindented


class Sampler:
    """One call of the model at a time, older waves first; answers come prompt by prompt.

    busy: seconds that the model has worked.
    """

    def __init__(self, model: Completer, folder: Folder, top_p: float) -> None:
        self._model, self._folder, self._top_p = model, folder, top_p
        self._pool = ThreadPoolExecutor(1, "sampling")
        self._stop = _Stop()
        self._turns = _Turns()
        self.busy = 0.0

    def origin(self, prompt: Prompt, new_tokens: int, temperature: float, seed: int, attempt: int) -> Sampling:
        """How a sample of a call was drawn."""
        hashed = hashlib.sha256(prompt.text.encode("utf-8", "surrogatepass")).hexdigest()
        drawn = (temperature, self._top_p, new_tokens, seed, attempt)
        return Sampling(self._model.name, self._model.digest, hashed, *drawn, list(prompt.parents))

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
        """Every prompt's number with its samples, cut at the first line that isn't indented; not asked again if the folder knows the
        answer. Raises ModelFailed."""
        texts = [prompt.text for prompt in prompts]
        settings = {"max_new_tokens": new_tokens, "temperature": temperature, "top_p": self._top_p, "seed": seed}
        identity = repr((self._model.name, self._model.digest, texts, samples, settings)).encode("utf-8", "replace")
        asked = hashlib.sha256(identity).hexdigest()
        told = self._folder.load_call(wave, name, asked)
        if told is not None:
            for number, found in enumerate(told):
                yield number, found
            return
        said: dict[int, list[str]] = {}
        await self._turns.take(wave)
        try:
            async for number, found in self._ask(texts, samples, settings):
                said[number] = [text.encode("utf-8", "replace").decode() for text in found]
                yield number, said[number]
        finally:
            self._turns.give()
        self._folder.save_call(wave, name, asked, [said[number] for number in range(len(prompts))])

    async def _ask(
        self, texts: list[str], samples: int, settings: dict[str, Any]
    ) -> AsyncIterator[tuple[int, list[str]]]:
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[tuple[int, list[str]] | None] = asyncio.Queue(len(texts) + 1)

        def work() -> None:
            started = time.perf_counter()
            try:
                for answer in self._model.complete(texts, samples=samples, stop=self._stop, **settings):
                    if self._stop.now:
                        return
                    loop.call_soon_threadsafe(queue.put_nowait, answer)
            finally:
                self.busy += time.perf_counter() - started
                loop.call_soon_threadsafe(queue.put_nowait, None)

        future = loop.run_in_executor(self._pool, work)
        while (answer := await queue.get()) is not None:
            yield answer
        await future  # raises what the model raised
        if self._stop.now:
            raise asyncio.CancelledError

    def close(self) -> None:
        """End what the model is writing, and the thread."""
        self._stop.now = True
        self._pool.shutdown(cancel_futures=True)


class _Turns:
    """Whose turn it is to ask the model: the oldest wave's."""

    def __init__(self) -> None:
        self._taken = False
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._came = 0

    async def take(self, wave: int) -> None:
        """Wait for a turn."""
        if not self._taken:
            self._taken = True
            return
        turn = asyncio.get_running_loop().create_future()
        self._came += 1
        heapq.heappush(self._waiting, (wave, self._came, turn))
        await turn

    def give(self) -> None:
        """End a turn."""
        while self._waiting:
            turn = heapq.heappop(self._waiting)[2]
            if not turn.done():
                turn.set_result(None)
                return
        self._taken = False


class _Stop(Unindented):
    """Stops a completion where `Unindented` does, and all of them when nobody waits any more."""

    now = False

    def __call__(self, text: str) -> bool:
        return self.now or super().__call__(text)
