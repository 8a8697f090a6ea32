"""Samples that a user already has, judged and scored as the attempts of a model."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any

from selftaught.sandbox import Status, Verifier, batch
from selftaught.sandbox.batch import Mismatch
from selftaught.sandbox.formats.joining import Dataset
from selftaught.sandbox.records import Record
from selftaught.trainer.results import Result


def remaining(dataset: Dataset, earlier: Iterable[Result]) -> Iterator[tuple[int, Record]]:
    """Return the samples that are still to be judged, each with its number from 0.

    Args:
        dataset: The problems and samples.
        earlier: Results of an earlier process, which had the first of these samples. Those that are to repeat come
            again.

    Raises:
        Mismatch: The earlier results are not of these samples.
        Unreadable: The samples can't be read.
    """
    source = enumerate(dataset.samples())
    again: dict[int, Record] = {}
    compared = 0
    for result in earlier:
        if result.number < compared:  # it was judged again
            if not result.to_repeat:
                again.pop(result.number, None)
            continue
        number, record = next(source, (compared, None))
        if record is None:
            raise Mismatch(f"the output has more results than there are samples: {compared:,}")
        if result.id != record.id or (record.task and record.task.sol not in result.solutions):
            raise Mismatch(
                f"result {number + 1} of the output is about another sample ({result.id}) than {record.place}: new "
                "samples are added at the end of the file"
            )
        compared += 1
        if result.to_repeat:
            again[number] = record
    return chain(sorted(again.items()), source)


def score(samples: Iterable[tuple[int, Record]], verifier: Verifier, on_result: Callable[[Result], None]) -> None:
    """Judge samples in their order, as `selftaught verify --samples` does.

    A sample that can't be judged, for instance since there is no such problem, is a result with the status ``invalid``.

    Args:
        samples: The samples, with their numbers.
        verifier: The verifier.
        on_result: Called with the result of each. It has one attempt.

    Raises:
        Unreadable: The samples can't be read.
    """
    waiting: deque[int] = deque()

    def records() -> Iterator[Record]:
        for number, record in samples:
            waiting.append(number)
            yield record

    for record, verdict in batch.judged(records(), verifier):
        if verdict.status is Status.CANCELLED:
            break
        solutions = {record.task.sol: str(verdict.status)} if record.task else {}
        statuses = Counter({str(verdict.status): 1})
        number, temperature = waiting.popleft(), _temperature(record)
        on_result(Result(record.id, "", False, temperature, statuses, solutions, record.problem, number))


def _temperature(record: Record) -> float | None:
    """Return the sampling temperature that a sample names."""
    value: Any = record.fields.get("temperature")
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
