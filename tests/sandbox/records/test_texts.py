"""JSON in files: lines, arrays and objects that span lines, however they are written, and what one bad value costs."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selftaught.sandbox import records
from selftaught.sandbox.records import Record, Unreadable

ROWS: list[dict[str, Any]] = [
    {"id": n, "sat": 'a"]}{[\\', "sol": "\u2028\u0085é", "more": [[1, {}], "x"]} for n in range(3)
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "in"


def read(path: Path, data: bytes | str) -> list[Record]:
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return list(records.rows(str(path)))


def text(rows: list[Any], **options: Any) -> str:
    return "".join(json.dumps(row, ensure_ascii=False, **options) + "\n" for row in rows)


WRITTEN = {
    "lines": text(ROWS),
    "no line break at the end": text(ROWS).rstrip(),
    "byte order mark": "\ufeff" + text(ROWS),
    "line breaks of Windows": text(ROWS).replace("\n", "\r\n"),
    "blank lines": "\n\r\n" + text(ROWS).replace("\n", "\n \n\n"),
    "array": json.dumps(ROWS),
    "array on lines": "\ufeff\n" + json.dumps(ROWS, indent=4),
    "array with a line for each": "[\n" + ",\n".join(map(json.dumps, ROWS)) + "\n]\n",
    "array with a comma at its end": "[" + "".join(json.dumps(row) + "," for row in ROWS) + "]",
    "two arrays": json.dumps(ROWS[:1]) + "\n" + json.dumps(ROWS[1:]),
    "objects that span lines": text(ROWS, indent=2),
    "objects that span lines of Windows": text(ROWS, indent=2).replace("\n", "\r\n"),
    "objects that break off in their first line": text(ROWS).replace(', "sat"', ',\n "sat"'),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_records_are_the_same_however_they_are_written(path: Path, name: str) -> None:
    assert [row.fields for row in read(path, WRITTEN[name])] == ROWS


def test_one_object_that_spans_lines_is_one_record(path: Path) -> None:
    assert [row.fields for row in read(path, json.dumps(ROWS[0], indent=1))] == ROWS[:1]


def test_a_value_of_an_array_that_is_no_object_costs_no_other(path: Path) -> None:
    first, *bad, last = read(path, b'[{"a": 1}, {bad: 1}, 5, null, "]", [[1], {}], {"a": "\xff"}, {"a" 1}, {"a": 2}]')
    assert (first.fields, last.fields) == ({"a": 1}, {"a": 2})
    assert [row.problem.startswith(f"{path}:{number}: not ") for number, row in enumerate(bad, 2)] == [True] * 7


@pytest.mark.parametrize(
    ("data", "kept", "reason"),
    [
        (
            json.dumps(ROWS, indent=1)[:-12],
            2,
            r"the file ends within the record: it was cut.*in line \d+, after record 2",
        ),
        (json.dumps(ROWS)[:-1], 3, "the file ends within the record"),
        ('[{"a": 1}, "cut', 1, "the file ends within the record"),
        ('[{"a": 1}, {"a": 2}}, {"a": 3}]', 2, "a value is missing"),
        ('[{"a": 1}] garbage', 1, "expected JSON Lines"),
    ],
)
def test_what_comes_before_the_damage_of_an_array_is_read(path: Path, data: str, kept: int, reason: str) -> None:
    path.write_text(data)
    found = []
    with pytest.raises(Unreadable, match=reason):
        for row in records.rows(str(path)):
            found.append(row.fields)
    assert len(found) == kept


def test_a_cut_last_line_is_named_and_costs_no_other(path: Path) -> None:
    *rows, cut = read(path, text(ROWS)[:-20])
    assert [row.fields for row in rows] == ROWS[:2]
    assert cut.problem.startswith(f"{path}:3: not JSON")
    assert "was cut, or is still being written" in cut.problem


@pytest.mark.parametrize(
    ("line", "reason"),
    [("\0" * 4096, "NUL bytes alone"), ('{"a": 1},', "the line ends in a comma"), ("INFO loading", "not JSON")],
)
def test_a_line_of_something_else_is_named(path: Path, line: str, reason: str) -> None:
    for data in (line + "\n" + text(ROWS), text(ROWS) + line):
        found = read(path, data)
        assert [row.fields for row in found if not row.problem] == ROWS
        assert [reason in row.problem for row in found if row.problem] == [True]


@pytest.mark.parametrize("first", ["{", '{"id": 0,', '{"cases": ['])
def test_a_first_line_that_breaks_off_before_another_record_costs_itself_alone(path: Path, first: str) -> None:
    bad, *rows = read(path, first + "\n" + text(ROWS))
    assert bad.problem.startswith(f"{path}:1: ")
    assert [row.fields for row in rows] == ROWS


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@settings(max_examples=50, deadline=None)
@given(rows=st.lists(st.dictionaries(st.text(), VALUES), min_size=1), indent=st.sampled_from([None, 0, 2]))
def test_any_objects_in_an_array_are_found(tmp_path_factory: pytest.TempPathFactory, rows: Any, indent: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    assert [row.fields for row in read(path, json.dumps(rows, indent=indent))] == rows


@pytest.mark.parametrize("cut", range(1, 70, 3))
def test_where_the_bytes_of_an_array_are_parted_does_not_matter(path: Path, cut: int, monkeypatch: Any) -> None:
    from selftaught.sandbox.records import texts

    monkeypatch.setattr(texts, "_CHUNK", cut)
    assert [row.fields for row in read(path, json.dumps(ROWS))] == ROWS


def test_the_memory_for_an_array_does_not_grow_with_it(path: Path) -> None:
    with open(path, "w") as out:
        out.write("[" + ",\n".join(json.dumps({"id": n, "sat": "x" * 1000}) for n in range(30_000)) + "]")
    tracemalloc.start()
    try:
        assert sum(1 for _ in records.rows(str(path))) == 30_000
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()


def test_a_value_of_an_array_that_is_too_long_is_an_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "_ROW_BYTES", 1 << 20)
    with pytest.raises(Unreadable, match="longer than 1 MiB"):
        read(path, json.dumps([{"a": "x" * (3 << 20)}]))


@pytest.mark.parametrize(
    ("data", "number"),
    [
        (text(ROWS), 3),
        ("\n\n" + text(ROWS).rstrip(), 3),
        (json.dumps(ROWS, indent=1), 3),
        ('{"name": "a", "sat": "s", "sol_header": "h", "sol_bodies": ["1", "2"]}\n' * 2, 4),
        ('[{"name": "a", "sat": "s", "sol_header": "h", "sol_bodies": ["1", "2", "3"]}]', 3),
    ],
)
def test_the_number_of_records_is_known_ahead(path: Path, data: str, number: int) -> None:
    path.write_text(data)
    assert records.count(str(path)) == number == sum(1 for _ in records.read(str(path)))


def test_the_number_of_compressed_records_is_not_known_ahead(path: Path) -> None:
    import gzip

    path.write_bytes(gzip.compress(text(ROWS).encode()))
    assert records.count(str(path)) is None
    assert records.count("-") is None
