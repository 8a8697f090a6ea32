"""The hand-written held-out set: every reference solution is right, and nothing of it is known from elsewhere."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from selftaught.generator import answers, checks, held_out, seeds
from selftaught.generator.novelty import Contaminated
from selftaught.generator.prompts import SHOTS
from selftaught.generator.puzzle import canonical, parse
from selftaught.sandbox import Status, Task, Verifier, corpus
from selftaught.trainer import heldout

RECORDS = heldout.records("handwritten")


@pytest.fixture(scope="module")
def verifier() -> Iterator[Verifier]:
    with Verifier(workers=1, require="restricted") as made:
        yield made


def test_there_are_enough_puzzles_over_all_types_of_answers() -> None:
    types = Counter(record["answer_type"] for record in RECORDS)
    assert len(RECORDS) >= 100
    for kind in ("int", "float", "str", "List[int]", "List[str]", "List[float]", "List[bool]", "List[List[int]]"):
        assert types[kind] >= 3, kind
    boxes = {kind.partition("[")[0] for kind in types}
    assert {"Tuple", "Dict", "Set", "Optional"} <= boxes
    assert "bool" not in types


def test_records_say_what_their_puzzles_say() -> None:
    for record in RECORDS:
        puzzle = parse(record["sat"])
        assert record["answer_type"] == puzzle.annotation
        assert record["sol"].startswith(f"def sol({puzzle.parameters}):\n")
        assert puzzle.uses_argument
    assert len({record["id"] for record in RECORDS}) == len(RECORDS)


def test_every_reference_solution_is_right_and_stays_so(verifier: Verifier) -> None:
    tasks = [Task(record["id"], record["sat"], record["sol"]) for record in RECORDS]
    verdicts = list(verifier.verify_many(tasks, repeat=2))
    assert [(verdict.id, verdict.message) for verdict in verdicts if not verdict.accepted] == []


def test_every_puzzle_depends_on_its_answer(verifier: Verifier) -> None:
    for record in RECORDS:
        puzzle = parse(parse(record["sat"]).named("f"))
        kind = answers.read_type(puzzle.annotation)
        assert kind
        solution = record["sol"].replace("def sol(", "def g(", 1)
        assert (
            verifier.verify(checks.dependence_task(record["id"], puzzle, kind, solution)).status is Status.ACCEPTED
        ), record["id"]


def test_no_puzzle_shares_its_canonical_form_with_one_that_models_are_shown(p3: Path) -> None:
    forms = {canonical(record["sat"]): record["id"] for record in RECORDS}
    assert len(forms) == len(RECORDS)
    shown = [record["sat"] for record in corpus.records()] + [puzzle for puzzle, _ in SHOTS]
    shown += [puzzle["sat"] for puzzle in json.loads(p3.read_text())]
    shown += [seed.puzzle.source for seed in seeds.read(seeds.CORPUS)]
    assert [forms[form] for form in map(canonical, shown) if form in forms] == []


def test_the_generator_guards_the_set_by_itself() -> None:
    kept_out = held_out.gather()
    for record in RECORDS:
        with pytest.raises(Contaminated):
            kept_out.check(record["sat"].replace("def sat(", "def f99("))
