"""Judge a stream of tasks: the loop behind every `verify_many`, in a thread or in an event loop.

    items -> check -> [known already?] -> submit -> ... -> done -> [in order?] -> verdicts

A stream numbers its items, keeps at most a window of them under way, has identical tasks judged once, gives verdicts
back in the order of the tasks or as they come, and cancels what is under way when its reader leaves. What the caller's
iterable raises is raised to the reader, after the verdicts that were due before it. Memory is constant however long the
stream is. Who judges is a function, `submit`.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import replace
from queue import SimpleQueue
from types import TracebackType
from typing import Any, TypeGuard, TypeVar

from selftaught.sandbox import wire
from selftaught.sandbox.task import Task
from selftaught.sandbox.verdict import Verdict

T = TypeVar("T")

Found = Verdict | BaseException
"""What comes of a task: its verdict, or why the whole stream fails."""

Done = Callable[[Any], None]
"""To be called once with what was Found, or with what else was waited for."""

Cancel = Callable[[], None]
"""To be called when nobody waits any more."""

Check = Callable[[Any], Task | Verdict]
"""Makes an item of the caller's iterable a task that may be hashed and judged, or the verdict on what is none."""

_REMEMBERED = 4096
_SHORT = 1024
"""Characters of sources that are kept as they are: longer ones by their digest."""


def judge_many(
    items: Iterable[Any],
    check: Check,
    submit: Callable[[Task, Done], Cancel],
    window: int,
    ordered: bool,
    deduplicate: bool = True,
) -> Iterator[Verdict]:
    """Yield a verdict for each item; waits in the caller's thread.

    submit: begins to judge a task; its `done` may be called at once or later, in any thread. window: the most items
    that are taken before the verdict on the first of them is given. What is due is yielded before the next item is
    asked for, which may depend on it. deduplicate: have identical tasks judged once, unless `submit` sees to that.
    """
    finished: SimpleQueue[tuple[int, Found]] = SimpleQueue()
    ledger, source, more = _Ledger(ordered, deduplicate), iter(items), True
    due, put = ledger.due, finished.put
    try:
        while more or ledger.given < ledger.taken:
            if more and ledger.taken - ledger.given < window:
                try:
                    item = next(source)
                except StopIteration:
                    more = False
                    continue
                task = check(item)
                number = ledger.taken
                if ledger.is_new(task):
                    ledger.under_way[number] = submit(task, _numbered(put, number))
                ledger.taken += 1
            else:
                ledger.settle(*finished.get())
            while True:
                while due:
                    ledger.given += 1
                    yield due.popleft()[1]
                if finished.empty():  # nobody else takes any
                    break
                ledger.settle(*finished.get())
    finally:
        ledger.cancel()


async def ajudge_many(
    items: Iterable[Any] | AsyncIterable[Any],
    check: Check,
    submit: Callable[[Task, Done], Awaitable[Cancel]],
    window: int,
    ordered: bool,
    deduplicate: bool = True,
) -> AsyncGenerator[Verdict, None]:
    """`judge_many` for coroutines; see `AsyncStream`."""
    async with AsyncStream(items, check, submit, window, ordered, deduplicate) as stream:
        while await stream.wait():
            while stream.due:
                yield stream.give()[1]


class AsyncStream:
    """A stream in an event loop. While entered it takes items by itself; leaving it cancels what is under way.

    submit: may wait until a task is admitted; its `done` is to be called in the loop (see `in_loop`).
    copied: called with each verdict that is given to a task because another one, which is the same, was judged.
    """

    def __init__(
        self,
        items: Iterable[Any] | AsyncIterable[Any],
        check: Check,
        submit: Callable[[Task, Done], Awaitable[Cancel]],
        window: int,
        ordered: bool,
        deduplicate: bool = True,
        copied: Callable[[Verdict], None] | None = None,
    ) -> None:
        self._items, self._check, self._submit = items, check, submit
        self._ledger = _Ledger(ordered, deduplicate, copied)
        self._room = asyncio.Semaphore(window)
        self._news = asyncio.Event()
        self._error: BaseException | None = None
        self._stopped = False

    @property
    def due(self) -> int:
        """How many verdicts can be given now."""
        return len(self._ledger.due)

    def give(self) -> tuple[int, Verdict]:
        """The next verdict that is due, and the number of its item."""
        self._ledger.given += 1
        self._room.release()
        return self._ledger.due.popleft()

    async def wait(self) -> bool:
        """Wait until a verdict is due; False if all were given. Raises what the items raise, or `fail` was told."""
        while True:
            if self._error is not None:
                raise self._error
            if self._ledger.due:
                return True
            if self._taking.done():
                if not self._stopped:
                    self._taking.result()
                if self._ledger.given == self._ledger.taken:
                    return False
            await self._news.wait()
            self._news.clear()

    def stop(self) -> None:
        """Take no more items. Those that were taken are still answered."""
        self._stopped = True
        self._taking.cancel()

    def fail(self, error: BaseException) -> None:
        """Have `wait` raise this."""
        self._error = error
        self._news.set()

    async def __aenter__(self) -> AsyncStream:
        self._taking = asyncio.create_task(self._take_all())
        self._taking.add_done_callback(lambda _: self._news.set())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._taking.cancel()  # also where it has failed: what nobody waits for is not logged then
        self._ledger.cancel()

    async def _take_all(self) -> None:
        ledger = self._ledger
        await self._room.acquire()
        async for item in _asynchronous(self._items):
            task, number = self._check(item), ledger.taken
            if ledger.is_new(task):
                ledger.under_way[number] = await self._submit(task, _numbered(self._settle, number))
            elif ledger.due:
                self._news.set()
            ledger.taken += 1  # last: what is counted gets an answer
            await self._room.acquire()

    def _settle(self, numbered: tuple[int, Found]) -> None:
        try:
            self._ledger.settle(*numbered)
        except BaseException as error:
            self.fail(error)
        self._news.set()


