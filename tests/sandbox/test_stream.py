"""The loop behind every stream keeps the same promises in a thread and in an event loop, whatever the judge does."""

from __future__ import annotations

import asyncio
import gc
import random
import sys
import threading
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import aclosing, contextmanager
from itertools import count, islice
from typing import Any

import pytest

from selftaught.sandbox.stream import AsyncStream, Cancel, Deduplicator, Done, ajudge_many, in_loop, judge_many
from selftaught.sandbox.task import Limits, Task
from selftaught.sandbox.validation import check_task
from selftaught.sandbox.verdict import Status, Verdict
from tests.sandbox.malformed import MALFORMED

WINDOW = 8


def task(number: int) -> Task:
    return Task(str(number), f"sat {number}", "sol")


def accepted(asked: Task) -> Verdict:
    return Verdict(asked.id, Status.ACCEPTED)


class Judge:
    """Holds up to `hold` tasks; answers the one that `choose` says when it holds so many, or when no more come."""

    def __init__(
        self, hold: int = 1, choose: Callable[[int], int] = lambda held: 0, answer: Callable[[Task], Any] = accepted
    ) -> None:
        self.hold, self.choose, self.answer = hold, choose, answer
        self.asked: list[str] = []
        self.answered: list[str] = []
        self.cancelled: list[str] = []
        self.held: list[tuple[Task, Done]] = []
        self.most = 0
        self._lock = threading.Lock()

    def submit(self, asked: Task, done: Done) -> Cancel:
        with self._lock:
            self.asked.append(asked.id)
            self.held.append((asked, done))
            self.most = max(self.most, len(self.held))
            if len(self.held) >= self.hold:
                self._answer_one()
        return lambda: self.cancelled.append(asked.id)

    async def asubmit(self, asked: Task, done: Done) -> Cancel:
        await asyncio.sleep(0)
        return self.submit(asked, in_loop(asyncio.get_running_loop(), done))

    def _answer_one(self) -> None:
        asked, done = self.held.pop(self.choose(len(self.held)))
        self.answered.append(asked.id)
        done(self.answer(asked))

    @contextmanager
    def patiently(self) -> Iterator[None]:
        """Meanwhile whatever is held is answered when nothing has come for a moment."""
        over = threading.Event()

        def answer() -> None:
            seen = 0
            while not over.wait(0.005):
                with self._lock:
                    if seen == len(self.asked) and self.held:
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


def in_thread(items: Any, judge: Judge, ordered: bool) -> list[Verdict]:
    with judge.patiently():
        return list(judge_many(items, check_task, judge.submit, WINDOW, ordered))


def in_a_loop(items: Any, judge: Judge, ordered: bool) -> list[Verdict]:
    async def collect() -> list[Verdict]:
        return [verdict async for verdict in ajudge_many(items, check_task, judge.asubmit, WINDOW, ordered)]

    with judge.patiently():
        return asyncio.run(asyncio.wait_for(collect(), 60))


Run = Callable[[Any, Judge, bool], list[Verdict]]
RUNS: dict[str, Run] = {
    "thread": in_thread,
    "loop": in_a_loop,
    "loop, asynchronous items": lambda items, judge, ordered: in_a_loop(later(items), judge, ordered),
}
each_way = pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)


def by_chance(held: int) -> int:
    return random.randrange(held)


@each_way
def test_verdicts_come_in_the_order_of_the_tasks_or_as_they_are_reached(run: Run) -> None:
    for ordered in (True, False):
        judge = Judge(hold=WINDOW, choose=lambda held: held - 1)
        ids = [verdict.id for verdict in run(map(task, range(100)), judge, ordered)]
        assert sorted(ids, key=int) == [str(number) for number in range(100)]
        assert (ids == sorted(ids, key=int)) is ordered


