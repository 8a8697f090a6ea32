"""Derived puzzles: what can be chained or asked with another target, what is kept, and its recorded provenance."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from selftaught.generator import equation, example, provenance, puzzle
from selftaught.generator.chains import Links
from selftaught.generator.folder import Folder, Tally
from selftaught.generator.generation import Generation
from selftaught.generator.models.scripted import Scripted
from selftaught.generator.novelty import HeldOut
from selftaught.generator.prompts import BARE
from selftaught.generator.recipe import DEFAULT, Recipe
from selftaught.generator.verification import Backlog, Verification
from selftaught.sandbox import Program, Task, Verifier
from tests.generator.scripted_run import Counting, Killed, kept, records

ADD = ("def f(x: int, a=417, b=1342):\n    return x + a == b", "def g(a=417, b=1342):\n    return b - a")
LENGTH = ("def f(x: str, c=31):\n    return c == len(x)", "def g(c=31):\n    return 'a' * c")
END = (
    "def f(y: List[int], l=[41, 52, 63], p=[63]):\n    return y + p == l",
    "def g(l=[41, 52, 63], p=[63]):\n    return l[:-len(p)]",
)
CODES = (
    "def f(x: str, l=[97, 98, 99]):\n    return [ord(i) for i in x] == l",
    "def g(l=[97, 98, 99]):\n    return ''.join((chr(i) for i in l))",
)


@pytest.fixture(scope="module")
def verifier() -> Iterator[Verifier]:
    with Verifier(workers=1, require="restricted") as made:
        yield made


def links(*pairs: tuple[str, str]) -> Links:
    made = Links()
    for sat, sol in pairs:
        made.add(puzzle.parse(sat), [sol])
    return made


def chained(verifier: Verifier, made: Links, most: int = 40) -> list[tuple[str, str]]:
    rng = random.Random(1)
    closed = [
        made.complete_chain(chain, verifier.run(Program("", chain.program)).stdout.strip(), rng)
        for chain in made.chains(most, rng)
    ]
    return [pair for pair in closed if pair]


def test_a_chain_is_solved_by_its_solutions_in_a_row(verifier: Verifier) -> None:
    found = chained(verifier, links(ADD, LENGTH, END, CODES))
    for sat, sol in found:
        assert verifier.verify(Task("", sat, sol)).accepted, (sat, sol)
    bodies = {sat.split("return ")[1] for sat, _ in found}
    assert any("len(x) + " in body for body in bodies)
    assert any("[ord(i) for i in x] + " in body for body in bodies)


def test_types_that_do_not_fit_are_not_chained() -> None:
    assert not list(links(LENGTH, CODES).chains(9, random.Random(0)))
    assert list(links(LENGTH, ADD).chains(9, random.Random(0)))


def test_chains_are_spread_over_the_pairs_and_simple_ones_come_first() -> None:
    double = ("def f(x: int, a=417, b=1342):\n    return x + a + a == b", "def g(a=417, b=1342):\n    return b - a - a")
    found = list(links(ADD, ADD, double).chains(5, random.Random(0)))
    sizes = [chain.inner.size + chain.outer.size for chain in found]
    assert sizes[:4] == sorted(sizes[:4])
    assert len({(chain.inner.form, chain.outer.form) for chain in found[:4]}) == 4
    assert sizes[4] == sizes[0]


@pytest.mark.parametrize(
    ("sat", "sol"),
    [
        ("def f(x: int, a=3):\n    return x > a", "def g(a=3):\n    return a + 1"),
        ("def f(x: int, a=3):\n    return x == x + a - a", "def g(a=3):\n    return a"),
        ("def f(x: int, a=3):\n    return x * a == a", "def g(a=3):\n    return 1"),
        ("def f(x: int, a=3):\n    return x + 1 == a", "def g(a=3):\n    return 2"),
        ("def f(x: int, a=3, b=1):\n    return x + 1 == a", "def g(a=3, b=1):\n    return a - b"),
        ("def f(x: int, a=3):\n    y = x + 1\n    return y == a", "def g(a=3):\n    return a - 1"),
        ("def f(x: int, a=3):\n    return x + 1 == a", "def g(a=3):\n    b = a\n    return b - 1"),
        ("def f(x: int, a=3):\n    return x + 1 == a == 3", "def g(a=3):\n    return a - 1"),
        ("def f(x: int, a=len('abc')):\n    return x + 1 == a", "def g(a=len('abc')):\n    return a - 1"),
    ],
)
def test_what_has_another_shape_is_no_link(sat: str, sol: str) -> None:
    assert not list(links((sat, sol), ADD).chains(1, random.Random(0)))[1:]
    assert all(
        chain.inner.asked.puzzle.source == ADD[0] for chain in links((sat, sol), ADD).chains(9, random.Random(0))
    )


@pytest.mark.parametrize(
    "printed", ["", "7" * 40, "1 + 1", "__import__('os')", "f()", "[", "object at 0x7f", "'a' 'b'"]
)
def test_what_is_no_short_plain_value_is_no_target(printed: str) -> None:
    made = links(ADD)
    (chain,) = made.chains(1, random.Random(0))
    assert made.complete_chain(chain, printed, random.Random(0)) is None


def test_parameters_are_called_as_the_solved_puzzles_call_them_and_never_like_the_answer(verifier: Verifier) -> None:
    other = ("def f(b: int, c=417, a=1342):\n    return b - c == a", "def g(c=417, a=1342):\n    return a + c")
    for sat, _ in chained(verifier, links(ADD, ADD, other)):
        made = puzzle.parse(sat)
        names = [name for name, _ in made.defaults]
        assert made.argument not in names and len(set(names)) == 3


def script(prompt: str, rng: random.Random) -> str:
    """Writes and solves sums and lengths."""
    number = rng.randrange(1000, 9000)
    if prompt.endswith("("):
        return rng.choice(
            [f"x: int, a={number}, b={number * 3}):\n    return x + a == b", "x: str, a=151):\n    return len(x) == a"]
        )
    return " return 'b' * a" if "len(x)" in prompt else " return b - a"


RECIPE = replace(
    DEFAULT,
    prompts_per_wave=1,
    samples_per_prompt=8,
    attempts_per_round=4,
    max_attempts=4,
    max_per_template=4,
    max_per_cluster=0,
    verify_repeats=2,
    chains_per_wave=12,
    retarget_unsolved=True,
)


def run(
    path: Path,
    verifier: Verifier,
    *,
    held_out: HeldOut | None = None,
    model: Scripted | None = None,
    recipe: Recipe = RECIPE,
) -> None:
    with Folder(path, {}, [], resume=True) as folder:
        made = Generation(model or Scripted(script), [], verifier, folder, recipe, style=BARE, held_out=held_out)
        made.run(puzzles=24)


def test_a_run_keeps_chains_with_their_parents_and_their_provenance(tmp_path: Path, verifier: Verifier) -> None:
    run(tmp_path, verifier)
    pairs = [one for one in example.read(tmp_path / "pairs.jsonl") if not one.puzzle_sampling.model]
    ids = {record["id"] for record in records(tmp_path) if record["sampling"]["model"] and not record["refused"]}
    assert any("len(x) + " in one.puzzle for one in pairs)
    for one in pairs:
        assert len(one.puzzle_sampling.parents) == 2 and set(one.puzzle_sampling.parents) <= ids
        assert verifier.verify(Task("", one.puzzle, one.solution)).accepted
        assert one.judgement.repeats == 2 and (one.passes, one.attempts) == (0, 0)
    described = provenance.describe(provenance.explain(pairs[0].id, tmp_path))
    assert "two solved puzzles chained" in described
    counts = json.loads((tmp_path / "progress.json").read_text())["stages"]
    assert counts["written"] == 24 and counts["derived"] >= len({one.puzzle_id for one in pairs})
    assert counts["right"] <= counts["attempts"]


def test_a_run_with_chains_that_breaks_gives_the_same_data(tmp_path: Path, verifier: Verifier) -> None:
    run(tmp_path / "whole", verifier)
    model = Counting(script)
    model.left = 3
    with pytest.raises(Killed):
        run(tmp_path / "broken", verifier, model=model)
    model.left = 1000
    run(tmp_path / "broken", verifier, model=model)
    assert kept(tmp_path / "broken") == kept(tmp_path / "whole")
    assert records(tmp_path / "broken") == records(tmp_path / "whole")


SUFFIX = "x: str, s='dew', t='morning'):\n    return x + s == t"


def misjudged(prompt: str, rng: random.Random) -> str:
    """Writes a puzzle without an answer, and solves it as if it had one, or not at all."""
    return SUFFIX if prompt.endswith("(") else rng.choice([" return t[:-len(s)]", " return t + s", " return t * 2"])


def test_a_puzzle_without_an_answer_is_asked_again_with_a_target_that_was_reached(
    tmp_path: Path, verifier: Verifier
) -> None:
    switched = replace(RECIPE, chains_per_wave=0, max_attempts=8, retarget_unsolved=False)
    run(tmp_path / "off", verifier, model=Scripted(misjudged), recipe=switched)
    assert not list(example.read(tmp_path / "off" / "pairs.jsonl"))
    run(tmp_path / "on", verifier, model=Scripted(misjudged), recipe=replace(switched, retarget_unsolved=True))
    pairs = list(example.read(tmp_path / "on" / "pairs.jsonl"))
    assert {one.solution.partition("return ")[2] for one in pairs} == {"t[:-len(s)]"}
    (origin,) = {
        record["id"] for record in records(tmp_path / "on") if record["sampling"]["model"] and record["attempts"]
    }
    for one in pairs:
        target = dict(puzzle.parse(one.puzzle).defaults)["t"]
        assert target.endswith("dew'") and target != "'morning'"
        assert one.puzzle_sampling.parents == [origin] and one.borrowed_from == origin
    assert "with another target" in provenance.describe(provenance.explain(pairs[0].id, tmp_path / "on"))


@pytest.mark.parametrize("printed", ["", "17", "None", "['a']", "'" + "a" * 40 + "'", "f()", "'a' + 'b'"])
def test_a_target_is_a_short_plain_value_of_the_same_type(printed: str) -> None:
    asked = equation.read(puzzle.parse(f"def f({SUFFIX}"))
    assert asked and asked.with_target(printed) is None


def test_another_target_changes_nothing_else() -> None:
    asked = equation.read(puzzle.parse("def f(x: str, t='dew', s='dew'):\n    return t == x + s  # t='dew'"))
    assert (
        asked
        and asked.with_target("'mildew'") == "def f(x: str, t='mildew', s='dew'):\n    return t == x + s  # t='dew'"
    )


def test_a_held_out_chain_is_refused(tmp_path: Path, verifier: Verifier) -> None:
    run(tmp_path / "open", verifier)
    found = {
        one.template: one.puzzle
        for one in example.read(tmp_path / "open" / "pairs.jsonl")
        if not one.puzzle_sampling.model
    }
    run(tmp_path / "closed", verifier, held_out=HeldOut(found.values()))
    assert not [one for one in example.read(tmp_path / "closed" / "pairs.jsonl") if not one.puzzle_sampling.model]
    assert "held_out" in {
        record["refused"] for record in records(tmp_path / "closed") if not record["sampling"]["model"]
    }


def printed(verifier: Verifier, *programs: str) -> list[str]:
    return asyncio.run(Verification(verifier, DEFAULT, Tally(), Backlog()).run_programs(programs))


def test_what_each_of_many_programs_prints_is_its_first_line_or_nothing_if_it_fails(verifier: Verifier) -> None:
    programs = [
        "print(1)\nprint(2)",
        "print('a\\u2028b', end='')",
        "1 / 0",
        "pass",
        "print('x'); 1 / 0",
        *(f"print({n})" for n in range(60)),
    ]
    assert printed(verifier, *programs) == ["1", "a\u2028b", "", "", "", *map(str, range(60))]


@pytest.mark.parametrize(
    "rude",
    ["while True: pass", "import os; os._exit(3)", "import sys; sys.__stdout__.write('more\\n')", "raise SystemExit"],
)
def test_a_program_that_ends_the_process_of_many_spoils_none_of_the_others(verifier: Verifier, rude: str) -> None:
    assert printed(verifier, "print(1)", rude, "print(2)")[::2] == ["1", "2"]
