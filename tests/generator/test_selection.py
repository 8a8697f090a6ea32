"""Selection and weights of solutions, solutions adapted to other puzzles, recipes, novelty, seeds."""

from __future__ import annotations

from pathlib import Path

import pytest

from selftaught.generator import seeds, selection
from selftaught.generator.novelty import HeldOut, Known, sketch
from selftaught.generator.puzzle import canonical, parse
from selftaught.generator.recipe import DEFAULT, PAPER, RECIPES, Recipe
from selftaught.generator.seeds import Seed, Unreadable
from selftaught.sandbox import corpus

LONG = "def g(a=3):\n    result = a + 1\n    return result"


def test_the_shortest_distinct_solutions_are_kept() -> None:
    same = LONG.replace("result", "r")
    assert selection.choose([LONG, same, "def g(a=3):\n    return a + 1", "def g(a=3):\n    return 4"], 3, False) == [
        "def g(a=3):\n    return 4",
        "def g(a=3):\n    return a + 1",
        same,
    ]


def test_diverse_solutions_come_before_a_second_of_the_same_form() -> None:
    fours = [f"def g(a=3):\n    return {number}" for number in (4, 40, 44)]
    assert selection.choose([*fours, LONG], 2, False) == [fours[0], fours[1]]
    assert selection.choose([*fours, LONG], 2, True) == [fours[0], LONG]


def test_puzzles_solved_half_the_time_weigh_most() -> None:
    assert selection.learnability(4, 8) == 1
    assert selection.learnability(8, 8) == pytest.approx(selection.learnability(0, 8))
    assert 0 < selection.learnability(128, 128) < selection.learnability(64, 128)
    assert selection.learnability(0, 0) == 1


def test_a_transplanted_body_brings_along_what_it_uses() -> None:
    donor = parse("def f(x: int, a=41, b=7):\n    return x == a * b")
    other = parse("def f(x: int, b=2, c=5):\n    return x > b + c")
    assert selection.transplant(" return a + b", donor, other) == "def g(b=2, c=5):\n    a = 41\n    return a + b"
    assert (
        selection.transplant("\n  n = a\n  return n", donor, other) == "def g(b=2, c=5):\n  a = 41\n  n = a\n  return n"
    )
    assert selection.transplant(" return b", donor, other) == "def g(b=2, c=5): return b"
    assert selection.transplant("\n    return (", donor, other) is None


def test_a_recipe_is_changed_by_name_and_a_mistake_is_named() -> None:
    changed = DEFAULT.changed(
        "hindsight_attempts=0", "refuse_answer_independent=off", "cluster_similarity=0.5", "trivial_check=paper"
    )
    assert (
        changed.hindsight_attempts,
        changed.refuse_answer_independent,
        changed.cluster_similarity,
        changed.trivial_check,
    ) == (0, False, 0.5, "paper")
    for setting, complaint in [
        ("hindsite=0", "did you mean hindsight_attempts"),
        ("hindsight_attempts", "give NAME=VALUE"),
        ("hindsight_attempts=much", "of type int"),
        ("refuse_answer_independent=maybe", "of type bool"),
        ("trivial_check=no", "must be one of"),
        ("attempts_per_round=0", "at least 1"),
        ("cluster_similarity=2", "between 0 and 1"),
    ]:
        with pytest.raises(ValueError, match=complaint):
            DEFAULT.changed(setting)


@pytest.mark.parametrize(
    ("old", "new"), [("hindsight", "hindsight_attempts"), ("round", "attempts_per_round"), ("chain", "chains_per_wave")]
)
def test_an_unknown_switch_is_answered_with_the_nearest_known_ones(old: str, new: str) -> None:
    with pytest.raises(ValueError, match=f"there is no setting '{old}'; did you mean .*{new}.*NAME is one of"):
        DEFAULT.changed(f"{old}=3")


