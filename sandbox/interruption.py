"""SIGTERM ends a command in order, as Ctrl-C does, with its own exit code."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Coroutine
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")

INTERRUPTED, TERMINATED = 130, 143
"""Exit codes as in shells: 128 plus the signal's number."""

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Terminated(KeyboardInterrupt):
    """SIGTERM was received."""


def heed_sigterm() -> None:
    """Make SIGTERM raise Terminated in the main thread. Call it from there."""
    signal.signal(signal.SIGTERM, _terminate)


class Signals:
    """A context manager that counts SIGTERM and SIGINT instead of raising.

    The first signal only increases `count`, which the program polls: an exception raised at an arbitrary point can get
    lost, for instance in a destructor. The second raises Terminated in the main thread, in case the program never
    polls. Later signals, and all after the context has ended, do nothing, so that cleaning up is not interrupted.
    """

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> Signals:
        for number in SIGNALS:
            signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # first, or a pending signal would find no handler
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        if self.count == 2:
            raise Terminated


def exit_code(stop: KeyboardInterrupt) -> int:
    """Return the exit code of a command that this interrupted."""
    return TERMINATED if isinstance(stop, Terminated) else INTERRUPTED


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine like `asyncio.run`, but let SIGTERM cancel it.

    SIGTERM's previous handler, if it has one, is called after the loop has ended. If it raised inside the loop, it
    would abort whichever callback it interrupts, and the task that this callback should have woken would wait forever.
    asyncio itself treats SIGINT in the same way.
    """
    import asyncio  # here, since every command imports this module and few need asyncio

    handler = signal.getsignal(signal.SIGTERM)
    if not callable(handler) or threading.current_thread() is not threading.main_thread():
        return asyncio.run(main)
    received = False

    async def cancellable() -> T:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None

        def cancel(number: int, frame: FrameType | None) -> None:
            nonlocal received
            received = True
            task.cancel()
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(lambda: None)  # wakes the loop

        signal.signal(signal.SIGTERM, cancel)
        return await main

    try:
        return asyncio.run(cancellable())
    finally:
        signal.signal(signal.SIGTERM, handler)
        if received:
            handler(signal.SIGTERM, None)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated
