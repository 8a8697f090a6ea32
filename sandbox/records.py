"""Read tasks from JSON Lines, P3's puzzles.json, gzip of either, Parquet, or the bundled corpus.

In JSON Lines and Parquet tasks of all kinds may be mixed: their fields tell them apart.
A record that is not a task becomes a `Record` with a `problem`, and reading goes on.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TypeAlias, cast

import orjson

from selftaught.sandbox import corpus, json_cases
from selftaught.sandbox.task import AnyTask, FunctionTask, StdioTask, Task

CORPUS = "corpus:"
"""The name of an input that stands for the bundled puzzles."""

FORMATS = ("auto", "jsonl", "p3", "parquet")
_LINE_BYTES, _ROW_BYTES = 64 << 20, 1 << 30
"""The longest line of a task, and of a problem, which may have very many cases."""
_HUGE = re.compile(rb"\d{19}")
_P3 = re.compile(rb"(?:\xef\xbb\xbf)?\s*\[\s*[{\]]")
_DEPTH = 500
"""A record that is nested deeper is not a task: `json` could not write it to the output."""


class Unreadable(Exception):
    """An input can't be read at all; the message says why and what to do."""


@dataclass(slots=True)
class Record:
    """One record of an input.

    Attributes:
        place: ``FILE:LINE``, or the number of the record if the format has no lines.
        fields: The record as read, for the output.
        task: The task, or ``None`` if there is a `problem`.
        problem: Why the record is not a task.
    """

    place: str
    fields: dict[str, Any] = field(default_factory=dict)
    task: AnyTask | None = None
    problem: str = ""

    @property
    def id(self) -> str:
        """The record's own id as a string, or else its place."""
        name = self.fields.get("id")
        return str(name) if isinstance(name, (str, int, float)) and not isinstance(name, bool) else self.place


Make: TypeAlias = Callable[[str, Any], Record]
"""Makes a record of its place and of what was read there."""


def check(source: str) -> None:
    """Raise Unreadable if the input can't be opened, so that a mistake is reported before any work begins."""
    if source in ("-", CORPUS):
        return
    if not os.path.exists(source):
        raise Unreadable(f"{source}: no such file")
    if os.path.isdir(source) or not os.access(source, os.R_OK):
        raise Unreadable(f"{source}: not a file that can be read")


def rows(source: str) -> Iterator[Record]:
    """Read the objects of an input, whatever their fields.

    Args:
        source: JSON Lines, a JSON array, gzip of either, or Parquet; ``-`` for standard input.

    Yields:
        Records without tasks, in order. What is not an object has a `problem`.

    Raises:
        Unreadable: The input can't be opened, decompressed, or parsed as a whole.
    """
    return _read(source, "auto", _row, _read_array, _ROW_BYTES)


def read(source: str, form: str = "auto") -> Iterator[Record]:
    """Read the records of an input.

    Args:
        source: A file, ``-`` for standard input, or `CORPUS` for the bundled puzzles.
        form: One of `FORMATS`; ``auto`` recognises the format by the first bytes.

    Yields:
        The records, in order.

    Raises:
        Unreadable: The input can't be opened, decompressed, or parsed as a whole.
    """
    return _read(str(corpus.path()) if source == CORPUS else source, form, _record, _read_p3, _LINE_BYTES)


def _read(
    source: str, form: str, make: Make, read_array: Callable[[IO[bytes], str], Iterator[Record]], most: int
) -> Iterator[Record]:
    try:
        stream: IO[bytes] = sys.stdin.buffer if source == "-" else open(source, "rb")  # noqa: SIM115  # closed below
    except OSError as error:
        raise Unreadable(f"{source}: {error.strerror}") from error
    with stream:
        head = stream.peek(4)[:4]  # type: ignore[attr-defined]
        if form == "parquet" or (form == "auto" and head == b"PAR1"):
            yield from _read_parquet(source, make)
            return
        lines = cast("IO[bytes]", gzip.GzipFile(fileobj=stream)) if head[:2] == b"\x1f\x8b" else stream
        name = "standard input" if source == "-" else source
        try:
            if form == "p3" or (form == "auto" and _P3.match(lines.peek(64))):  # type: ignore[attr-defined]
                yield from read_array(lines, name)
            else:
                yield from _read_lines(lines, name, make, most)
        except (EOFError, OSError, zlib.error) as error:
            raise Unreadable(f"{name}: {error}") from error


def _read_lines(lines: IO[bytes], name: str, make: Make, most: int) -> Iterator[Record]:
    number = 0
    while line := lines.readline(most):
        number += 1
        place = f"{name}:{number}"
        if len(line) == most and not line.endswith(b"\n"):
            while (rest := lines.readline(most)) and not rest.endswith(b"\n"):
                continue
            yield Record(place, problem=f"{place}: the line is longer than {most >> 20} MiB")
            continue
        if not line.strip():
            continue
        try:
            fields = parse(line)
        except ValueError as error:
            yield Record(place, problem=f"{place}: not JSON: {error}")
            continue
        yield make(place, fields)


def parse(line: bytes) -> Any:
    """Parse a JSON value. The slower `json` reads what orjson can't: integers beyond 64 bits, NaN, lone surrogates.

    Args:
        line: The JSON text in UTF-8.

    Returns:
        The value.

    Raises:
        ValueError: It is not JSON, or nested too deep.
    """
    try:
        value = _loads(line)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if line.count(b"[") + line.count(b"{") > _DEPTH and _too_deep(value):
        raise ValueError("nested too deep")
    return value


