"""Rows that environments ask: what is asked, what judges, and rows that are refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from selftaught.sandbox import Verifier, corpus
from selftaught.sandbox.dropin import process
from selftaught.trainer.integrations import dataset_row

PUZZLE = "def sat(x: int, a=17, b=42):\n    return x + a == b"


@pytest.fixture(scope="module", autouse=True)
def verifier() -> Iterator[Verifier]:
    with Verifier(workers=1, require="restricted") as made:
        process.use(made)
        yield made


def test_a_puzzle_without_a_prompt_is_asked_for() -> None:
    row = dataset_row.read({"id": "p", "puzzle": PUZZLE})
    assert row.id == "p" and "return x + a == b" in row.prompt and "`def g(a=17, b=42):`" in row.prompt


@pytest.mark.parametrize("name", ["prompt", "question", "problem", "description", "problem_statement"])
def test_a_data_sets_own_words_are_asked(name: str) -> None:
    assert dataset_row.read({name: "Add them.", "inputs": ["1 2\n"], "outputs": ["3\n"]}).prompt == "Add them."


def test_the_text_of_a_pair_is_not_asked_since_it_has_the_solution() -> None:
    solution = "def g(a=17, b=42):\n    return b - a"
    row = dataset_row.read({"puzzle": PUZZLE, "solution": solution, "text": f"{PUZZLE}\n\n{solution}"})
    assert "return x + a == b" in row.prompt and "b - a" not in row.prompt


def test_tests_without_a_prompt_are_refused() -> None:
    with pytest.raises(ValueError, match="needs a column `prompt`"):
        dataset_row.read({"task": {"entry_point": "f", "cases": [[[1], {}, 2]]}})


def test_a_row_that_nothing_judges_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing judges the row"):
        dataset_row.read({"prompt": "Add them.", "puzzle": None})


def test_a_file_names_the_row_that_cannot_be_asked(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [{"puzzle": PUZZLE}, {"prompt": "?"}]))
    with pytest.raises(ValueError, match=r"rows\.jsonl:2: nothing judges"):
        dataset_row.read_file(str(path))
    path.write_text("[1, 2]\n")
    with pytest.raises(ValueError, match=r"rows\.jsonl"):
        dataset_row.read_file(str(path))


def test_all_cases_of_any_kind_of_row_give_a_share() -> None:
    rows = [
        {"prompt": "?", "task": {"entry_point": "f", "cases": [[[1], {}, 1], [[2], {}, 0]]}},
        {"prompt": "?", "fn_name": "f", "inputs": [[1], [2]], "outputs": [1, 0]},
    ]
    for row in rows:
        for all_cases, expected in ((True, 0.5), (False, 0.0)):
            reward, _ = asyncio.run(dataset_row.read(row, all_cases=all_cases).reward("def f(x):\n    return x"))
            assert reward == expected


def test_the_bundled_puzzles_can_be_asked_and_have_references() -> None:
    found = dataset_row.read_file()
    assert len(found) == len(corpus.records()) and all(row.reference for row in found)
