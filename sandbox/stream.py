"""Judge a stream of tasks: the loop behind every `verify_many`, in a thread or in an event loop.

    items -> check -> [duplicate?] -> submit -> ... -> done -> [in order?] -> verdicts

A stream numbers its items, keeps at most a window of them pending, judges duplicates once, yields verdicts in the order
of the tasks or as they are reached, and cancels pending tasks when its reader leaves. What the caller's iterable raises
is raised to the reader, after the verdicts that were due before. Memory is constant however long the stream is. The
function `submit` sends a task to a verifier, a queue of the daemon, or a client's request.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from functools import partial
from queue import SimpleQueue
from types import TracebackType
from typing import Any, TypeGuard, TypeVar

from selftaught.sandbox.deduplication import Deduplicator
from selftaught.sandbox.judging import Checked
from selftaught.sandbox.verdict import Verdict

T = TypeVar("T")

Result = Verdict | BaseException
"""A task's verdict, or the error that ends the whole stream."""

Done = Callable[[Any], None]
"""Called once with a Result, or with the result of another kind of request."""

Cancel = Callable[[], None]
"""Called when the result is no longer needed."""

Check = Callable[[Any], Checked | Verdict]
"""Returns a valid task for an item of the caller's iterable, or the verdict on an invalid item."""


def judge_many(
    items: Iterable[Any],
    check: Check,
    submit: Callable[[Checked, Done], Cancel],
    window: int,
    ordered: bool,
    deduplicate: bool = True,
) -> Iterator[Verdict]:
    """Judge a stream in the caller's thread.

    Verdicts that are due are yielded before the next item is requested, since it may depend on them.

    Args:
        items: What the caller passed as tasks.
        check: Validates an item.
        submit: Starts judging a task. It may call its `done` at once or later, in any thread.
        window: The most items that are pending at a time.
        ordered: Yield verdicts in the order of the items, or else as they are reached.
        deduplicate: Judge identical tasks once. False if `submit` does that itself.

    Yields:
        A verdict for each item.
    """
    finished: SimpleQueue[tuple[int, Result]] = SimpleQueue()
    state, source, more = _StreamState(ordered, deduplicate), iter(items), True
    due = state.due

    def settle(number: int, result: Result) -> None:
        finished.put((number, result))

    try:
        while more or state.given < state.taken:
            if more and state.taken - state.given < window:
                try:
                    item = next(source)
                except StopIteration:
                    more = False
                    continue
                task = check(item)
                number = state.taken
                if state.is_new(task):
                    state.pending[number] = submit(task, partial(settle, number))
                state.taken += 1
            else:
                state.settle(*finished.get())
            while True:
                while due:
                    state.given += 1
                    yield due.popleft()[1]
                if finished.empty():  # reliable, since only this thread takes from it
                    break
                state.settle(*finished.get())
    finally:
        state.cancel()


async def ajudge_many(
    items: Iterable[Any] | AsyncIterable[Any],
    check: Check,
    submit: Callable[[Checked, Done], Awaitable[Cancel]],
    window: int,
    ordered: bool,
    deduplicate: bool = True,
) -> AsyncGenerator[Verdict, None]:
    """Judge a stream in an event loop; the arguments are those of `AsyncStream`."""
    async with AsyncStream(items, check, submit, window, ordered, deduplicate) as stream:
        while await stream.wait():
            while stream.due:
                yield stream.pop()[1]


