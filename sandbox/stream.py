"""Streams of verdicts: back in order, bounded, and from whatever the caller iterates over."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from queue import SimpleQueue
from typing import Generic, TypeVar

from sandbox.task import Task
from sandbox.verdict import Verdict

T = TypeVar("T")


class Order(Generic[T]):
    """Puts verdicts back in order, if that is wanted."""

    def __init__(self, ordered: bool) -> None:
        self.ordered, self.released = ordered, 0
        self.held: dict[int, T] = {}

    def release(self, number: int, verdict: T) -> list[T]:
        """The verdicts that are due now that this one has come."""
        if self.ordered and number != self.released:
            self.held[number] = verdict
            return []
        due = [verdict]
        self.released += 1
        while self.released in self.held:
            due.append(self.held.pop(self.released))
            self.released += 1
        return due


def drain(finished: SimpleQueue[tuple[int, Verdict]], block: bool) -> Iterator[tuple[int, Verdict]]:
    """What has finished; waits for the first if asked to."""
    if block:
        yield finished.get()
    while not finished.empty():  # nobody else takes any
        yield finished.get()


def numbered(put: Callable[[tuple[int, Verdict]], None], number: int) -> Callable[[Verdict], None]:
    """`put`, told which verdict it is."""
    return lambda verdict: put((number, verdict))


async def asynchronous(tasks: Iterable[Task] | AsyncIterable[Task]) -> AsyncIterator[Task]:
    """The tasks, from either kind of iterable."""
    if isinstance(tasks, AsyncIterable):
        async for task in tasks:
            yield task
    else:
        for task in tasks:
            yield task
