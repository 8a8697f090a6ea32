"""Records in, one JSON object a line out, in input order; an interrupted output can be resumed."""

from __future__ import annotations

import json
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any

import orjson

from sandbox import records
from sandbox.records import Record
from sandbox.task import Task
from sandbox.verdict import Status, Verdict
from sandbox.verifier import Verifier

_FLUSH_SECONDS = 0.5


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

    Only whole lines are written, and nothing for a task whose judgement was cancelled.
    """
    counts: Counter[str] = Counter()
    flushed = time.monotonic()
    for record, verdict in _judged(source, verifier, repeat):
        if verdict.status is Status.CANCELLED:
            break
        out.write(line(record, verdict))
        counts[verdict.status] += 1
        on_verdict(verdict)
        if time.monotonic() - flushed > _FLUSH_SECONDS:
            out.flush()
            flushed = time.monotonic()
    out.flush()
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
            ident = record.fields.get("id", record.place)
            name = ident if isinstance(ident, str) else record.place
            verdict = Verdict(name, Status.INVALID, message=record.problem, verifier=verdict.verifier)
        yield record, verdict


_nothing: Any = None  # not a task: the verifier calls it invalid


def line(record: Record, verdict: Verdict) -> bytes:
    """The output of a record: its own fields, untouched, and the verdict's."""
    content = {**record.fields, **verdict.to_dict()}
    try:
        return orjson.dumps(content) + b"\n"
    except TypeError:  # lone surrogates, integers beyond 64 bits
        return json.dumps(content, default=str).encode() + b"\n"


def resume(path: Path, source: Iterator[Record]) -> int:
    """Skip what the output has already; returns how many records that is. A torn last line is cut off. Raises Mismatch."""
    done = 0
    with open(path, "r+b") as file:
        end = 0
        for text in file:
            if not text.endswith(b"\n"):
                break
            try:
                ident = records.parse(text)["id"]
            except (ValueError, KeyError, TypeError):
                raise Mismatch(f"{path}:{done + 1} is no verdict: is this an output of `selftaught verify`?") from None
            _expect(next(source, None), ident, f"{path}:{done + 1}")
            done += 1
            end += len(text)
        file.truncate(end)
        file.seek(0, os.SEEK_END)
    return done


def _expect(record: Record | None, ident: object, place: str) -> None:
    if record is None:
        raise Mismatch(f"{place}: the output has more records than the input")
    expected = record.task.id if record.task else record.fields.get("id", record.place)
    if isinstance(expected, str) and expected != ident:
        raise Mismatch(f"{place} is about {ident!r}, but the input has {expected!r} there: not the same input")


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
    """The records of several inputs, one after the other."""
    for source in sources:
        yield from records.read(source, form)


def preview(source: Iterator[Record], most: int) -> list[Record]:
    """The first records, so that an unreadable input is found before anything is started."""
    return list(islice(source, most))
