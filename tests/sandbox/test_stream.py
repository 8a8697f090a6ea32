"""The loop behind every stream: order, window, errors and cancellation, in a thread and in an event loop."""

from __future__ import annotations

import asyncio
import gc
import random
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from itertools import count, islice

import pytest

from selftaught.sandbox.stream import AsyncStream, Cancel, Done, ajudge_many, judge_many
from selftaught.sandbox.task import Task
from selftaught.sandbox.validation import check_task
from selftaught.sandbox.verdict import Verdict
from tests.sandbox.malformed import MALFORMED
from tests.sandbox.streams import WINDOW, FakeVerifier, Run, accepted, by_chance, each_way, later, task


@each_way
def test_verdicts_come_in_the_order_of_the_tasks_or_as_they_are_reached(run: Run) -> None:
    for ordered in (True, False):
        verifier = FakeVerifier(capacity=WINDOW, choose=lambda pending: pending - 1)
        ids = [verdict.id for verdict in run(map(task, range(100)), verifier, ordered)]
        assert sorted(ids, key=int) == [str(number) for number in range(100)]
        assert (ids == sorted(ids, key=int)) is ordered


@each_way
def test_each_item_gets_one_verdict_in_whatever_order_they_are_reached(run: Run) -> None:
    random.seed(3)
    for ordered in (True, False):
        for capacity in (1, 2, WINDOW):
            verifier = FakeVerifier(capacity, by_chance)
            items = [Task(str(number), str(random.randrange(20)), "") for number in range(300)]
            ids = [verdict.id for verdict in run(items, verifier, ordered)]
            assert sorted(ids, key=int) == [str(number) for number in range(300)]
            assert len(verifier.asked) == 20


@each_way
def test_no_more_than_a_window_of_tasks_is_pending(run: Run) -> None:
    for ordered in (True, False):
        verifier = FakeVerifier(capacity=sys.maxsize, choose=by_chance)
        run(map(task, range(3 * WINDOW)), verifier, ordered)
        assert verifier.most == WINDOW


@each_way
def test_a_first_task_that_takes_long_keeps_an_ordered_stream_from_growing(run: Run) -> None:
    verifier = FakeVerifier(capacity=2, choose=lambda pending: pending - 1)
    taken: list[int] = []

    def items() -> Iterator[Task]:
        for number in range(3 * WINDOW):
            assert number < WINDOW or "0" in verifier.answered
            taken.append(number)
            yield task(number)

    run(items(), verifier, True)
    assert len(taken) == 3 * WINDOW


def test_no_item_is_requested_before_due_verdicts_were_yielded() -> None:
    given: list[str] = []

    def items() -> Iterator[Task]:
        for number in range(50):
            assert len(given) == number, "what the caller knows of earlier tasks may decide on the next"
            yield task(number)

    for ordered in (True, False):
        given.clear()
        for verdict in judge_many(items(), check_task, FakeVerifier().submit, WINDOW, ordered):
            given.append(verdict.id)
        assert len(given) == 50


def test_asynchronous_items_may_wait_for_the_verdicts_of_earlier_ones() -> None:
    async def main() -> None:
        known: asyncio.Queue[Verdict] = asyncio.Queue()

        async def items() -> AsyncIterator[Task]:
            for number in range(20):
                yield task(number)
                assert (await known.get()).id == str(number)

        async for verdict in ajudge_many(items(), check_task, FakeVerifier().asubmit, WINDOW, True):
            known.put_nowait(verdict)

    asyncio.run(asyncio.wait_for(main(), 10))


@each_way
def test_malformed_items_are_invalid_each_for_itself_and_the_others_are_judged(run: Run) -> None:
    """Each twice: malformed tasks are not deduplicated."""
    for capacity in (1, 4):
        verifier = FakeVerifier(capacity)
        items = [item for make in MALFORMED.values() for item in (task(1), make(), make(), task(len(verifier.asked)))]
        found = run(items, verifier, True)
        assert [verdict.status for verdict in found] == ["accepted", "invalid", "invalid", "accepted"] * len(MALFORMED)


def test_what_the_items_raise_is_raised_after_the_verdicts_due_before_it() -> None:
    found: list[Verdict] = []

    def read_in_thread() -> None:
        for verdict in judge_many(items(), check_task, verifier.submit, WINDOW, True):
            found.append(verdict)

    def read_in_a_loop() -> None:
        async def main() -> None:
            async for verdict in ajudge_many(items(), check_task, verifier.asubmit, WINDOW, True):
                found.append(verdict)

        asyncio.run(main())

    def items() -> Iterator[Task]:
        yield from map(task, range(3))
        raise KeyError("mine")

    for read in (read_in_thread, read_in_a_loop):
        found.clear()
        verifier = FakeVerifier(capacity=3)
        with pytest.raises(KeyError, match="mine"):
            read()
        assert [verdict.id for verdict in found] == verifier.answered == ["0"]
        assert verifier.cancelled == ["1", "2"], "whose verdicts nobody will read"


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
        run(Items(), FakeVerifier(), True)


@each_way
def test_a_value_that_is_not_iterable_is_an_error(run: Run) -> None:
    with pytest.raises(TypeError):
        run(None, FakeVerifier(), True)


@each_way
def test_a_verifier_that_fails_ends_the_stream_with_its_error(run: Run) -> None:
    verifier = FakeVerifier(capacity=3, answer=lambda asked: ConnectionError("gone"))
    with pytest.raises(ConnectionError, match="gone"):
        run(map(task, range(10)), verifier, True)
    assert set(verifier.asked) > set(verifier.answered)
    assert set(verifier.cancelled) >= set(verifier.asked) - set(verifier.answered), "all other pending tasks"


def test_a_reader_that_leaves_cancels_pending_tasks_and_nothing_else() -> None:
    verifier = FakeVerifier(capacity=4)
    stream = judge_many(map(task, count()), check_task, verifier.submit, WINDOW, True)
    assert [verdict.id for verdict in islice(stream, 3)] == ["0", "1", "2"]
    stream.close()  # type: ignore[attr-defined]
    assert verifier.cancelled == ["3", "4", "5"]


def test_a_reader_in_a_loop_that_leaves_cancels_pending_tasks_and_nothing_else() -> None:
    async def main(verifier: FakeVerifier) -> None:
        async with aclosing(
            ajudge_many(later(map(task, count())), check_task, verifier.asubmit, WINDOW, True)
        ) as stream:
            async for verdict in stream:
                if verdict.id == "2":
                    break
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 1, "no coroutine reads items any more"

    verifier = FakeVerifier(capacity=4)
    asyncio.run(main(verifier))
    assert verifier.cancelled and set(verifier.cancelled) == set(verifier.asked) - set(verifier.answered)


def test_an_error_of_items_after_the_reader_has_left_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def broken() -> AsyncIterator[Task]:
        yield task(1)
        raise KeyError("mine")

    async def main() -> None:
        async with aclosing(ajudge_many(broken(), check_task, FakeVerifier().asubmit, WINDOW, True)) as stream:
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
        verifier = FakeVerifier(capacity=sys.maxsize)
        async with AsyncStream(map(task, count()), check_task, verifier.asubmit, WINDOW, True) as stream:
            while len(verifier.pending) < 5:
                await asyncio.sleep(0)
            stream.stop()
            given = []
            with verifier.answering_when_idle():
                while await stream.wait():
                    given.append(stream.pop()[0])
        assert given == list(range(len(verifier.asked)))
        assert not verifier.cancelled

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
                given.append(stream.pop()[1].id)
        assert given == ["0", "1"]

    asyncio.run(asyncio.wait_for(main(), 10))
