"""Problems and samples joined by id: order, what is wrong with a line, and what has no counterpart."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from selftaught.sandbox.formats.joining import REFERENCE, Dataset
from selftaught.sandbox.records import Record, Unreadable
from selftaught.sandbox.task import FunctionTask, StdioTask

CHECK = "def check(candidate):\n    assert candidate(1) == 2\n"


def problem(ident: str, **more: Any) -> dict[str, Any]:
    return {"task_id": ident, "prompt": "def f(x):\n", "entry_point": "f", "test": CHECK, **more}


def lines(path: Path, *records: object) -> str:
    path.write_text("".join(f"{record if isinstance(record, str) else json.dumps(record)}\n" for record in records))
    return str(path)


class Files:
    """Two files of a test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def join(self, problems: list[Any], samples: list[Any], **options: Any) -> tuple[Dataset, list[Record]]:
        given = lines(self.folder / "samples", *samples)
        dataset = Dataset([lines(self.folder / "problems", *problems)], given, **options)
        return dataset, list(dataset.samples())


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_samples_come_in_their_order_with_their_fields(files: Files) -> None:
    samples = [
        {"task_id": "b", "completion": "    return 1\n", "temperature": 0.5},
        {"task_id": "a", "solution": "def f(x): return 2\n"},
        {"task_id": "b", "completion": "    return 3\n"},
    ]
    dataset, found = files.join([problem("a"), problem("b")], samples)
    assert [record.id for record in found] == ["b", "a", "b"]
    assert [record.fields for record in found] == [{**sample, "id": sample["task_id"]} for sample in samples]
    assert [record.task and record.task.sol for record in found] == [
        "def f(x):\n    return 1\n",
        "def f(x): return 2\n",
        "def f(x):\n    return 3\n",
    ]
    assert {record.task and record.task.id for record in found} == {"a", "b"}
    assert not dataset.unanswered


@pytest.mark.parametrize("name", ["solutions", "code_list", "completions", "output"])
def test_a_list_is_several_samples(files: Files, name: str) -> None:
    _, found = files.join([problem("a")], [{"task_id": "a", name: ["x", "y"]}])
    assert [(record.fields[name], record.fields["sample"]) for record in found] == [("x", 0), ("y", 1)]


@pytest.mark.parametrize(
    ("sample", "reason"),
    [
        ("{", "samples:2: not JSON"),
        ([1], "samples:2: not an object but list"),
        ({"task_id": "z", "solution": ""}, "samples:2: there is no problem 'z'"),
        ({"solution": ""}, "samples:2: it has no id"),
        ({"task_id": "a"}, "samples:2: it has no solution"),
        ({"task_id": "a", "solutions": []}, "samples:2: the field 'solutions' is an empty list"),
        ({"task_id": "a", "solution": 1}, "samples:2: the field 'solution' must be a string or a list"),
        ({"task_id": "a", "solutions": [1]}, "samples:2: the field 'solutions' must be a string or a list"),
    ],
)
def test_a_malformed_sample_says_where_and_why(files: Files, sample: object, reason: str) -> None:
    good = {"task_id": "a", "solution": "x"}
    _, found = files.join([problem("a")], [good, sample, good])
    assert [record.task is None for record in found] == [False, True, False]
    assert found[1].problem.startswith(f"{files.folder}/{reason}")


def test_a_sample_of_a_malformed_problem_says_where_the_problem_stands(files: Files) -> None:
    _, found = files.join([problem("a"), problem("b", test=5)], [{"task_id": "b", "solution": "x"}])
    assert found[0].problem == f"{files.folder}/problems:2: the field 'test' must be a string, not int"
    assert found[0].id == "b"


@pytest.mark.parametrize(
    ("line", "reason"), [("{", "not JSON"), ([], "not an object but list"), ({"x": 1}, "no format has these fields: x")]
)
def test_what_is_no_problem_comes_first(files: Files, line: object, reason: str) -> None:
    dataset, found = files.join([problem("a"), line], [{"task_id": "a", "solution": "x"}])
    assert [record.task is None for record in found] == [True, False]
    assert found[0].problem.startswith(f"{files.folder}/problems:2: {reason}")
    assert found[0].id == f"{files.folder}/problems:2"
    assert len(dataset) == 1


