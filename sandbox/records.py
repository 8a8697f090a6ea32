"""The formats that tasks are read from: JSON Lines, P3's puzzles.json, gzip of either, Parquet, and the bundled corpus.

A record that is no task is a `Record` with a `problem`, in its place: the rest is read on.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

import orjson

from sandbox import corpus
from sandbox.task import Task

CORPUS = "corpus:"
"""The input that means the bundled puzzles."""

FORMATS = ("auto", "jsonl", "p3", "parquet")
_LINE_BYTES = 64 << 20
_HUGE = re.compile(rb"\d{19}")


class Unreadable(Exception):
    """An input as a whole can't be read; the message says why and what to do."""


@dataclass(slots=True)
class Record:
    """One record of an input.

    place: ``FILE:LINE``. fields: as read, to be passed through. task: what to judge, or ``None`` with the `problem`.
    """

    place: str
    fields: dict[str, Any] = field(default_factory=dict)
    task: Task | None = None
    problem: str = ""


def read(source: str, form: str = "auto") -> Iterator[Record]:
    """The records of a file, of standard input (``-``) or of the bundled corpus (`CORPUS`). Raises Unreadable."""
    if source == CORPUS:
        source = str(corpus.path())
    try:
        stream: IO[bytes] = sys.stdin.buffer if source == "-" else open(source, "rb")  # noqa: SIM115  # closed below
    except OSError as error:
        raise Unreadable(f"{source}: {error.strerror}") from error
    with stream:
        head = stream.peek(4)[:4]  # type: ignore[attr-defined]
        if form == "parquet" or (form == "auto" and head == b"PAR1"):
            yield from _read_parquet(source)
            return
        lines = cast("IO[bytes]", gzip.GzipFile(fileobj=stream)) if head[:2] == b"\x1f\x8b" else stream
        name = "standard input" if source == "-" else source
        try:
            if form == "p3" or (form == "auto" and lines.peek(1)[:1] == b"["):  # type: ignore[attr-defined]
                yield from _read_p3(lines, name)
            else:
                yield from _read_lines(lines, name)
        except (EOFError, OSError) as error:
            raise Unreadable(f"{name}: {error}") from error


def _read_lines(lines: IO[bytes], name: str) -> Iterator[Record]:
    number = 0
    while line := lines.readline(_LINE_BYTES):
        number += 1
        place = f"{name}:{number}"
        if len(line) == _LINE_BYTES and not line.endswith(b"\n"):
            while (rest := lines.readline(_LINE_BYTES)) and not rest.endswith(b"\n"):
                continue
            yield Record(place, problem=f"{place}: the line is longer than {_LINE_BYTES >> 20} MiB")
            continue
        if not line.strip():
            continue
        try:
            fields = parse(line)
        except ValueError as error:
            yield Record(place, problem=f"{place}: not JSON: {error}")
            continue
        yield _record(place, fields)


def parse(line: bytes) -> Any:
    """A JSON value; what orjson refuses (integers beyond 64 bits, NaN, lone surrogates) is read by the slower `json`.

    Raises ValueError.
    """
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return json.loads(line)
    # orjson reads an integer beyond 64 bits as a float: read again what may hold one.
    return json.loads(line) if _HUGE.search(line) else value


def _record(place: str, fields: Any) -> Record:
    if not isinstance(fields, dict):
        return Record(place, problem=f"{place}: not an object but {type(fields).__name__}")
    ident = fields.get("id", place)
    if isinstance(ident, (int, float)) and not isinstance(ident, bool):
        ident = str(ident)
    for name, value in (("id", ident), ("sat", fields.get("sat")), ("sol", fields.get("sol"))):
        if not isinstance(value, str):
            reason = "is missing" if name not in fields else f"must be a string, not {type(value).__name__}"
            return Record(place, fields, problem=f"{place}: the field {name!r} {reason}")
    return Record(place, fields, Task(ident, fields["sat"], fields["sol"]))


def _read_p3(stream: IO[bytes], name: str) -> Iterator[Record]:
    """Every reference solution is a task: NAME, or NAME#k where a puzzle has several."""
    try:
        puzzles = json.loads(stream.read())
    except ValueError as error:
        raise Unreadable(f"{name}: not JSON: {error}") from error
    if not isinstance(puzzles, list):
        raise Unreadable(f"{name}: P3's format is an array of puzzles, not {type(puzzles).__name__}")
    for number, puzzle in enumerate(puzzles, 1):
        place = f"{name}:{number}"
        try:
            bodies = list(puzzle["sol_bodies"])
            for k, body in enumerate(bodies):
                ident = puzzle["name"] if len(bodies) == 1 else f"{puzzle['name']}#{k}"
                sol = f"{puzzle['sol_header']}\n{body}"
                yield _record(place, {"id": ident, "sat": puzzle["sat"], "sol": sol})
        except (KeyError, TypeError) as error:
            yield Record(place, problem=f"{place}: not a P3 puzzle: {type(error).__name__}: {error}")


def _read_parquet(source: str) -> Iterator[Record]:
    try:
        import pyarrow.parquet
    except ImportError:
        raise Unreadable(f"{source}: reading Parquet needs pyarrow: pip install 'selftaught[parquet]'") from None
    if source == "-":
        raise Unreadable("Parquet can't be read from standard input: name the file")
    number = 0
    try:
        for batch in pyarrow.parquet.ParquetFile(source).iter_batches(1024):
            for fields in batch.to_pylist():
                number += 1
                yield _record(f"{Path(source)}:{number}", fields)
    except pyarrow.ArrowException as error:
        raise Unreadable(f"{source}: {error}") from error