def _loads(line: bytes) -> Any:
    if not _HUGE.search(line):  # orjson reads an integer beyond 64 bits as a float
        try:
            return orjson.loads(line)
        except orjson.JSONDecodeError:
            pass
    return json.loads(line)


def _too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(_DEPTH):
        inner = [node.values() if isinstance(node, dict) else node for node in level if isinstance(node, (dict, list))]
        level = [child for children in inner for child in children]
    return bool(level)


def _row(place: str, fields: Any) -> Record:
    if not isinstance(fields, dict):
        return Record(place, problem=f"{place}: not an object but {type(fields).__name__}")
    return Record(place, fields)


def _record(place: str, fields: Any) -> Record:
    record = _row(place, fields)
    if record.problem:
        return record
    ident = fields.get("id", "")
    if isinstance(ident, bool) or not isinstance(ident, (str, int, float)):
        record.problem = f"{place}: the field 'id' must be a string or a number, not {type(ident).__name__}"
        return record
    try:
        record.task = to_task(fields, record.id)
    except ValueError as error:
        record.problem = f"{place}: {error}"
    return record


_KINDS = (("sat", Task), ("entry_point", FunctionTask), ("cases", StdioTask))
_NO_KIND = (
    "the field 'sat' is missing: a task has 'sat' (a puzzle), 'entry_point' with 'tests' or 'cases' (a function), or "
    "'cases' alone (a program)"
)
_STRINGS = {
    Task: ("sat", "sol"),
    FunctionTask: ("sol", "entry_point", "tests", "prelude", "compare", "checker", "isolation"),
    StdioTask: ("sol", "compare", "checker"),
}
_REQUIRED = ("sat", "sol", "entry_point")


def kind_of(fields: dict[str, Any]) -> type[AnyTask]:
    """Return the kind of task that these fields describe. Raises ValueError if there is none.

    A field that is ``null`` is absent: in a table with several kinds of tasks every row has all columns.
    """
    for name, kind in _KINDS:
        if fields.get(name) is not None:
            return kind
    raise ValueError(_NO_KIND)


def to_task(fields: dict[str, Any], ident: str) -> AnyTask:
    """Return the task that these fields describe; other fields are ignored.

    Args:
        fields: The fields, from JSON or a row of a table.
        ident: The task's id.

    Raises:
        ValueError: A field is missing, or has another type; the message names it.
    """
    kind = kind_of(fields)
    given: dict[str, Any] = {}
    for name in _STRINGS[kind]:
        value = fields.get(name)
        if isinstance(value, str):
            given[name] = value
        elif value is not None or name in _REQUIRED:
            reason = f"must be a string, not {type(value).__name__}" if name in fields else "is missing"
            raise ValueError(f"the field {name!r} {reason}")
    if kind is not Task:
        given |= _cases(kind, fields)
    return kind(id=ident, **given)


def _cases(kind: type[AnyTask], fields: dict[str, Any]) -> dict[str, Any]:
    """Return the cases among the fields, and how many of them are judged. Raises ValueError."""
    found: dict[str, Any] = {}
    if fields.get("all_cases") is not None:
        if type(fields["all_cases"]) is not bool:
            raise ValueError(f"the field 'all_cases' must be true or false, not {type(fields['all_cases']).__name__}")
        found["all_cases"] = fields["all_cases"]
    if fields.get("cases") is not None:
        found["cases"] = json_cases.read(fields["cases"]) if kind is FunctionTask else fields["cases"]
    return found


def _read_p3(stream: IO[bytes], name: str) -> Iterator[Record]:
    """Yield a task for every reference solution, named NAME, or NAME#k if a puzzle has several."""
    try:
        puzzles = json.loads(stream.read())
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"{name}: not JSON: {error}") from error
    if not isinstance(puzzles, list):
        raise Unreadable(f"{name}: P3's format is an array of puzzles, not {type(puzzles).__name__}")
    for number, puzzle in enumerate(puzzles, 1):
        place = f"{name}:{number}"
        try:
            bodies = puzzle["sol_bodies"]
            if not isinstance(bodies, list):
                raise TypeError(f"sol_bodies must be an array, not {type(bodies).__name__}")
            module = {"module": puzzle["module"]} if "module" in puzzle else {}
            for k, body in enumerate(bodies):
                ident = puzzle["name"] if len(bodies) == 1 else f"{puzzle['name']}#{k}"
                sol = puzzle["sol_header"] + "\n" + body
                yield _record(place, {**module, "id": ident, "sat": puzzle["sat"], "sol": sol})
        except (KeyError, TypeError) as error:
            yield Record(place, problem=f"{place}: not a P3 puzzle: {type(error).__name__}: {error}")


def _read_array(stream: IO[bytes], name: str) -> Iterator[Record]:
    try:
        values = parse(stream.read())
    except ValueError as error:
        raise Unreadable(f"{name}: not JSON: {error}") from error
    for number, fields in enumerate(values, 1):
        yield _row(f"{name}:{number}", fields)


def _read_parquet(source: str, make: Make) -> Iterator[Record]:
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
                yield make(f"{Path(source)}:{number}", fields)
    except pyarrow.ArrowException as error:
        raise Unreadable(f"{source}: {error}") from error
