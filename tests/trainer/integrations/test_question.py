"""Rows that environments ask: what is asked, what judges, and rows that are refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from selftaught.sandbox import Verifier, corpus
from selftaught.sandbox.dropin import process
from selftaught.trainer.integrations import question

PUZZLE = "def sat(x: int, a=17, b=42):\n    return x + a == b"


@pytest.fixture(scope="module", autouse=True)
def verifier() -> Iterator[Verifier]:
    with Verifier(workers=1, require="restricted") as made:
        process.use(made)
        yield made


def test_a_puzzle_without_a_prompt_is_asked_for() -> None:
    asked = question.read({"id": "p", "puzzle": PUZZLE})
    assert asked.id == "p" and "return x + a == b" in asked.prompt and "`def g(a=17, b=42):`" in asked.prompt


@pytest.mark.parametrize("name", ["prompt", "question", "problem", "description"])
def test_a_data_sets_own_words_are_asked(name: str) -> None:
    assert question.read({name: "Add them.", "inputs": ["1 2\n"], "outputs": ["3\n"]}).prompt == "Add them."


def test_tests_without_a_prompt_are_refused() -> None:
    with pytest.raises(ValueError, match="needs a column `prompt`"):
        question.read({"task": {"entry_point": "f", "cases": [[[1], {}, 2]]}})


def test_a_row_that_nothing_judges_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing judges the row"):
        question.read({"prompt": "Add them.", "puzzle": None})


def test_a_file_names_the_row_that_is_no_question(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [{"puzzle": PUZZLE}, {"prompt": "?"}]))
    with pytest.raises(ValueError, match=r"rows\.jsonl:2: nothing judges"):
        question.read_file(str(path))
    path.write_text("[1, 2]\n")
    with pytest.raises(ValueError, match=r"rows\.jsonl"):
        question.read_file(str(path))


def test_all_cases_of_any_kind_of_row_give_a_share() -> None:
    rows = [
        {"prompt": "?", "task": {"entry_point": "f", "cases": [[[1], {}, 1], [[2], {}, 0]]}},
        {"prompt": "?", "fn_name": "f", "inputs": [[1], [2]], "outputs": [1, 0]},
    ]
    for row in rows:
        for all_cases, expected in ((True, 0.5), (False, 0.0)):
            reward, _ = asyncio.run(question.read(row, all_cases=all_cases).reward("def f(x):\n    return x"))
            assert reward == expected


def test_the_bundled_puzzles_are_questions_with_references() -> None:
    found = question.read_file()
    assert len(found) == len(corpus.records()) and all(asked.reference for asked in found)
