"""The lock of a local model: it is given on, whoever waits for it and no longer does."""

from __future__ import annotations

import asyncio

from selftaught.generator.sampler import _PriorityLock


def test_a_call_that_is_cancelled_as_it_gets_its_turn_leaves_it_to_the_next() -> None:
    async def run() -> list[str]:
        lock, got = _PriorityLock(), []

        async def take(name: str, wave: int) -> None:
            await lock.acquire(wave)
            got.append(name)
            lock.release()

        await lock.acquire(0)
        cancelled, other = asyncio.create_task(take("cancelled", 1)), asyncio.create_task(take("other", 2))
        await asyncio.sleep(0)
        lock.release()  # to the first of them
        cancelled.cancel()
        await asyncio.wait([cancelled, other], timeout=5)
        return got

    assert asyncio.run(run()) == ["other"]
