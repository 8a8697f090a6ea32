"""Whole runs with a scripted model and the real verifier: what is kept, what is refused and why."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from selftaught.generator import example
from selftaught.generator.candidate import STAGES
from selftaught.generator.contamination import HeldOutProblems
from selftaught.generator.models.scripted import Scripted
from selftaught.generator.novelty import Contaminated, HeldOut
from selftaught.generator.prompts import BARE
from selftaught.generator.recipe import PAPER, replace
from selftaught.sandbox import Status, Task, Verifier
from tests.generator.scripted_run import (
    PUZZLES,
    SEEDS,
    SMALL,
    SUM,
    Counting,
    kept,
    records,
    refused,
    run,
    script,
)


@pytest.fixture(scope="module")
def verifier() -> Iterator[Verifier]:
    with Verifier(workers=1, require="restricted") as made:
        yield made


def test_each_puzzle_is_refused_by_the_filter_that_is_meant_for_it(tmp_path: Path, verifier: Verifier) -> None:
    run(tmp_path, verifier)
    expected = {
        "good words": "",
        "unsolvable": "solved",
        "no syntax": "parses",
        "no answer": "signature",
        "no annotation": "signature",
        "bool": "answer_type",
        "unused": "used",
        "undefined": "used",
        "never true": "used",
        "raises": "runs",
        "trivial": "trivial",
        "any answer": "trivial",
    }
    assert {name: refused(tmp_path, name)[0] for name in expected} == expected
    assert set(refused(tmp_path, "good words")[1:]) == {"new"}


def test_a_filter_that_the_recipe_does_not_ask_lets_all_pass(tmp_path: Path, verifier: Verifier) -> None:
    tally = run(tmp_path, verifier, replace(SMALL, trivial_check="off", refuse_always_raises=False))
    assert tally.stages["runs"] == tally.stages["trivial"] == tally.stages["held_out"] > 0
    assert refused(tmp_path, "raises")[0] == "solved" and not tally.refusals["trivial"]


def test_of_one_canonical_form_one_puzzle_is_kept(tmp_path: Path, verifier: Verifier) -> None:
    run(tmp_path, verifier)
    forms = [refused(tmp_path, name) for name in ("good", "the same puzzle otherwise", "the same form")]
    assert sorted(reason for reasons in forms for reason in reasons if reason != "new") == ["", "quota"]
    assert all(reasons.count("new") == len(reasons) - 1 for reasons in (forms[0] + forms[1], forms[2]))
    assert len({one.template for one in example.read(tmp_path / "pairs.jsonl")}) == 2


def test_what_is_kept_is_right_distinct_and_says_how_it_came_to_be(tmp_path: Path, verifier: Verifier) -> None:
    tally = run(tmp_path, verifier)
    kept = list(example.read(tmp_path / "pairs.jsonl"))
    assert len(kept) == tally.stages["pairs"] == len({one.id for one in kept}) > 0
    texts = {record["puzzle"] for record in records(tmp_path)}
    for one in kept:
        assert verifier.verify(Task(one.id, one.puzzle, one.solution)).accepted
        assert one.judgement.status == "accepted"
        assert one.judgement.repeats == 2
        assert one.judgement.verifier.startswith("selftaught/")
        assert [outcome.filter for outcome in one.filters] == list(STAGES)
        assert {outcome.outcome for outcome in one.filters} == {"passed"}
        assert one.puzzle in texts
        assert one.puzzle_sampling.parents
        assert set(one.puzzle_sampling.parents) <= {seed.id for seed in SEEDS}
        assert 0 < one.passes <= one.attempts
        assert 0 < one.weight <= 1
    assert not any(one.solution.endswith("b - a") and "c = " in one.solution for one in kept)


def test_puzzles_may_be_written_by_another_model_and_the_two_work_in_turn(tmp_path: Path, verifier: Verifier) -> None:
    working: list[str] = []

    class Told(Scripted):
        def complete(  # type: ignore[override]
            self, prompts: Sequence[str], **settings: Any
        ) -> Iterator[tuple[int, list[str]]]:
            assert not working, "another model works at the same time"
            working.append(self.name)
            assert all(prompt.endswith("(") == (self.name == "writer") for prompt in prompts)
            yield from super().complete(prompts, **settings)
            working.clear()

    writer, solver = Told(script), Told(script)
    writer.name, writer.digest, solver.name = "writer", "of the writer", "solver"
    run(tmp_path / "two", verifier, model=solver, writer=writer)
    run(tmp_path / "one", verifier)
    assert [one["puzzle"] for one in kept(tmp_path / "two")] == [one["puzzle"] for one in kept(tmp_path / "one")]
    for one in records(tmp_path / "two", "pairs.jsonl"):
        origins = one["puzzle_sampling"], one["solution_sampling"]
        assert [(origin["model"], origin["model_digest"]) for origin in origins] == [
            ("writer", "of the writer"), ("solver", solver.digest)
        ]  # fmt: skip


def test_solutions_may_have_a_temperature_of_their_own(tmp_path: Path, verifier: Verifier) -> None:
    run(tmp_path, verifier, replace(SMALL, solution_temperature=0.25))
    kept = list(example.read(tmp_path / "pairs.jsonl"))
    assert {(one.puzzle_sampling.temperature, one.solution_sampling.temperature) for one in kept} == {
        (SMALL.temperature, 0.25)
    }


def test_the_same_seed_gives_the_same_data_and_another_seed_other_data(tmp_path: Path, verifier: Verifier) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(tmp_path / name, verifier, seed=seed)
    content = {name: kept(tmp_path / name) for name in "abc"}
    assert content["a"] == content["b"] != content["c"]


def test_the_model_is_not_asked_for_more_puzzles_than_are_wanted(tmp_path: Path, verifier: Verifier) -> None:
    model = Scripted(script)
    run(tmp_path, verifier, model=model, puzzles=16)
    assert sum(prompt.endswith("(") for prompt in model.prompts) == SMALL.prompts_per_wave


def test_older_waves_are_served_first(tmp_path: Path, verifier: Verifier) -> None:
    model = Counting(script)
    run(tmp_path, verifier, model=model)
    order = [prompts[0].endswith("(") for prompts in model.answered]
    assert order[:2] == [True, True]  # wave 1 writes while the verifier looks at wave 0
    assert not all(order[:4])  # but wave 0 is solved before all others are written


def test_a_run_stops_when_it_has_enough_pairs(tmp_path: Path, verifier: Verifier) -> None:
    tally = run(tmp_path, verifier, pairs=1)
    assert tally.stages["pairs"] >= 1
    assert tally.stages["written"] < 64


def test_a_model_that_says_nothing_useful_ends_the_run_instead_of_running_forever(
    tmp_path: Path, verifier: Verifier
) -> None:
    tally = run(tmp_path, verifier, pairs=1, model=Scripted(lambda prompt, rng: "?"))
    assert tally.refusals["parses"] == tally.stages["written"] == 20 * SMALL.prompts_per_wave * SMALL.samples_per_prompt


def test_held_out_puzzles_are_never_kept_and_never_in_a_prompt(tmp_path: Path, verifier: Verifier) -> None:
    held_out = HeldOut([f"def f({PUZZLES['the same form']}"])
    model = Scripted(script)
    run(tmp_path, verifier, held_out=held_out, model=model)
    for name in ("good", "the same puzzle otherwise", "the same form"):
        assert set(refused(tmp_path, name)) <= {"held_out", "new"}
    assert not any("x + a == b" in prompt for prompt in model.prompts)
    with pytest.raises(Contaminated):
        run(tmp_path / "b", verifier, held_out=HeldOut([SEEDS[7].puzzle.source]))


def test_a_solution_of_a_held_out_problem_is_neither_judged_nor_kept(tmp_path: Path, verifier: Verifier) -> None:
    body = "\n    c = [b - a]\n    for one in c:\n        if one == b - a and one + a == b:\n            return one"
    model = Scripted(lambda prompt, rng: body if "def g" in prompt.splitlines()[-1] else rng.choice([SUM, "x"]))
    for name, problems, is_kept in (("open", HeldOutProblems(), True), ("closed", HeldOutProblems(), False)):
        if not is_kept:
            problems.add("HumanEval/900", "", [f"def solve(a, b):{body}"])
        tally = run(tmp_path / name, verifier, model=model, held_out=HeldOut(problems=problems))
        assert (tally.stages["pairs"] > 0) is is_kept
        assert (tally.statuses["held_out"] > 0) is not is_kept and (tally.statuses["accepted"] > 0) is is_kept


def test_a_near_copy_of_a_held_out_puzzle_is_refused_with_its_score(tmp_path: Path, verifier: Verifier) -> None:
    near = "def f(s: str, t='melon'):\n    return s == t * 3 + t.upper() or s == 5"
    run(tmp_path, verifier, replace(SMALL, held_out_similarity=0.3), held_out=HeldOut([near]))
    (score,) = {
        outcome["score"]
        for record in records(tmp_path)
        for outcome in record["filters"]
        if outcome["filter"] == "held_out" and outcome["outcome"] == "refused"
    }
    assert 0.3 <= score < 1
    assert set(refused(tmp_path, "good words")) == {"held_out", "new"}


def test_trivial_puzzles_are_let_through_by_lot_and_say_so(tmp_path: Path, verifier: Verifier) -> None:
    run(tmp_path, verifier, replace(SMALL, keep_trivial_share=1.0, refuse_answer_independent=False))
    (outcome,) = {
        outcome.outcome
        for one in example.read(tmp_path / "pairs.jsonl")
        if "x * x == 49" in one.puzzle or "x == x" in one.puzzle
        for outcome in one.filters
        if outcome.filter == "trivial"
    }
    assert outcome == "exempt"


def test_a_puzzle_that_takes_any_answer_is_refused_even_if_the_lot_lets_it_through(
    tmp_path: Path, verifier: Verifier
) -> None:
    run(tmp_path, verifier, replace(SMALL, keep_trivial_share=1.0))
    assert refused(tmp_path, "any answer")[0] == "depends"


def test_a_solution_that_is_right_by_chance_is_refused(tmp_path: Path, verifier: Verifier) -> None:
    def guess(prompt: str, rng: random.Random) -> str:
        if prompt.endswith("("):
            return "x: int, a=417):\n    return x % 2 == a % 2 and x > 10 ** 5"
        return f"\n    import random\n    return 100001 + random.randrange({rng.randrange(2, 1000)})"

    tally = run(tmp_path, verifier, replace(SMALL, verify_repeats=16), model=Scripted(guess))
    assert tally.refusals["stable"] == 1
    assert tally.stages["pairs"] == 0


def test_hindsight_finds_a_use_for_a_failed_answer(tmp_path: Path, verifier: Verifier) -> None:
    def swap(prompt: str, rng: random.Random) -> str:
        if prompt.endswith("("):
            return rng.choice(
                ["x: int, a=41777):\n    return x == a * a", "x: int, b=90210):\n    return x - b == b // 7"]
            )
        return (
            "\n    return 90210 + 90210 // 7"
            if "a * a" in prompt.rpartition("def f")[2]
            else "\n    return 41777 * 41777"
        )

    assert (
        run(tmp_path / "off", verifier, replace(SMALL, hindsight_attempts=0), model=Scripted(swap)).stages["pairs"] == 0
    )
    run(tmp_path / "on", verifier, model=Scripted(swap))
    pairs = list(example.read(tmp_path / "on" / "pairs.jsonl"))
    assert len(pairs) == 2
    assert {one.borrowed_from for one in pairs} == {one.puzzle_id for one in pairs}
    assert all(one.borrowed_from != one.puzzle_id and one.passes == 0 for one in pairs)


def test_a_right_answer_to_the_same_template_is_borrowed_before_any_other(tmp_path: Path, verifier: Verifier) -> None:
    def half(prompt: str, rng: random.Random) -> str:
        if prompt.endswith("("):
            return rng.choice(
                ["x: int, a=417, b=9342):\n    return x + a == b", "x: int, a=31, b=8088):\n    return x + a == b"]
            )
        return " return b - a" if "9342" in prompt else f" return {rng.randrange(1000)}"

    run(tmp_path, verifier, replace(SMALL, max_per_template=2, hindsight_attempts=1), model=Scripted(half))
    borrowed = [one for one in example.read(tmp_path / "pairs.jsonl") if one.borrowed_from]
    assert [one.solution for one in borrowed] == ["def g(a=31, b=8088): return b - a"]


def test_rounds_end_when_a_puzzle_is_solved_enough_or_hopeless(tmp_path: Path, verifier: Verifier) -> None:
    run(tmp_path, verifier)
    numbers = {
        name: [
            len(record["attempts"]) for record in records(tmp_path) if PUZZLES[name].split("\n")[1] in record["puzzle"]
        ]
        for name in ("unsolvable", "good words")
    }
    assert max(numbers["unsolvable"]) - SMALL.hindsight_attempts <= SMALL.give_up_after
    assert set(numbers["good words"]) <= {0, 12}


def test_a_puzzle_that_does_not_fit_the_context_is_not_asked_about(tmp_path: Path, verifier: Verifier) -> None:
    tally = run(tmp_path, verifier, replace(SMALL, solution_max_new_tokens=2000))
    assert tally.stages["attempts"] == 0
    assert tally.refusals["solved"] > 0


def test_a_model_without_examples_is_asked_with_nothing_but_the_puzzle(tmp_path: Path, verifier: Verifier) -> None:
    model = Scripted(script)
    run(tmp_path, verifier, style=BARE, model=model)
    assert "def f(" in model.prompts
    assert "def f(s: str, t='melon'):\n    return s == t * 3 + t.upper()\n\ndef g(t='melon'):" in model.prompts


def test_a_verdict_that_is_none_is_no_attempt(tmp_path: Path, verifier: Verifier) -> None:
    class Sick(Verifier):
        async def averify_many(self, tasks: Any, ordered: bool = True, repeat: int = 1) -> Any:
            async for verdict in verifier.averify_many(tasks, ordered, repeat):
                broken = "/" in verdict.id and len(verdict.id) > 8 and hash(verdict.id) % 2
                yield dataclasses.replace(verdict, status=Status.INTERNAL_ERROR) if broken else verdict

        def __init__(self) -> None:
            pass

    run(tmp_path, Sick())
    for record in records(tmp_path):
        own = [attempt for attempt in record["attempts"] if not attempt["borrowed_from"]]
        assert record["passes"] == sum(attempt["status"] == "accepted" for attempt in own)
    for one in example.read(tmp_path / "pairs.jsonl"):
        record = next(r for r in records(tmp_path) if r["id"] == one.puzzle_id and not r["refused"])
        statuses = [attempt["status"] for attempt in record["attempts"] if not attempt["borrowed_from"]]
        assert one.attempts == len(statuses) - statuses.count("internal_error")


def test_nothing_that_a_model_writes_runs_outside_the_workers(tmp_path: Path, verifier: Verifier) -> None:
    mark = tmp_path / "mark"
    write = f"__import__('pathlib').Path({str(mark)!r}).touch()"
    evil = [
        f"x: int, a=417):\n    {write}\n    return x == a * a",
        f"x: int, a={write}):\n    return x == 417 * 417",
        f"x: {write}, a=417):\n    return x == a * a",
        f"x: List[{write}]):\n    return len(x) == 417",
        f"x: int = {write}):\n    return x",
        "x: int, a=417):\n    __import__('os').kill(__import__('os').getppid(), 9)\n    return x == a * a",
    ]
    answers = [f" return {write}", f"\n    return [{write}, 417 * 417][1]", "\n    __import__('os')._exit(0)"]

    def attack(prompt: str, rng: random.Random) -> str:
        return rng.choice(evil if prompt.endswith("(") else answers)

    for recipe in (SMALL, replace(PAPER, samples_per_prompt=16, max_attempts=6, attempts_per_round=6)):
        tally = run(tmp_path / recipe.name, verifier, recipe, model=Scripted(attack))
        assert tally.stages["written"] == 64
        assert tally.stages["pairs"] == 0
    assert tally.statuses["forbidden"] + tally.statuses["puzzle_error"] > 0
    assert not mark.exists()


def test_progress_grows_stage_by_stage(tmp_path: Path, verifier: Verifier) -> None:
    seen: list[dict[str, int]] = []
    final = run(tmp_path, verifier, on_progress=lambda tally: seen.append(dict(tally.stages)))
    assert seen[0]["written"] > 0
    assert final.stages["written"] == 64
    counts = [final.stages[stage] for stage in ("written", *STAGES)]
    assert counts == sorted(counts, reverse=True)
    assert final.statuses["accepted"] > 0
    assert set(final.seconds) == {"model", "verifier", "elapsed"}
