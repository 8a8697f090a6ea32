"""Samples that a user already has, judged and scored as the attempts of a model."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from selftaught.sandbox import Status, Verifier, batch
from selftaught.sandbox.batch import Mismatch
from selftaught.sandbox.formats.joining import Dataset
from selftaught.sandbox.records import Record
from selftaught.trainer.results import Result


def score(
    dataset: Dataset,
    earlier: Iterable[Result],
    verifier: Verifier,
    on_result: Callable[[Result], None],
) -> None:
    """Judge samples in their order, as `selftaught verify --samples` does.

    A sample that can't be judged, for instance since there is no such problem, is a result with the status ``invalid``.

    Args:
        dataset: The problems and samples.
        earlier: Results of an earlier process, which had the first of these samples.
        verifier: The verifier.
        on_result: Called with the result of each further sample. It has one attempt.

    Raises:
        Mismatch: The earlier results are not of these samples.
        Unreadable: The samples can't be read.
    """
    source = dataset.samples()
    for number, result in enumerate(earlier, 1):
        record = next(source, None)
        if record is None:
            raise Mismatch(f"the output has more results than there are samples: {number - 1:,}")
        if result.id != record.id or (record.task and record.task.sol not in result.solutions):
            raise Mismatch(
                f"result {number} of the output is about another sample ({result.id}) than {record.place}: new samples "
                "are added at the end of the file"
            )
    for record, verdict in batch.judged(source, verifier):
        if verdict.status is Status.CANCELLED:
            break
        solutions = {record.task.sol: str(verdict.status)} if record.task else {}
        statuses = Counter({str(verdict.status): 1})
        on_result(Result(record.id, "", False, _temperature(record), statuses, solutions, record.problem))


def _temperature(record: Record) -> float | None:
    """Return the sampling temperature that a sample names."""
    value: Any = record.fields.get("temperature")
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def digest(path: str) -> str:
    """Return a digest of a file. Raises OSError."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
