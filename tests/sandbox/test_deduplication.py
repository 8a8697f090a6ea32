"""Deduplication: tasks of a stream that differ only in their ids are judged once, in constant memory."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Iterable

from selftaught.sandbox.deduplication import Deduplicator
from selftaught.sandbox.stream import AsyncStream, ajudge_many, judge_many
from selftaught.sandbox.task import Limits, Task
from selftaught.sandbox.validation import check_task
from selftaught.sandbox.verdict import Status, Verdict
from tests.sandbox.streams import WINDOW, FakeVerifier, Run, each_way, in_thread


@each_way
def test_identical_tasks_are_judged_once_and_each_is_answered_under_its_id(run: Run) -> None:
    for capacity in (1, 4):
        verifier = FakeVerifier(capacity)
        items = [Task(f"{number}/{k}", f"sat {number}", "sol" * 2000) for number in range(4) for k in range(3)]
        assert [verdict.id for verdict in run(items, verifier, True)] == [item.id for item in items]
        assert verifier.asked == [f"{number}/0" for number in range(4)]


def test_what_was_not_judged_is_not_remembered() -> None:
    answers = iter([Status.INTERNAL_ERROR, Status.CANCELLED, Status.ACCEPTED])
    verifier = FakeVerifier(answer=lambda asked: Verdict(asked.id, next(answers)))
    found = in_thread([Task(str(number), "sat", "sol") for number in range(5)], verifier, True)
    assert [verdict.status for verdict in found] == ["internal_error", "cancelled", "accepted", "accepted", "accepted"]


@each_way
def test_tasks_that_wait_for_one_that_was_not_judged_were_not_either(run: Run) -> None:
    verifier = FakeVerifier(capacity=2, answer=lambda asked: Verdict(asked.id, Status.INTERNAL_ERROR))
    found = run([Task(str(number), "sat", "sol") for number in range(5)], verifier, True)
    assert [verdict.id for verdict in found] == ["0", "1", "2", "3", "4"]
    assert {verdict.status for verdict in found} == {"internal_error"}


def test_verdicts_on_duplicates_are_reported_and_judged_ones_are_not() -> None:
    async def main() -> list[str]:
        copies: list[Verdict] = []
        verifier = FakeVerifier(capacity=2)
        items = (Task(f"{number}", f"{number % 2}", "") for number in range(6))
        stream = AsyncStream(items, check_task, verifier.asubmit, WINDOW, True, on_duplicate=copies.append)
        with verifier.answering_when_idle():
            async with stream:
                while await stream.wait():
                    stream.pop()
        return [verdict.id for verdict in copies]

    assert sorted(asyncio.run(main())) == ["2", "3", "4", "5"]


def test_identical_tasks_are_each_submitted_if_the_server_deduplicates() -> None:
    async def collect(verifier: FakeVerifier) -> list[Verdict]:
        found = ajudge_many(same, check_task, verifier.asubmit, WINDOW, True, deduplicate=False)
        return [verdict async for verdict in found]

    same = [Task(str(number), "sat", "sol") for number in range(20)]
    for run in (
        lambda verifier: list(judge_many(same, check_task, verifier.submit, WINDOW, True, deduplicate=False)),
        lambda verifier: asyncio.run(collect(verifier)),
    ):
        verifier = FakeVerifier()
        assert [verdict.id for verdict in run(verifier)] == verifier.asked == [each.id for each in same]


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


def test_memory_does_not_grow_with_the_stream() -> None:
    def use(numbers: Iterable[int]) -> None:
        items = (Task(str(number), "s" * 1000 + str(number), "s" * 9000) for number in numbers)
        for _ in judge_many(items, check_task, FakeVerifier().submit, WINDOW, True):
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
