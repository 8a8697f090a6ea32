"""Judge files: records in, one JSON object a line out, in input order. An interrupted output can be resumed."""

from __future__ import annotations

import json
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain as joined
from pathlib import Path
from typing import IO, Any

from selftaught.sandbox import records
from selftaught.sandbox.output import open_output
from selftaught.sandbox.records import Record, Unreadable
from selftaught.sandbox.task import AnyTask, Task
from selftaught.sandbox.verdict import Status, Verdict
from selftaught.sandbox.verifier import Verifier


class Mismatch(Exception):
    """The output to resume belongs to another input."""


def run(
    source: Iterable[Record],
    verifier: Verifier,
    out: IO[bytes],
    repeat: int = 1,
    on_verdict: Callable[[Verdict], None] = lambda verdict: None,
) -> Counter[str]:
    """Judge every record and write a line for each.

    Only whole lines are written, each with one flush, and none for a cancelled task.

    Args:
        source: The records.
        verifier: Judges them.
        out: Where lines are written.
        repeat: How often each task is judged; see `Verifier.verify_many`.
        on_verdict: Called with each verdict after its line was written.

    Returns:
        How many verdicts had each status.

    Raises:
        Unreadable: The input can't be read to its end. The records before have their verdicts.
    """
    counts: Counter[str] = Counter()
    for record, verdict in judged(source, verifier, repeat):
        if verdict.status is Status.CANCELLED:
            break
        out.write(line(record, verdict))
        out.flush()
        counts[verdict.status] += 1
        on_verdict(verdict)
    return counts


def judged(source: Iterable[Record], verifier: Verifier, repeat: int = 1) -> Iterator[tuple[Record, Verdict]]:
    """Yield every record with its verdict. A record without a task goes through the stream too, to keep the order."""
    waiting: deque[Record] = deque()
    unreadable: list[Unreadable] = []

    def tasks() -> Iterator[AnyTask]:
        try:
            for record in source:
                waiting.append(record)
                yield record.task or _NOT_A_TASK
        except Unreadable as error:  # raised below, when all that was read is judged
            unreadable.append(error)

    for verdict in verifier.verify_many(tasks(), repeat=repeat):
        record = waiting.popleft()
        if record.task is None:
            verdict = Verdict(record.id, Status.INVALID, message=record.problem, verifier=verdict.verifier)
        yield record, verdict
    if unreadable:
        raise unreadable[0]


_NOT_A_TASK: Any = None  # its verdict is `invalid`


_OF_CASES = ("isolation", "cases", "passed", "total", "decided_by")


def line(record: Record, verdict: Verdict) -> bytes:
    """Return the output line of a record: its own fields, unchanged, and those of the verdict.

    A field of the verdict takes the place of the record's field of that name: `cases` has the results of the cases, not
    the cases, which may be long. What a verdict says of cases is left out where there are none.

    orjson can't write it: it refuses lone surrogates and integers beyond 64 bits, and turns NaN into null.
    """
    found = verdict.to_dict()
    if record.task is None or isinstance(record.task, Task):
        for name in _OF_CASES:
            del found[name]
    content = {**record.fields, **found}
    return json.dumps(content, default=str, separators=(",", ":")).encode() + b"\n"


def resume(
    path: Path, source: Iterator[Record], on_status: Callable[[str, Status], None] = lambda ident, status: None
) -> Counter[str]:
    """Skip the records that an interrupted output already has. An incomplete last line is cut off.

    Args:
        path: The output.
        source: The records; those that the output has are consumed.
        on_status: Called with the id and the status of each verdict that the output has.

    Returns:
        How many verdicts of each status the output has.

    Raises:
        Mismatch: The output belongs to another input. The file is left unchanged.
    """
    done: Counter[str] = Counter()
    with open_output(path, "r+b") as file:
        end = 0
        for text in file:
            place = f"{path}:{done.total() + 1}"
            try:
                verdict = records.parse(text)
                ident, status = verdict["id"], Status(verdict["status"])
            except (ValueError, KeyError, TypeError):
                if text[:1] in b"{\0" and not file.peek(1):  # type: ignore[attr-defined]
                    break
                raise Mismatch(f"{place} is not a verdict: is this an output of `selftaught verify`?") from None
            if not text.endswith(b"\n"):
                break
            _expect(next(source, None), ident, place)
            done[status] += 1
            on_status(ident, status)
            end += len(text)
        file.truncate(end)
        file.seek(0, os.SEEK_END)
    return done


def _expect(record: Record | None, ident: object, place: str) -> None:
    if record is None:
        raise Mismatch(f"{place}: the output has more records than the input")
    if record.id != ident == record.place:
        raise Mismatch(
            f"{place} is the verdict on a record without an id, which has the id {record.id!r} now. Was it cut then, "
            f"and is whole now? Remove this line and those below it from the output, and give --resume again"
        )
    if record.id != ident:
        raise Mismatch(f"{place} is about {ident!r}, but the input has {record.id!r} there: it is another input")


def count(sources: Iterable[str], form: str = "auto") -> int | None:
    """Return the number of records of several inputs, if it can be known ahead (`selftaught.sandbox.records.count`)."""
    found = [records.count(name, form) for name in sources]
    return None if None in found else sum(number for number in found if number is not None)


def chain(sources: Iterable[str], form: str) -> Iterator[Record]:
    """Return the records of several inputs, one after the other.

    Args:
        sources: The inputs; see `selftaught.sandbox.records.read`.
        form: Their format.

    Raises:
        Unreadable: One of them can't be opened. Raised before the first is read.
    """
    names = list(sources)
    for name in names:
        records.check(name)
    return joined.from_iterable(records.read(name, form) for name in names)