class _Ledger:
    """The books of one stream: what was taken, what is under way, and what is due.

    taken, given: how many items, how many verdicts. due: verdicts with their numbers, to be given in this order.
    """

    def __init__(self, ordered: bool, deduplicate: bool, copied: Callable[[Verdict], None] | None = None) -> None:
        self.taken = self.given = 0
        self.due: deque[tuple[int, Verdict]] = deque()
        self.under_way: dict[int, Cancel] = {}
        self._ordered, self._copied = ordered, copied
        self._next = 0
        self._early: dict[int, Verdict] = {}
        self._duplicates = Deduplicator() if deduplicate else None

    def is_new(self, item: Task | Verdict) -> TypeGuard[Task]:
        """Whether the item numbered `taken` has to be judged; else its verdict is known, or comes with another's."""
        if isinstance(item, Verdict):
            self._release(self.taken, item)
            return False
        if self._duplicates is None:
            return True
        known = self._duplicates.add(self.taken, item)
        if isinstance(known, Verdict):
            if self._copied:
                self._copied(known)
            self._release(self.taken, known)
        return known is None

    def settle(self, number: int, found: Found) -> None:
        """What became of an item that was under way. Raises what fails the stream."""
        self.under_way.pop(number, None)
        if isinstance(found, BaseException):
            raise found
        self._release(number, found)
        if self._duplicates is None:
            return
        for twin, copy in self._duplicates.settle(number, found):
            if self._copied:
                self._copied(copy)
            self._release(twin, copy)

    def _release(self, number: int, verdict: Verdict) -> None:
        """Make the verdict due, or keep it until those before it are."""
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
        """Nobody waits any more."""
        for cancel in self.under_way.values():
            cancel()


_Key = tuple[object, ...]
_Waiting = list[tuple[int, str]]


class Deduplicator:
    """Find tasks of a stream that are the same but for their ids, in constant memory: among the last few thousand.

    Not thread-safe. A task whose verdict is no judgement is not remembered.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[_Key, Verdict | _Waiting] = OrderedDict()
        self._keys: dict[int, _Key] = {}

    def add(self, number: int, task: Task) -> Verdict | _Waiting | None:
        """Return None if the task has to be judged, else its verdict, or all that wait for another's."""
        key = _key(task)
        known = self._known.get(key)
        if known is None:
            self._known[key] = []
            self._keys[number] = key
            return None
        if isinstance(known, Verdict):
            self._known.move_to_end(key)
            return replace(known, id=task.id)
        known.append((number, task.id))
        return known

    def settle(self, number: int, verdict: Verdict) -> list[tuple[int, Verdict]]:
        """Remember a task's verdict; return those of the tasks that waited for it, with their numbers."""
        key = self._keys.pop(number, None)
        if key is None:
            return []
        waiting = self._known[key]
        assert isinstance(waiting, list)
        if verdict.judged:
            self._known[key] = verdict if len(verdict.id) <= _SHORT else replace(verdict, id="")
            if len(self._known) > _REMEMBERED + len(self._keys):
                self._forget()
        else:
            del self._known[key]
        return [(twin, replace(verdict, id=ident)) for twin, ident in waiting]

    def _forget(self) -> None:
        """Drop the oldest verdict."""
        for key, known in self._known.items():
            if isinstance(known, Verdict):
                del self._known[key]
                return


def _key(task: Task) -> _Key:
    """What tasks have in common that get the same verdict. Of limits their values, which are faster to hash."""
    sat, sol, limits = task.sat, task.sol, task.limits
    sources = sat if len(sat) <= _SHORT else _digest(sat), sol if len(sol) <= _SHORT else _digest(sol)
    return sources if limits is None else (*sources, *limits.to_tuple())


def _digest(source: str) -> bytes:
    return hashlib.blake2b(wire.to_bytes(source)).digest()


def _numbered(put: Callable[[tuple[int, Found]], None], number: int) -> Done:
    """`put`, told which task it is about."""
    return lambda found: put((number, found))


async def _asynchronous(items: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[T]:
    """The items, from either kind of iterable."""
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item


def in_loop(loop: asyncio.AbstractEventLoop, call: Callable[[T], object]) -> Callable[[T], None]:
    """`call`, to be called in any thread: it runs in the loop's."""

    def post(value: T) -> None:
        try:
            loop.call_soon_threadsafe(call, value)
        except RuntimeError:  # the loop is closed: nobody waits any more
            return

    return post


def nothing() -> None:
    """A Cancel for what is not to be cancelled by itself."""
