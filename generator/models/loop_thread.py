"""An event loop in a thread of its own, for callers of any thread or loop."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """An event loop that ends when nobody refers to it any more.

    Args:
        on_end: Awaited in the loop before it ends. It must not refer to the loop thread.

    Attributes:
        close: Cancels what runs, and ends the thread.
    """

    def __init__(self, on_end: Callable[[], Awaitable[None]]) -> None:
        self._loop = asyncio.new_event_loop()
        thread = threading.Thread(target=self._loop.run_forever, name="requests", daemon=True)
        thread.start()
        self.close = weakref.finalize(self, _end, self._loop, thread, on_end)

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine in the loop, and return its future."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def call(self, function: Callable[[], object]) -> None:
        """Call a function in the loop, some time soon."""
        self._loop.call_soon_threadsafe(function)

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop, and return its result. Not from the loop itself."""
        future = self.start(work)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise


def _end(loop: asyncio.AbstractEventLoop, thread: threading.Thread, on_end: Callable[[], Awaitable[None]]) -> None:
    async def end() -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await on_end()
        loop.stop()

    asyncio.run_coroutine_threadsafe(end(), loop)
    if threading.current_thread() is not thread:  # the garbage collector runs in any thread
        thread.join(5)
        if not thread.is_alive():
            loop.close()