class AsyncStream:
    """A stream in an event loop, as a context manager: it reads items while entered, and cancels pending tasks at exit.

    Args:
        items: What the caller passed as tasks: an iterable, or an asynchronous one.
        check: Validates an item.
        submit: Starts judging a task; may wait until it is admitted. Its `done` must be called in the loop (`in_loop`).
        window: The most items that are pending at a time.
        ordered: Return verdicts in the order of the items, or else as they are reached.
        deduplicate: Judge identical tasks once. False if `submit` does that itself.
        on_duplicate: Called with each verdict on a task that was a duplicate and not judged itself.
    """

    def __init__(
        self,
        items: Iterable[Any] | AsyncIterable[Any],
        check: Check,
        submit: Callable[[Checked, Done], Awaitable[Cancel]],
        window: int,
        ordered: bool,
        deduplicate: bool = True,
        on_duplicate: Callable[[Verdict], None] | None = None,
    ) -> None:
        self._items, self._check, self._submit = items, check, submit
        self._state = _StreamState(ordered, deduplicate, on_duplicate)
        self._slots = asyncio.Semaphore(window)
        self._changed = asyncio.Event()
        self._error: BaseException | None = None
        self._stopped = False

    @property
    def due(self) -> int:
        """How many verdicts `pop` can return now."""
        return len(self._state.due)

    def pop(self) -> tuple[int, Verdict]:
        """Return the next verdict that is due, after the number of its item."""
        self._state.given += 1
        self._slots.release()
        return self._state.due.popleft()

    async def wait(self) -> bool:
        """Wait until a verdict is due; return False after the last. Raises an error of the items, or that of `fail`."""
        while True:
            if self._error is not None:
                raise self._error
            if self._state.due:
                return True
            if self._reader.done():
                if not self._stopped:
                    self._reader.result()
                if self._state.given == self._state.taken:
                    return False
            await self._changed.wait()
            self._changed.clear()

    def stop(self) -> None:
        """Read no more items. Those already read are still judged."""
        self._stopped = True
        self._reader.cancel()

    def fail(self, error: BaseException) -> None:
        """Make `wait` raise this error."""
        self._error = error
        self._changed.set()

    async def __aenter__(self) -> AsyncStream:
        self._reader = asyncio.create_task(self._read_items())
        self._reader.add_done_callback(lambda _: self._changed.set())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.cancel()  # also if it has failed: asyncio would log the error that nobody retrieves
        self._state.cancel()

    async def _read_items(self) -> None:
        state = self._state
        await self._slots.acquire()
        async for item in _asynchronous(self._items):
            task, number = self._check(item), state.taken
            if state.is_new(task):
                state.pending[number] = await self._submit(task, partial(self._settle, number))
            elif state.due:
                self._changed.set()
            state.taken += 1  # last: every item that is counted gets a verdict
            await self._slots.acquire()

    def _settle(self, number: int, result: Result) -> None:
        try:
            self._state.settle(number, result)
        except BaseException as error:
            self.fail(error)
        self._changed.set()


class _StreamState:
    """The state of one stream.

    Attributes:
        taken: How many items were read.
        given: How many verdicts were returned to the reader.
        due: Verdicts to return next, in this order, each after the number of its item.
        pending: For each item that is being judged, the function that cancels it.
    """

    def __init__(self, ordered: bool, deduplicate: bool, on_duplicate: Callable[[Verdict], None] | None = None) -> None:
        self.taken = self.given = 0
        self.due: deque[tuple[int, Verdict]] = deque()
        self.pending: dict[int, Cancel] = {}
        self._ordered, self._on_duplicate = ordered, on_duplicate
        self._next = 0
        self._early: dict[int, Verdict] = {}
        self._duplicates = Deduplicator() if deduplicate else None

    def is_new(self, item: Checked | Verdict) -> TypeGuard[Checked]:
        """Return True if the next item, number `taken`, has to be judged: it is a task and not a duplicate."""
        if isinstance(item, Verdict):
            self._deliver(self.taken, item)
            return False
        if self._duplicates is None:
            return True
        known = self._duplicates.add(self.taken, item)
        if isinstance(known, Verdict):
            if self._on_duplicate:
                self._on_duplicate(known)
            self._deliver(self.taken, known)
        return known is None

    def settle(self, number: int, result: Result) -> None:
        """Record the result of a pending item, also for its duplicates. Raises it if it is an error."""
        self.pending.pop(number, None)
        if isinstance(result, BaseException):
            raise result
        self._deliver(number, result)
        if self._duplicates is None:
            return
        for duplicate, copy in self._duplicates.settle(number, result):
            if self._on_duplicate:
                self._on_duplicate(copy)
            self._deliver(duplicate, copy)

    def _deliver(self, number: int, verdict: Verdict) -> None:
        """Make the verdict due, in an ordered stream after all before it."""
        if not self._ordered:
            self.due.append((number, verdict))
            return
        if number != self._next:
            self._early[number] = verdict
            return
        self.due.append((number, verdict))
        self._next += 1
        while self._next in self._early:
            self.due.append((self._next, self._early.pop(self._next)))
            self._next += 1

    def cancel(self) -> None:
        """Cancel every pending task."""
        for cancel in self.pending.values():
            cancel()


async def _asynchronous(items: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[T]:
    """Yield the items of either kind of iterable."""
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item


def in_loop(loop: asyncio.AbstractEventLoop, call: Callable[[T], object]) -> Callable[[T], None]:
    """Return a function that may be called in any thread and runs `call` in the loop's thread."""

    def post(value: T) -> None:
        try:
            loop.call_soon_threadsafe(call, value)
        except RuntimeError:  # the loop is closed: the result is no longer needed
            return

    return post


def cancel_nothing() -> None:
    """A Cancel for a task that has ended, or that can't be cancelled alone."""


async def await_result(submit: Callable[[Done], Cancel]) -> Any:
    """Return what `submit` passes to its callback. If the coroutine is cancelled, so is what was submitted."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def settle(value: Any) -> None:
        if not future.done():
            future.set_result(value)

    cancel = submit(in_loop(loop, settle))
    try:
        return await future
    finally:
        cancel()
