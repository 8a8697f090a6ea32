"""SIGTERM ends a command as Ctrl-C does, in order and with an exit code of its own."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Coroutine
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")

INTERRUPTED, TERMINATED = 130, 143
"""Exit codes, as shells give them: 128 and the signal's number."""


SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Terminated(KeyboardInterrupt):
    """SIGTERM came."""


def heed_sigterm() -> None:
    """From now on SIGTERM raises Terminated in the main thread, which calls this."""
    signal.signal(signal.SIGTERM, _terminate)


class Signals:
    """A context manager in which SIGTERM and SIGINT are noted, to be looked at when that suits: `came` says how many.

    Only the second raises Terminated in the main thread, in case that never comes: what is raised at any moment may be lost, in a destructor
    for one. Those after it do nothing, nor does any after the end, so that the tidying up is not disturbed.
    """

    def __init__(self) -> None:
        self.came = 0

    def __enter__(self) -> Signals:
        for number in SIGNALS:
            signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # first: a handler that is due must not be missing
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.came += 1
        if self.came == 2:
            raise Terminated


def exit_code(stop: KeyboardInterrupt) -> int:
    """What a command ends with that was stopped so."""
    return TERMINATED if isinstance(stop, Terminated) else INTERRUPTED


def run(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run`, but a SIGTERM that has a handler cancels `main`, and the handler is called when all has ended.

    A handler that raises in a running loop would take the callback with it that it interrupts, and a task that was to be woken so is
    waited for in vain. Of SIGINT asyncio itself takes care in the same way.
    """
    import asyncio  # what every command starts with need not load it

    handler = signal.getsignal(signal.SIGTERM)
    if not callable(handler) or threading.current_thread() is not threading.main_thread():
        return asyncio.run(main)
    came = False

    async def cancellable() -> T:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None

        def cancel(number: int, frame: FrameType | None) -> None:
            nonlocal came
            came = True
            task.cancel()
            with contextlib.suppress(RuntimeError):  # it is closed already
                loop.call_soon_threadsafe(lambda: None)  # wakes it

        signal.signal(signal.SIGTERM, cancel)
        return await main

    try:
        return asyncio.run(cancellable())
    finally:
        signal.signal(signal.SIGTERM, handler)
        if came:
            handler(signal.SIGTERM, None)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated
