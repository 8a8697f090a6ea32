"""Kept examples: nothing is lost on the way to a file and back, and `datasets` reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from selftaught.generator import example
from selftaught.generator.example import Example, Judgement, Outcome, Sampling, Unreadable, training_text
from selftaught.sandbox import Verdict


def made(number: int = 0, **changes: object) -> Example:
    puzzle, solution = f"def f(x: int):\n    return x == {number}", f"def g():\n    return {number}"
    sampling = Sampling("m", "d", "h", 0.9, 1.0, 200, 5, number, ["é"] * number)
    fields = {
        "id": example.pair_id(puzzle, solution),
        "puzzle": puzzle,
        "solution": solution,
        "answer_type": "int",
        "puzzle_id": example.puzzle_id(puzzle),
        "template": example.template(puzzle),
        "cluster": "c",
        "attempts": 8,
        "passes": 2,
        "weight": 0.75,
        "borrowed_from": "",
        "recipe": "default",
        "iteration": 1,
        "puzzle_sampling": sampling,
        "solution_sampling": sampling,
        "filters": [Outcome("parses", "passed"), Outcome("trivial", "exempt", 0.0, "by lot")][: number + 1],
        "judgement": Judgement.from_verdict(Verdict("x", "accepted")),  # type: ignore[arg-type]
    }
    return Example(**{**fields, **changes})  # type: ignore[arg-type]


def test_examples_come_back_from_a_file_as_they_were(tmp_path: Path) -> None:
    examples = [made(number) for number in range(3)]
    with open(tmp_path / "pairs.jsonl", "wb") as out:
        for one in examples:
            example.write(one, out)
    assert list(example.read(tmp_path / "pairs.jsonl")) == examples


def test_the_text_is_the_papers_format() -> None:
    assert made(3).text == "def f(x: int):\n    return x == 3\n\ndef g():\n    return 3\n\nassert f(g())"


def test_an_id_forgets_names_and_remembers_constants() -> None:
    puzzle, solution = made(3).puzzle, made(3).solution
    assert example.pair_id(puzzle.replace("x", "answer"), solution) == made(3).id
    assert made(4).id != made(3).id
    assert made(4).template == made(3).template
    assert made(4).puzzle_id != made(3).puzzle_id


def test_a_line_that_is_no_example_is_named(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    with open(path, "wb") as out:
        example.write(made(), out)
        out.write(b'{"id": "x"}\n')
    with pytest.raises(Unreadable, match=r"pairs.jsonl:2: no example"):
        list(example.read(path))


def test_datasets_loads_the_file_even_where_lists_are_empty(tmp_path: Path) -> None:
    import datasets

    path = tmp_path / "pairs.jsonl"
    with open(path, "wb") as out:
        for number in range(3):
            example.write(made(number), out)
    loaded = datasets.load_dataset("json", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded["text"] == [made(number).text for number in range(3)]
    assert [len(filters) for filters in loaded["filters"]] == [1, 2, 2]


def test_an_annotated_training_text_differs_in_the_signatures_alone() -> None:
    puzzle = "def f(d: Dict[str, int], t='a: b'):\n    return d == {t: 1}"
    solution = "def g(t='a: b'):\n    return {t: 1}"
    plain, annotated = training_text(puzzle, solution), training_text(puzzle, solution, annotated=True)
    typed = plain.replace("def g(t='a: b'):", "def g(t='a: b') -> Dict[str, int]:")
    assert annotated == typed.replace("int], t='a: b'):", "int], t='a: b') -> bool:")
    other = solution.replace("t='a: b'", "t = 'a: b'")
    assert training_text(puzzle, other, annotated=True).endswith("\n\n" + training_text("", other).strip("\n"))