def test_the_papers_recipe_is_the_papers() -> None:
    assert Recipe() == PAPER == RECIPES["paper"]
    figures = (
        PAPER.samples_per_prompt,
        PAPER.temperature,
        PAPER.puzzle_max_new_tokens,
        PAPER.solution_max_new_tokens,
        PAPER.max_attempts,
        PAPER.max_solutions,
    )
    assert figures == (64, 0.9, 200, 150, 128, 8)
    assert PAPER.keep_trivial_share == 0.05
    assert (PAPER.top_k, PAPER.top_p, PAPER.puzzle_context, PAPER.first_instance) == (50, 1.0, 2048, True)
    assert (PAPER.trivial_check, PAPER.lot_skips_checks, PAPER.refuse_undefined_names) == ("paper", True, False)
    assert (
        PAPER.refuse_answer_independent,
        PAPER.verify_repeats,
        PAPER.hindsight_attempts,
        PAPER.max_per_template,
        PAPER.max_per_cluster,
    ) == (False, 1, 0, 0, 0)


BASE = (
    "def f(x: List[int], n=9, li=[3, 1, 2]):\n"
    "    return sum(x) == n and len(x) == len(li) and sorted(x) == sorted(li) and x[0] > x[1] > x[2]"
)
NEAR = BASE.replace("x[1] > x[2]", "x[1]")


def test_near_duplicates_share_a_cluster_and_others_do_not() -> None:
    known = Known(0.6)
    form = canonical(BASE)
    known.admit("base", form, known.cluster("base", form)[0])
    cluster, score = known.cluster("near", canonical(NEAR))
    assert cluster == "base"
    assert 0.6 <= score < 1
    far = canonical("def f(s: str):\n    return s.count('a') == 3 and s[::-1] == s")
    assert known.cluster("far", far) == ("far", pytest.approx(0, abs=0.2))
    known.admit("near", canonical(NEAR), cluster)
    assert known.in_cluster("base") == 2
    assert known.of_template("near") == 1


def test_the_estimate_of_similarity_is_about_the_truth() -> None:
    assert sketch(canonical(BASE)).jaccard(sketch(canonical(BASE.replace("x", "y")))) == 1
    assert 0.6 < sketch(canonical(BASE)).jaccard(sketch(canonical(NEAR))) < 1


def test_bundled_puzzles_are_not_near_duplicates() -> None:
    known = Known(0.85)
    for record in corpus.records():
        form = canonical(record["sat"])
        known.admit(record["id"], form, known.cluster(record["id"], form)[0])
    assert all(known.in_cluster(record["id"]) == 1 for record in corpus.records())


def test_a_held_out_puzzle_is_known_by_its_form_and_by_its_likeness() -> None:
    held_out = HeldOut([BASE])
    assert held_out.contains(BASE.replace("n=9", "n=10").replace("x", "answer"))
    assert not held_out.contains(NEAR)
    assert held_out.similarity(canonical(NEAR)) > 0.6
    assert HeldOut().similarity(canonical(NEAR)) == 0
    assert held_out.digest != HeldOut().digest


def test_seeds_are_read_from_every_format(p3: Path) -> None:
    assert len(seeds.read(seeds.CORPUS)) == len(corpus.records())
    found = seeds.read(str(p3))
    assert len(found) > 600
    assert len({seed.problem for seed in found}) == 155


def test_seeds_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    path = tmp_path / "seeds.jsonl"
    for content, complaint in [
        ("", "has no puzzles"),
        ('{"sat": "def f(x: int): return x"}\n{"sat": "def f("}', "seeds.jsonl:2: no puzzle"),
        ("{", "seeds.jsonl: "),
        ('{"id": "x"}', "seeds.jsonl:1"),
    ]:
        path.write_text(content)
        with pytest.raises(Unreadable, match=complaint):
            seeds.read(str(path))
    path.write_text('{"puzzle": "def f(x: int): return x"}\n{"sat": "def h(y: int): return y"}')
    assert isinstance(seeds.read(str(path))[0], Seed)
    assert len(seeds.read(str(path))) == 1
