"""JSON as it is written to files: a value a line, or an array or objects that span lines.

Memory stays flat: at most one record is kept, however long the input is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import orjson

from selftaught.sandbox.records.record import EXPECTED, Record, Unreadable
from selftaught.sandbox.records.source import Opened, damaged

_HUGE = re.compile(rb"\d{19}")
_DEPTH = 500
"""A record that is nested deeper is not read: `json` could not write it to the output."""
_BOM = b"\xef\xbb\xbf"
_ARRAY = re.compile(rb"(?:\xef\xbb\xbf)?\s*\[")
_ARRAY_OF_OBJECTS = re.compile(_ARRAY.pattern + rb"\s*(?:[{\]]|$)")
_SPREAD = re.compile(rb'(?:\xef\xbb\xbf)?\s*\{(?:[^\n]*[{\[,:])?[ \t\r]*\n\s*["}\]\[\dtfn-]')
"""An object that breaks off at the end of the first line, and goes on in the next."""
_CHUNK = 1 << 20


def spans_lines(head: bytes) -> bool:
    """Return True for the beginning of an array of objects, or of objects that span lines, such as jq prints them."""
    return bool(_ARRAY_OF_OBJECTS.match(head) or _SPREAD.match(head))


def is_array(head: bytes) -> bool:
    """Return True for the beginning of an array."""
    return bool(_ARRAY.match(head))


def lines(opened: Opened, most: int) -> Iterator[Record]:
    """Yield a record for every line that is not blank.

    Args:
        opened: The input.
        most: The longest line in bytes; a longer one is a record with a problem.

    Raises:
        Unreadable: The input can't be read to its end. All lines before were yielded.
    """
    number, name = 0, opened.name
    while True:
        try:
            line = opened.stream.readline(most)
            number += 1
            too_long = len(line) == most and not line.endswith(b"\n")
            while too_long and (rest := opened.stream.readline(most)) and not rest.endswith(b"\n"):
                continue
        except opened.errors as error:
            raise Unreadable(damaged(name, error, f"in line {number + 1}")) from error
        if not line:
            return
        place = f"{name}:{number}"
        if too_long:
            yield Record(place, problem=f"{place}: the line is longer than {most >> 20} MiB")
        elif line.strip():
            yield _parsed(place, line.removeprefix(_BOM) if number == 1 else line)


def count_lines(opened: Opened) -> int:
    """Return the number of lines that are not blank. Raises `Opened.errors`."""
    number, blank = 0, True
    while part := opened.stream.readline(_CHUNK):
        blank = blank and part.isspace()
        if part.endswith(b"\n"):
            number += not blank
            blank = True
    return number + (not blank)


def _parsed(place: str, text: bytes) -> Record:
    try:
        fields = parse(text)
    except ValueError as error:
        return Record(place, problem=f"{place}: {_what_is_wrong(text, error)}")
    if not isinstance(fields, dict):
        return Record(place, problem=f"{place}: not an object but {type(fields).__name__}")
    return Record(place, fields)


def _what_is_wrong(line: bytes, error: ValueError) -> str:
    if not line.strip(b"\0 \r\n"):
        return "not JSON: the line has NUL bytes alone; the file was not written to its end"
    if line.rstrip().endswith(b"},"):
        return f"not JSON: {error}; the line ends in a comma, but in JSON Lines nothing stands between objects"
    if line.lstrip().startswith(b"{") and not line.endswith(b"\n") and not line.rstrip().endswith(b"}"):
        return f"not JSON: {error}; the file ends within this line: it was cut, or is still being written"
    return f"not JSON: {error}"


def values(opened: Opened, most: int) -> Iterator[Record]:
    """Yield a record for every value of an array, and for every object beside arrays.

    Args:
        opened: The input.
        most: The longest value in bytes.

    Raises:
        Unreadable: The input can't be read to its end. All values before were yielded.
    """
    scanner = _Scanner(opened, most)
    for number, text in enumerate(scanner.values(), 1):
        yield _parsed(f"{opened.name}:{number}", text)


_STRING = rb'"(?:[^"\\]++|\\.)*+"'
_BRACKET = re.compile(rb'(?:[^"\[\]{}]++|' + _STRING + rb'|\[[^"\[\]{}]*+\])*+([\[\]{}])', re.S)
"""The next bracket outside strings, and outside arrays of numbers, which are skipped whole."""
_SCALAR = re.compile(_STRING + rb'|[^,\[\]{}"\s]++', re.S)
_NO_SPACE = re.compile(rb"\S")
_CUT = "the file ends within the record: it was cut, or is still being written"


class _Scanner:
    """Cuts JSON into values by its brackets alone, so that a value that is no JSON costs no other value."""

    def __init__(self, opened: Opened, most: int) -> None:
        self._opened, self._most = opened, most
        self._text, self._at, self._line, self._values = b"", 0, 1, 0
        self._error: Exception | None = None

    def values(self) -> Iterator[bytes]:
        """Yield the text of each value: those of arrays, and objects beside arrays."""
        if self._next() and self._text.startswith(_BOM):
            self._at = len(_BOM)
        while first := self._next():
            if first == b"[":
                self._at += 1
                yield from self._elements()
            elif first == b"{":
                yield self._value()
            else:
                raise self._unreadable(f"{EXPECTED}, and not what stands here")

    def _elements(self) -> Iterator[bytes]:
        while self._next() != b"]":
            yield self._value()
            while self._next() == b",":  # one too many or a missing one costs no value
                self._at += 1
        self._at += 1

    def _next(self) -> bytes:
        """Go to the next byte that is no space, and return it; empty at the end."""
        while True:
            if found := _NO_SPACE.search(self._text, self._at):
                self._at = found.start()
                return found[0]
            self._at = len(self._text)
            if not self._read():
                return b""

    def _value(self) -> bytes:
        """Return the value that begins here, and go behind it."""
        if self._text[self._at : self._at + 1] not in (b"[", b"{"):
            return self._scalar()
        depth, size = 1, 1
        while depth:
            if found := _BRACKET.match(self._text, self._at + size):
                depth += 1 if found[1] in (b"[", b"{") else -1
                size = found.end() - self._at
            else:
                self._read_within()
        return self._taken(size)

    def _scalar(self) -> bytes:
        """Return the string, number or name that begins here, and go behind it."""
        while True:
            found = _SCALAR.match(self._text, self._at)
            if found and found.end() < len(self._text):
                return self._taken(found.end() - self._at)
            if not found and self._text[self._at : self._at + 1] not in (b"", b'"'):
                raise self._unreadable("a value is missing")
            self._read_within()

    def _taken(self, size: int) -> bytes:
        start, self._at = self._at, self._at + size
        self._values += 1
        return self._text[start : self._at]

    def _read_within(self) -> None:
        if not self._read():
            raise self._unreadable(_CUT)
        if len(self._text) > self._most:
            raise self._unreadable(f"a value is longer than {self._most >> 20} MiB")

    def _read(self) -> bool:
        """Read at least as much again as is left of the text, so that a long string is scanned a few times only.

        Returns False at the end. An error is raised when nothing is left that was read before it.
        """
        rest = self._text[self._at :]
        parts, size = [rest], 0
        while size == 0 or size < len(rest):
            try:
                part = b"" if self._error else self._opened.stream.read1(_CHUNK)  # type: ignore[attr-defined]
            except self._opened.errors as error:
                self._error, part = error, b""
            if not part:
                break
            parts.append(part)
            size += len(part)
        if not size and self._error:
            raise self._unreadable("") from self._error
        self._line += self._text.count(b"\n", 0, self._at)
        self._text, self._at = b"".join(parts), 0
        return size > 0

    def _unreadable(self, reason: str) -> Unreadable:
        line = self._line + self._text.count(b"\n", 0, self._at)
        place = f"in line {line}, after record {self._values:,}"
        if self._error:
            return Unreadable(damaged(self._opened.name, self._error, place))
        return Unreadable(f"{self._opened.name}: {reason}, {place}")


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