@each_way
def test_nothing_is_lost_or_told_twice_whatever_the_judge_does(run: Run) -> None:
    random.seed(3)
    for ordered in (True, False):
        for hold in (1, 2, WINDOW):
            judge = Judge(hold, by_chance)
            items = [Task(str(number), str(random.randrange(20)), "") for number in range(300)]
            ids = [verdict.id for verdict in run(items, judge, ordered)]
            assert sorted(ids, key=int) == [str(number) for number in range(300)]
            assert len(judge.asked) == 20


@each_way
def test_no_more_than_a_window_of_tasks_is_under_way(run: Run) -> None:
    for ordered in (True, False):
        judge = Judge(hold=sys.maxsize, choose=by_chance)
        run(map(task, range(3 * WINDOW)), judge, ordered)
        assert judge.most == WINDOW


@each_way
def test_a_first_task_that_takes_long_keeps_an_ordered_stream_from_growing(run: Run) -> None:
    judge = Judge(hold=2, choose=lambda held: held - 1)
    taken: list[int] = []

    def items() -> Iterator[Task]:
        for number in range(3 * WINDOW):
            assert number < WINDOW or "0" in judge.answered
            taken.append(number)
            yield task(number)

    run(items(), judge, True)
    assert len(taken) == 3 * WINDOW


def test_no_item_is_asked_for_before_those_that_are_due_were_given() -> None:
    given: list[str] = []

    def items() -> Iterator[Task]:
        for number in range(50):
            assert len(given) == number, "what the caller knows of earlier tasks may decide on the next"
            yield task(number)

    for ordered in (True, False):
        given.clear()
        for verdict in judge_many(items(), check_task, Judge().submit, WINDOW, ordered):
            given.append(verdict.id)
        assert len(given) == 50


def test_asynchronous_items_may_wait_for_the_verdicts_of_earlier_ones() -> None:
    async def main() -> None:
        known: asyncio.Queue[Verdict] = asyncio.Queue()

        async def items() -> AsyncIterator[Task]:
            for number in range(20):
                yield task(number)
                assert (await known.get()).id == str(number)

        async for verdict in ajudge_many(items(), check_task, Judge().asubmit, WINDOW, True):
            known.put_nowait(verdict)

    asyncio.run(asyncio.wait_for(main(), 10))


@each_way
def test_identical_tasks_are_judged_once_and_each_is_answered_under_its_id(run: Run) -> None:
    for hold in (1, 4):
        judge = Judge(hold)
        items = [Task(f"{number}/{k}", f"sat {number}", "sol" * 2000) for number in range(4) for k in range(3)]
        assert [verdict.id for verdict in run(items, judge, True)] == [item.id for item in items]
        assert judge.asked == [f"{number}/0" for number in range(4)]


def test_what_was_not_judged_is_not_remembered() -> None:
    answers = iter([Status.INTERNAL_ERROR, Status.CANCELLED, Status.ACCEPTED])
    judge = Judge(answer=lambda asked: Verdict(asked.id, next(answers)))
    found = in_thread([Task(str(number), "sat", "sol") for number in range(5)], judge, True)
    assert [verdict.status for verdict in found] == ["internal_error", "cancelled", "accepted", "accepted", "accepted"]


@each_way
def test_tasks_that_wait_for_one_that_was_not_judged_were_not_either(run: Run) -> None:
    judge = Judge(hold=2, answer=lambda asked: Verdict(asked.id, Status.INTERNAL_ERROR))
    found = run([Task(str(number), "sat", "sol") for number in range(5)], judge, True)
    assert [verdict.id for verdict in found] == ["0", "1", "2", "3", "4"]
    assert {verdict.status for verdict in found} == {"internal_error"}


@each_way
def test_malformed_items_are_invalid_each_for_itself_and_the_others_are_judged(run: Run) -> None:
    """Each twice: what is said of one malformed task is not said of another."""
    for hold in (1, 4):
        judge = Judge(hold)
        items = [item for make in MALFORMED.values() for item in (task(1), make(), make(), task(len(judge.asked)))]
        found = run(items, judge, True)
        assert [verdict.status for verdict in found] == ["accepted", "invalid", "invalid", "accepted"] * len(MALFORMED)


def test_what_the_items_raise_is_raised_after_the_verdicts_due_before_it() -> None:
    found: list[Verdict] = []

    def read_in_thread() -> None:
        for verdict in judge_many(items(), check_task, judge.submit, WINDOW, True):
            found.append(verdict)

    def read_in_a_loop() -> None:
        async def main() -> None:
            async for verdict in ajudge_many(items(), check_task, judge.asubmit, WINDOW, True):
                found.append(verdict)

        asyncio.run(main())

    def items() -> Iterator[Task]:
        yield from map(task, range(3))
        raise KeyError("mine")

    for read in (read_in_thread, read_in_a_loop):
        found.clear()
        judge = Judge(hold=3)
        with pytest.raises(KeyError, match="mine"):
            read()
        assert [verdict.id for verdict in found] == judge.answered == ["0"]
        assert judge.cancelled == ["1", "2"], "of which nobody will learn the verdict"


@each_way
@pytest.mark.parametrize("error", [ValueError("mine"), StopAsyncIteration(), asyncio.CancelledError()], ids=repr)
def test_an_iterable_that_fails_in_whatever_way_never_looks_like_one_that_ends(run: Run, error: BaseException) -> None:
    class Items:
        left = 3

        def __iter__(self) -> Items:
            return self

        def __next__(self) -> Task:
            self.left -= 1
            if self.left == 0:
                raise error
            return task(self.left)

    with pytest.raises((type(error), RuntimeError)):
        run(Items(), Judge(), True)


@each_way
def test_an_iterable_that_is_none_is_an_error(run: Run) -> None:
    with pytest.raises(TypeError):
        run(None, Judge(), True)


@each_way
def test_a_judge_that_fails_ends_the_stream_with_its_error(run: Run) -> None:
    judge = Judge(hold=3, answer=lambda asked: ConnectionError("gone"))
    with pytest.raises(ConnectionError, match="gone"):
        run(map(task, range(10)), judge, True)
    assert set(judge.asked) > set(judge.answered)
    assert set(judge.cancelled) >= set(judge.asked) - set(judge.answered), "what else is under way"


def test_a_reader_that_leaves_cancels_what_is_under_way_and_nothing_else() -> None:
    judge = Judge(hold=4)
    stream = judge_many(map(task, count()), check_task, judge.submit, WINDOW, True)
    assert [verdict.id for verdict in islice(stream, 3)] == ["0", "1", "2"]
    stream.close()  # type: ignore[attr-defined]
    assert judge.cancelled == ["3", "4", "5"]


def test_a_reader_in_a_loop_that_leaves_cancels_what_is_under_way_and_nothing_else() -> None:
    async def main(judge: Judge) -> None:
        async with aclosing(ajudge_many(later(map(task, count())), check_task, judge.asubmit, WINDOW, True)) as stream:
            async for verdict in stream:
                if verdict.id == "2":
                    break
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 1, "nobody takes items any more"

    judge = Judge(hold=4)
    asyncio.run(main(judge))
    assert judge.cancelled and set(judge.cancelled) == set(judge.asked) - set(judge.answered)


def test_an_error_of_items_that_nobody_waits_for_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def broken() -> AsyncIterator[Task]:
        yield task(1)
        raise KeyError("mine")

    async def main() -> None:
        async with aclosing(ajudge_many(broken(), check_task, Judge().asubmit, WINDOW, True)) as stream:
            await anext(stream)
            await asyncio.sleep(0.01)
        gc.collect()

    asyncio.run(main())
    assert not caplog.records


def test_verdicts_may_come_from_any_thread() -> None:
    def submit(asked: Task, done: Done) -> Cancel:
        thread = threading.Thread(target=lambda: done(accepted(asked)))
        thread.start()
        return thread.join

    found = judge_many(map(task, range(200)), check_task, submit, WINDOW, True)
    assert [verdict.id for verdict in found] == [str(number) for number in range(200)]


