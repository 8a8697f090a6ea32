"""Reading records: every format, and everything that can be wrong with a line without harm to the next."""

from __future__ import annotations

import builtins
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from selftaught.sandbox import records
from selftaught.sandbox.records import Record, Unreadable
from selftaught.sandbox.task import AnyTask, FunctionTask, StdioTask, Task
from selftaught.sandbox.validation import check_task

GOOD = b'{"id": "a", "sat": "s", "sol": "t"}\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "in"


def read(path: Path, data: bytes, form: str = "auto") -> list[Record]:
    path.write_bytes(data)
    return list(records.read(str(path), form))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "not JSON"),
        (b"[1]", "not an object but list"),
        (b"null", "not an object but NoneType"),
        (b'{"id": "\xff", "sat": "", "sol": ""}', "utf-8"),
        (b'{"id": "x", "sol": ""}', "'sat' is missing"),
        (b'{"id": "x", "sat": "", "sol": null}', "'sol' must be a string"),
        (b'{"id": [], "sat": "", "sol": ""}', "'id' must be a string or a number"),
        (b'{"id": true, "sat": "", "sol": ""}', "'id' must be a string or a number"),
        (b"[" * 100_000, "nested too deep"),
        (b'{"id": "x", "sat": "", "sol": "", "x": ' + b"[" * 600 + b"]" * 600 + b"}", "nested too deep"),
        (b'{"id": "x", "sat": "", "sol": "", "x": ' + b"9" * 5000 + b"}", "4300 digits"),
    ],
    ids=str,
)
def test_a_malformed_line_is_a_problem_in_its_place(path: Path, line: bytes, reason: str) -> None:
    before, bad, after = read(path, GOOD + line + b"\n\n" + GOOD)
    assert before.task
    assert after.task
    assert after.place == f"{path}:4"
    assert bad.task is None
    assert bad.problem.startswith(f"{path}:2: ")
    assert reason in bad.problem


KINDS: list[tuple[dict[str, Any], AnyTask]] = [
    ({"sat": "s", "sol": "t", "entry_point": "f", "cases": 5}, Task("a", "s", "t")),
    (
        {"sol": "t", "entry_point": "f", "tests": "assert f()", "prelude": "p", "isolation": "shared", "note": 1},
        FunctionTask("a", "t", "f", "assert f()", prelude="p", isolation="shared"),
    ),
    (
        {"sol": "t", "entry_point": "f", "cases": [[[1], {}, 2]], "compare": "approx", "all_cases": True},
        FunctionTask("a", "t", "f", cases=[((1,), {}, 2)], compare="approx", all_cases=True),
    ),
    ({"sol": "t", "cases": [["1", "2"]], "checker": "c"}, StdioTask("a", "t", [("1", "2")], checker="c")),
]


@pytest.mark.parametrize(("fields", "expected"), KINDS, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("with_nulls", [False, True])
def test_fields_tell_the_kinds_of_tasks_apart(
    path: Path, fields: dict[str, Any], expected: AnyTask, with_nulls: bool
) -> None:
    names = "sat entry_point tests cases prelude compare checker isolation all_cases" if with_nulls else ""
    line = {"id": "a", **dict.fromkeys(names.split()), **fields}
    before, found, after = read(path, GOOD + json.dumps(line).encode() + b"\n" + GOOD)
    assert check_task(found.task) == check_task(expected)
    assert before.task == after.task == Task("a", "s", "t")
    assert found.fields == line


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"sol": "t"}, "a task has 'sat' (a puzzle), 'entry_point' with 'tests' or 'cases'"),
        ({"sol": "t", "tests": "assert f()"}, "'entry_point' with 'tests'"),
        ({"entry_point": "f", "tests": ""}, "the field 'sol' is missing"),
        ({"sol": "t", "entry_point": 5, "tests": ""}, "the field 'entry_point' must be a string, not int"),
        ({"sol": "t", "entry_point": "f", "tests": ["a"]}, "the field 'tests' must be a string, not list"),
        ({"sol": "t", "entry_point": "f", "cases": [[[], {}, 1], [1]]}, "cases[1]: not a case"),
        ({"sol": "t", "cases": [["", ""]], "all_cases": 1}, "the field 'all_cases' must be true or false, not int"),
        ({"sol": "t", "cases": [["", ""]], "checker": 1}, "the field 'checker' must be a string, not int"),
    ],
)
def test_a_malformed_task_of_another_kind_is_a_problem_in_its_place(
    path: Path, fields: dict[str, Any], reason: str
) -> None:
    _, bad, after = read(path, GOOD + json.dumps(fields).encode() + b"\n" + GOOD)
    assert bad.task is None
    assert bad.problem.startswith(f"{path}:2: ")
    assert reason in bad.problem
    assert after.task


