"""Read records from files: the one reader of all commands.

    source.py        open an input, decompressed, whatever its name; refuse what is something else
    texts.py         JSON: lines, arrays, objects that span lines
    parquet.py       rows of Parquet
    tasks.py         fields -> tasks; P3's puzzles, each with its solutions
    record.py        Record, Unreadable; omissions.py: records that a command leaves out

What is no record, or no task, is a `Record` with a `problem`, and reading goes on. An input without any record is
`Unreadable`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from selftaught.sandbox import corpus
from selftaught.sandbox.records import parquet, source, texts
from selftaught.sandbox.records.record import EXPECTED, Record, Unreadable
from selftaught.sandbox.records.source import Opened, opened
from selftaught.sandbox.records.tasks import kind_of, renamed, text, to_task, with_tasks
from selftaught.sandbox.records.texts import parse

__all__ = [
    "CORPUS", "FORMATS", "Record", "Unreadable", "check", "count", "kind_of", "parse", "read", "renamed", "rows",
    "text", "to_task",
]  # fmt: skip

CORPUS = "corpus:"
"""The name of an input that stands for the bundled puzzles."""

FORMATS = ("auto", "jsonl", "p3", "parquet")
_LINE_BYTES, _ROW_BYTES = 64 << 20, 1 << 30
"""The longest record of a task, and of a problem, which may have very many cases."""
_MOST_COUNTED, _MOST_PARSED = 4 << 30, 256 << 20
"""The longest file whose lines are counted, and whose records are, if they are not lines."""
_FIRST = 100
"""An input that begins with so many records that are no objects is something else."""


def check(name: str) -> None:
    """Raise Unreadable if the input can't be opened, so that a mistake is reported before any work begins."""
    source.check(_path(name))


def rows(name: str, *, may_be_empty: bool = False) -> Iterator[Record]:
    """Read the objects of an input, whatever their fields.

    Args:
        name: A file: JSON Lines, a JSON array, objects that span lines, or Parquet, also compressed with gzip, zstd,
            bzip2 or xz; ``-`` for standard input, or `CORPUS` for the bundled puzzles.
        may_be_empty: An input without records is not an error.

    Yields:
        Records without tasks, in order. What is not an object has a `problem`.

    Raises:
        Unreadable: The input can't be opened, has no objects, or can't be read to its end; the records before were
            yielded.
    """
    with opened(_path(name)) as found:
        yield from _objects(_rows(found, "auto", _ROW_BYTES), found.name, may_be_empty)


def read(name: str, form: str = "auto") -> Iterator[Record]:
    """Read the tasks of an input.

    Args:
        name: As for `rows`.
        form: One of `FORMATS`; ``auto`` recognises the format by the first bytes.

    Yields:
        The records, in order. What is not a task has a `problem`.

    Raises:
        Unreadable: As for `rows`.
    """
    with opened(_path(name)) as found:
        for row in _objects(_rows(found, form, _LINE_BYTES), found.name):
            yield from with_tasks(row)


def count(name: str, form: str = "auto") -> int | None:
    """Return the number of records that `read` finds, if it can be known ahead at little cost; else ``None``.

    It can't for standard input and what is compressed, nor for very large files.
    """
    if not os.path.isfile(_path(name)):  # what is no file, such as a pipe, can be opened once
        return None
    try:
        with opened(_path(name)) as found:
            if not found.path:
                return None
            size, head = os.path.getsize(found.path), found.head()
            if _is_parquet(form, head):
                return parquet.count(found)
            if form == "p3" or texts.spans_lines(head) or b'"sol_bodies"' in head:
                return sum(1 for _ in read(name, form)) if size <= _MOST_PARSED else None
            return texts.count_lines(found) if size <= _MOST_COUNTED else None
    except (Unreadable, OSError):
        return None


def _path(name: str) -> str:
    return str(corpus.path()) if name == CORPUS else name


def _is_parquet(form: str, head: bytes) -> bool:
    return form == "parquet" or (form == "auto" and head.startswith(parquet.MAGIC))


def _rows(found: Opened, form: str, most: int) -> Iterator[Record]:
    head = found.head()
    if _is_parquet(form, head):
        return parquet.rows(found)
    if form == "p3" and not texts.is_array(head):
        raise Unreadable(f"{found.name}: P3's format is an array of puzzles")
    if form == "p3" or (form == "auto" and texts.spans_lines(head)):
        return texts.values(found, most)
    return texts.lines(found, most)


def _objects(found: Iterable[Record], name: str, may_be_empty: bool = False) -> Iterator[Record]:
    """Yield the records. Those before the first object wait for it: if none comes, the input is something else."""
    waiting: list[Record] | None = []
    for record in found:
        if waiting is not None:
            waiting.append(record)
            if record.problem and len(waiting) < _FIRST:
                continue
            if record.problem:
                break
            yield from waiting
            waiting = None
        else:
            yield record
    if waiting:
        raise Unreadable(f"{name}: there is no record in it: {waiting[0].problem}; {EXPECTED}")
    if waiting is not None and not may_be_empty:
        raise Unreadable(f"{name}: it is empty; {EXPECTED}")
