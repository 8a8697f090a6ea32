"""Records in, one JSON object a line out, in input order; an interrupted output can be resumed."""

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
from selftaught.sandbox.records import Record
from selftaught.sandbox.task import Task
from selftaught.sandbox.verdict import Status, Verdict
from selftaught.sandbox.verifier import Verifier


class Mismatch(Exception):
    """The output to resume does not belong to this input."""


def run(
    source: Iterable[Record],
    verifier: Verifier,
    out: IO[bytes],
    repeat: int = 1,
    on_verdict: Callable[[Verdict], None] = lambda verdict: None,
) -> Counter[str]:
    """Judge every record and write a line for each; returns how often each status came.

    Only whole lines are written, each at once, and nothing for a task whose judgement was cancelled.
    """
    counts: Counter[str] = Counter()
    for record, verdict in _judged(source, verifier, repeat):
        if verdict.status is Status.CANCELLED:
            break
        out.write(line(record, verdict))
        out.flush()
        counts[verdict.status] += 1
        on_verdict(verdict)
    return counts


def _judged(source: Iterable[Record], verifier: Verifier, repeat: int) -> Iterator[tuple[Record, Verdict]]:
    """Every record with its verdict. A record that is no task goes through the stream too, to keep its place."""
    waiting: deque[Record] = deque()

    def tasks() -> Iterator[Task]:
        for record in source:
            waiting.append(record)
            yield record.task or _nothing

    for verdict in verifier.verify_many(tasks(), repeat=repeat):
        record = waiting.popleft()
        if record.task is None:
            verdict = Verdict(record.id, Status.INVALID, message=record.problem, verifier=verdict.verifier)
        yield record, verdict


_nothing: Any = None  # not a task: the verifier calls it invalid


def line(record: Record, verdict: Verdict) -> bytes:
    """The output of a record: its own fields, untouched, and the verdict's.

    Not by orjson, which refuses lone surrogates and integers beyond 64 bits and makes null of NaN.
    """
    content = {**record.fields, **verdict.to_dict()}
    return json.dumps(content, default=str, separators=(",", ":")).encode() + b"\n"


def resume(path: Path, source: Iterator[Record]) -> Counter[str]:
    """Skip what the output has already; returns how often each status is there.

    A torn last line is cut off. Raises Mismatch, and leaves the file alone, if it belongs to another input.
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
                raise Mismatch(f"{place} is no verdict: is this an output of `selftaught verify`?") from None
            if not text.endswith(b"\n"):
                break
            _expect(next(source, None), ident, place)
            done[status] += 1
            end += len(text)
        file.truncate(end)
        file.seek(0, os.SEEK_END)
    return done


def _expect(record: Record | None, ident: object, place: str) -> None:
    if record is None:
        raise Mismatch(f"{place}: the output has more records than the input")
    if record.id != ident:
        raise Mismatch(f"{place} is about {ident!r}, but the input has {record.id!r} there: not the same input")


def count(paths: Iterable[str]) -> int | None:
    """How many records there are, if that is quickly told: the lines of plain files of moderate size."""
    total = 0
    for name in paths:
        path = Path(name)
        if not path.is_file() or path.stat().st_size > 100 << 20:
            return None
        with open(path, "rb") as file:
            if file.read(1) != b"{":
                return None
            total += sum(chunk.count(b"\n") for chunk in iter(lambda file=file: file.read(1 << 20), b""))  # type: ignore[misc]
    return total


def chain(sources: Iterable[str], form: str) -> Iterator[Record]:
    """The records of several inputs, one after the other. Raises Unreadable at once if one can't be opened."""
    names = list(sources)
    for name in names:
        records.check(name)
    return joined.from_iterable(records.read(name, form) for name in names)