def test_a_stream_that_is_stopped_takes_no_more_and_answers_what_it_took() -> None:
    async def main() -> None:
        judge = Judge(hold=sys.maxsize)
        async with AsyncStream(map(task, count()), check_task, judge.asubmit, WINDOW, True) as stream:
            while len(judge.held) < 5:
                await asyncio.sleep(0)
            stream.stop()
            given = []
            with judge.patiently():
                while await stream.wait():
                    given.append(stream.give()[0])
        assert given == list(range(len(judge.asked)))
        assert not judge.cancelled

    asyncio.run(asyncio.wait_for(main(), 10))


def test_a_stream_that_is_stopped_while_a_task_waits_for_admission_does_not_answer_that_one() -> None:
    async def main() -> None:
        never = asyncio.Event()

        async def submit(asked: Task, done: Done) -> Cancel:
            if asked.id == "2":
                await never.wait()
            done(accepted(asked))
            return lambda: None

        async with AsyncStream(map(task, count()), check_task, submit, WINDOW, True) as stream:
            while stream.due < 2:
                await asyncio.sleep(0)
            stream.stop()
            given = []
            while await stream.wait():
                given.append(stream.give()[1].id)
        assert given == ["0", "1"]

    asyncio.run(asyncio.wait_for(main(), 10))


def test_a_copied_verdict_is_told_of_and_a_judged_one_is_not() -> None:
    async def main() -> list[str]:
        copies: list[Verdict] = []
        judge = Judge(hold=2)
        items = (Task(f"{number}", f"{number % 2}", "") for number in range(6))
        stream = AsyncStream(items, check_task, judge.asubmit, WINDOW, True, copied=copies.append)
        with judge.patiently():
            async with stream:
                while await stream.wait():
                    stream.give()
        return [verdict.id for verdict in copies]

    assert sorted(asyncio.run(main())) == ["2", "3", "4", "5"]


def test_identical_tasks_are_each_judged_where_the_judge_finds_them_itself() -> None:
    async def collect(judge: Judge) -> list[Verdict]:
        found = ajudge_many(same, check_task, judge.asubmit, WINDOW, True, deduplicate=False)
        return [verdict async for verdict in found]

    same = [Task(str(number), "sat", "sol") for number in range(20)]
    for run in (
        lambda judge: list(judge_many(same, check_task, judge.submit, WINDOW, True, deduplicate=False)),
        lambda judge: asyncio.run(collect(judge)),
    ):
        judge = Judge()
        assert [verdict.id for verdict in run(judge)] == judge.asked == [each.id for each in same]


def test_tasks_that_differ_in_anything_but_their_ids_are_not_the_same() -> None:
    different = [
        Task("", "sat", "sol"),
        Task("", "sat", "sol "),
        Task("", "sa", "tsol"),
        Task("", "s" * 1024, ""),
        Task("", "s" * 1025, ""),
        Task("", "", "s" * 1025),
        Task("", "\ud800" * 1025, ""),
        Task("", "sat", "sol", Limits()),
        *(Task("", "sat", "sol", Limits(**{name: 7})) for name in Limits.__slots__),  # type: ignore[arg-type]
    ]
    found = Deduplicator()
    assert [found.add(number, each) for number, each in enumerate(different)] == [None] * len(different)


def test_what_is_remembered_of_a_stream_does_not_grow_with_it() -> None:
    def use(numbers: Iterable[int]) -> None:
        items = (Task(str(number), "s" * 1000 + str(number), "s" * 9000) for number in numbers)
        for _ in judge_many(items, check_task, Judge().submit, WINDOW, True):
            pass

    sizes = []
    tracemalloc.start()
    for many in (8_000, 16_000):
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        use(range(many))
        sizes.append(tracemalloc.get_traced_memory()[1] - before)
    tracemalloc.stop()
    assert sizes[1] < 1.5 * sizes[0]