def test_problems_without_a_sample_are_counted(files: Files) -> None:
    dataset, _ = files.join([problem("a"), problem("b"), problem("c")], [{"task_id": "b", "solution": "x"}])
    assert list(dataset.unanswered) == ["a", "c"]


def test_two_problems_of_one_id_are_refused(files: Files) -> None:
    with pytest.raises(Unreadable, match=r"problems:2: the id 'a' is also that of .*problems:1"):
        files.join([problem("a"), problem("a")], [])


def test_a_file_without_problems_is_refused(files: Files) -> None:
    with pytest.raises(Unreadable, match="no problems"):
        files.join([], [])


def test_a_missing_file_is_found_before_anything_is_read(tmp_path: Path) -> None:
    good = lines(tmp_path / "problems", problem("a"))
    with pytest.raises(Unreadable, match="no such file"):
        Dataset([good, str(tmp_path / "none")], REFERENCE)
    with pytest.raises(Unreadable, match="no such file"):
        Dataset([good], str(tmp_path / "none"))


def test_problems_without_ids_are_numbered_across_files(tmp_path: Path) -> None:
    row = {"input_output": json.dumps({"inputs": ["1"], "outputs": ["1"]})}
    problems = [lines(tmp_path / "1", row, row), lines(tmp_path / "2", row)]
    samples = lines(tmp_path / "samples", *({"task_id": n, "output": ["print(input())"]} for n in (2, 0, 3)))
    found = list(Dataset(problems, samples).samples())
    assert [record.task is not None for record in found] == [True, True, False]
    assert isinstance(found[0].task, StdioTask)


def test_references_are_judged_as_samples(tmp_path: Path) -> None:
    canonical = problem("a", canonical_solution="    return 2\n")
    dataset = Dataset([lines(tmp_path / "p", canonical, problem("b"), problem("c", test=None))], REFERENCE)
    found = list(dataset.samples())
    assert found[0].fields == {"id": "a", "reference": 0, "solution": "def f(x):\n    return 2\n"}
    assert found[1].problem == f"{tmp_path}/p:3: the field 'test' is missing"
    assert list(dataset.unanswered) == ["b", "c"]


def test_a_json_array_and_gzip_are_read(tmp_path: Path) -> None:
    (tmp_path / "problems.json").write_text(json.dumps([problem("a"), 1]))
    (tmp_path / "samples.gz").write_bytes(gzip.compress(b'{"task_id": "a", "solution": "x"}\n'))
    found = list(Dataset([str(tmp_path / "problems.json")], str(tmp_path / "samples.gz")).samples())
    assert [record.problem for record in found] == [f"{tmp_path}/problems.json:2: not an object but int", ""]


def test_options_reach_every_task(files: Files) -> None:
    row = {"id": 1, "input_output": json.dumps({"inputs": ["1"], "outputs": ["1"]})}
    _, found = files.join([row], [{"id": 1, "code": "x"}], form="taco", compare="exact", all_cases=True)
    assert isinstance(found[0].task, StdioTask)
    assert (found[0].task.compare, found[0].task.all_cases) == ("exact", True)


def test_the_judges_own_limit_is_known(files: Files) -> None:
    assert files.join([problem("a")], [])[0].seconds == 3.0
    assert files.join([{"x": 1}], [])[0].seconds == 1.0


def test_many_problems_are_read_again_when_they_are_needed(files: Files) -> None:
    problems = [problem(str(number)) for number in range(200)]
    samples = [{"task_id": str(number % 200), "solution": "x"} for number in range(400)]
    _, found = files.join(problems, samples)
    assert [record.id for record in found] == [sample["task_id"] for sample in samples]
    assert all(isinstance(record.task, FunctionTask) for record in found)