def test_a_malformed_first_line_does_not_change_the_format(path: Path) -> None:
    assert [bool(found.task) for found in read(path, b"[1]\n" + GOOD)] == [False, True]


def test_a_line_that_is_too_long_is_skipped_not_kept(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "_LINE_BYTES", len(GOOD) + 1)
    found = read(path, GOOD + b" " * 1000 + b"\n" + GOOD)
    assert [bool(record.task) for record in found] == [True, False, True]
    assert "longer than" in found[1].problem


@pytest.mark.parametrize(("written", "expected"), [(b'"n"', "n"), (b"5", "5"), (b"1.5", "1.5")])
def test_an_id_may_be_a_number(path: Path, written: bytes, expected: str) -> None:
    (found,) = read(path, b'{"id": %s, "sat": "", "sol": ""}' % written)
    assert found.task
    assert found.task.id == expected


def test_without_an_id_the_place_is_the_id(path: Path) -> None:
    (found,) = read(path, b'{"sat": "", "sol": ""}')
    assert found.task
    assert found.task.id == f"{path}:1"
    assert "id" not in found.fields


def test_a_malformed_record_keeps_its_id(path: Path) -> None:
    (found,) = read(path, b'{"id": 5}')
    assert found.id == "5"


@pytest.mark.parametrize("value", ["18446744073709551616", "-1" + "0" * 40, "NaN", "1e400", '"\\ud800"', "0.1", "-0.0"])
def test_unusual_values_are_read_exactly(value: str) -> None:
    assert repr(records.parse(value.encode())) == repr(json.loads(value))


@pytest.mark.parametrize("data", [GOOD, b'[{"name": "a", "sat": "s", "sol_header": "t", "sol_bodies": [""]}]'])
def test_gzip_is_seen_by_its_first_bytes(path: Path, data: bytes) -> None:
    (found,) = read(path, gzip.compress(data))
    assert found.task
    assert found.task.id == "a"


def test_damaged_gzip_is_unreadable(path: Path) -> None:
    whole = gzip.compress(GOOD * 5000, 1)
    for damaged in (whole[:-20], whole[:60] + b"\xff" * 10 + whole[70:]):
        with pytest.raises(Unreadable, match=str(path)):
            read(path, damaged)


def test_p3_is_seen_by_its_beginning_and_named_by_solution(path: Path) -> None:
    puzzle = {"name": "A:0", "module": "m", "sat": "s", "sol_header": "def sol():", "sol_bodies": ["    return 1"]}
    several = {**puzzle, "name": "B:0", "sol_bodies": ["    return 1", "    return 2"]}
    broken = [{**puzzle, "sol_bodies": "    return 1"}, {**puzzle, "sol_header": None}, 5, {}]
    found = read(path, json.dumps([puzzle, several, *broken], indent=1).encode())
    assert [record.task and record.task.id for record in found] == ["A:0", "B:0#0", "B:0#1", None, None, None, None]
    assert found[2].task
    assert found[2].task.sol == "def sol():\n    return 2"
    assert found[2].fields["module"] == "m"
    assert found[3].problem.startswith(f"{path}:3: not a P3 puzzle")


@pytest.mark.parametrize("data", [b"{}", b"[", b"[" * 100_000, b"\xff"])
def test_what_is_not_p3_at_all_is_unreadable(path: Path, data: bytes) -> None:
    with pytest.raises(Unreadable):
        read(path, data, "p3")


def test_parquet_comes_back_as_it_went_in(path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
    from pyarrow import parquet

    rows: list[dict[str, Any]] = [
        {"id": n, "sat": "s", "sol": "t" if n else None, "tags": ["x"] * n} for n in range(3000)
    ]
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    found = list(records.read(str(path)))
    assert [record.fields for record in found] == rows
    assert [record.id for record in found] == [str(n) for n in range(3000)]
    assert [bool(record.task) for record in found[:2]] == [False, True]


def test_parquet_without_pyarrow_names_the_extra(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(Unreadable, match=r"pip install 'selftaught\[parquet\]'"):
        read(path, b"PAR1")


def test_an_input_that_can_not_be_opened_is_unreadable(tmp_path: Path) -> None:
    for name in (tmp_path, tmp_path / "none"):
        with pytest.raises(Unreadable):
            records.check(str(name))
        with pytest.raises(Unreadable):
            list(records.read(str(name)))
