"""A verifier whose order of answers a test decides, and ways to read a stream of its verdicts."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from selftaught.sandbox.stream import Cancel, Done, ajudge_many, in_loop, judge_many
from selftaught.sandbox.task import Task
from selftaught.sandbox.validation import check_task
from selftaught.sandbox.verdict import Status, Verdict

WINDOW = 8


def task(number: int) -> Task:
    return Task(str(number), f"sat {number}", "sol")


def accepted(asked: Task) -> Verdict:
    return Verdict(asked.id, Status.ACCEPTED)


class FakeVerifier:
    """Keeps up to `capacity` tasks pending; then it answers the one that `choose` picks, or any when no more arrive."""

    def __init__(
        self,
        capacity: int = 1,
        choose: Callable[[int], int] = lambda pending: 0,
        answer: Callable[[Task], Any] = accepted,
    ) -> None:
        self.capacity, self.choose, self.answer = capacity, choose, answer
        self.asked: list[str] = []
        self.answered: list[str] = []
        self.cancelled: list[str] = []
        self.pending: list[tuple[Task, Done]] = []
        self.most = 0
        self._lock = threading.Lock()

    def submit(self, asked: Task, done: Done) -> Cancel:
        with self._lock:
            self.asked.append(asked.id)
            self.pending.append((asked, done))
            self.most = max(self.most, len(self.pending))
            if len(self.pending) >= self.capacity:
                self._answer_one()
        return lambda: self.cancelled.append(asked.id)

    async def asubmit(self, asked: Task, done: Done) -> Cancel:
        await asyncio.sleep(0)
        return self.submit(asked, in_loop(asyncio.get_running_loop(), done))

    def _answer_one(self) -> None:
        asked, done = self.pending.pop(self.choose(len(self.pending)))
        self.answered.append(asked.id)
        done(self.answer(asked))

    @contextmanager
    def answering_when_idle(self) -> Iterator[None]:
        """Within this context, also answer pending tasks when none has arrived for 5 ms."""
        over = threading.Event()

        def answer() -> None:
            seen = 0
            while not over.wait(0.005):
                with self._lock:
                    if seen == len(self.asked) and self.pending:
                        self._answer_one()
                    seen = len(self.asked)

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


async def later(items: Iterable[Any]) -> AsyncIterator[Any]:
    for item in items:
        await asyncio.sleep(0)
        yield item


def in_thread(items: Any, verifier: FakeVerifier, ordered: bool) -> list[Verdict]:
    with verifier.answering_when_idle():
        return list(judge_many(items, check_task, verifier.submit, WINDOW, ordered))


def in_a_loop(items: Any, verifier: FakeVerifier, ordered: bool) -> list[Verdict]:
    async def collect() -> list[Verdict]:
        return [verdict async for verdict in ajudge_many(items, check_task, verifier.asubmit, WINDOW, ordered)]

    with verifier.answering_when_idle():
        return asyncio.run(asyncio.wait_for(collect(), 60))


Run = Callable[[Any, FakeVerifier, bool], list[Verdict]]
RUNS: dict[str, Run] = {
    "thread": in_thread,
    "loop": in_a_loop,
    "loop, asynchronous items": lambda items, verifier, ordered: in_a_loop(later(items), verifier, ordered),
}
each_way = pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)


def by_chance(pending: int) -> int:
    return random.randrange(pending)
