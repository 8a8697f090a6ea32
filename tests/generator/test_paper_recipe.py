"""The paper's recipe in whole runs with a scripted model and the real verifier."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from selftaught.generator import example
from selftaught.generator.models import ModelFailed
from selftaught.generator.models.scripted import Scripted
from selftaught.generator.recipe import PAPER, replace
from selftaught.sandbox import Verifier
from tests.generator.scripted_run import (
    PUZZLES,
    SUM,
    records,
    refused,
    run,
    script,
)


@pytest.fixture(scope="module")
def verifier() -> Iterator[Verifier]:
    with Verifier(workers=1, require="restricted") as made:
        yield made


def test_the_papers_recipe_keeps_the_shortest_solutions_and_repeats_puzzles(tmp_path: Path, verifier: Verifier) -> None:
    paper = replace(
        PAPER, samples_per_prompt=32, max_attempts=24, attempts_per_round=24, max_solutions=2, keep_trivial_share=0.0
    )
    run(tmp_path, verifier, paper, puzzles=192)
    assert refused(tmp_path, "good words").count("") > 1
    assert "new" not in {record["refused"] for record in records(tmp_path)}
    solutions = {one.solution for one in example.read(tmp_path / "pairs.jsonl") if one.puzzle == f"def f({SUM}"}
    assert solutions == {"def g(a=417, b=1342): return b - a", "def g(a=417, b=1342):\n    c = b - a\n    return c"}


QUICK_PAPER = replace(PAPER, samples_per_prompt=32, max_attempts=4, attempts_per_round=4)


def test_the_papers_lot_also_skips_the_checks_of_type_and_use(tmp_path: Path, verifier: Verifier) -> None:
    run(tmp_path / "all", verifier, replace(QUICK_PAPER, keep_trivial_share=1.0), puzzles=96)
    assert set(refused(tmp_path / "all", "unused")) == {""}
    (outcomes,) = {
        tuple(
            outcome["outcome"]
            for outcome in record["filters"]
            if outcome["filter"] in ("answer_type", "used", "trivial")
        )
        for record in records(tmp_path / "all")
        if PUZZLES["bool"] in record["puzzle"]
    }
    assert outcomes == ("exempt",) * 3
    run(tmp_path / "none", verifier, replace(QUICK_PAPER, keep_trivial_share=0.0), puzzles=96)
    off = replace(QUICK_PAPER, keep_trivial_share=1.0, lot_skips_checks=False)
    run(tmp_path / "off", verifier, off, puzzles=96)
    for name in ("none", "off"):
        assert set(refused(tmp_path / name, "unused")) == {"used"}
        assert set(refused(tmp_path / name, "bool")) == {"answer_type"}


def test_the_papers_lot_is_drawn_from_all_puzzles_trivial_or_not(tmp_path: Path, verifier: Verifier) -> None:
    run(tmp_path, verifier, replace(QUICK_PAPER, keep_trivial_share=0.5), puzzles=192)
    found = {
        key: {
            outcome["outcome"]
            for record in records(tmp_path)
            if PUZZLES[key].partition("\n\n")[0] in record["puzzle"]
            for outcome in record["filters"]
            if outcome["filter"] == "trivial"
        }
        for key in ("good", "trivial")
    }
    assert found == {"good": {"exempt", "passed"}, "trivial": {"exempt", "refused"}}


def test_a_puzzle_prompt_is_as_long_as_the_recipe_says_whatever_the_model_could_read(
    tmp_path: Path, verifier: Verifier
) -> None:
    lengths = {}
    for context in (600, 0):
        model = Scripted(script, context=5_000)
        recipe = replace(QUICK_PAPER, puzzle_context=context)
        run(tmp_path / str(context), verifier, recipe, model=model, puzzles=32)
        lengths[context] = max(model.tokens(text) for text in model.prompts if text.endswith("("))
    assert lengths[600] + QUICK_PAPER.puzzle_max_new_tokens <= 600 < lengths[0]


class Recording(Scripted):
    """Records the settings of its calls."""

    def complete(  # type: ignore[override]
        self, prompts: Sequence[str], **settings: Any
    ) -> Iterator[tuple[int, list[str]]]:
        self.settings = settings
        yield from super().complete(prompts, **settings)


def test_top_k_is_asked_of_the_model_and_recorded_with_every_pair(tmp_path: Path, verifier: Verifier) -> None:
    model = Recording(script)
    run(tmp_path / "paper", verifier, QUICK_PAPER, model=model, puzzles=32)
    assert model.settings["top_k"] == 50
    assert {one.solution_sampling.top_k for one in example.read(tmp_path / "paper/pairs.jsonl")} == {50}
    run(tmp_path / "default", verifier, model=model, puzzles=32)
    assert "top_k" not in model.settings


def test_a_model_that_knows_no_top_k_is_not_sampled_without_it(tmp_path: Path, verifier: Verifier) -> None:
    class Plain(Scripted):
        def complete(self, prompts: Sequence[str], *, samples: int, seed: int) -> Any:  # type: ignore[override]
            raise AssertionError

    with pytest.raises(ModelFailed, match="--set top_k=0"):
        run(tmp_path, verifier, QUICK_PAPER, model=Plain(script))
