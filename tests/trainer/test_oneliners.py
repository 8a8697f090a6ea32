"""The held-out set `oneliners`: made of templates, right, and disjoint from the seeds that models are shown."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from selftaught.generator import templates
from selftaught.generator.example import template as canonical_id
from selftaught.generator.prompts import SHOTS
from selftaught.generator.puzzle import parse
from selftaught.sandbox import Task, Verifier, corpus
from selftaught.trainer import heldout

RECORDS = heldout.records("oneliners")
TEMPLATES = heldout.path("oneliners").with_suffix(".toml")


def test_the_set_is_what_its_templates_make() -> None:
    assert [record for one in templates.read(TEMPLATES) for record in one.instances(2, 0)] == RECORDS


def test_there_are_400_puzzles_over_all_types_of_answers() -> None:
    types = Counter(record["answer_type"] for record in RECORDS)
    assert len(RECORDS) >= 400 and len({record["id"] for record in RECORDS}) == len(RECORDS)
    assert all(record["answer_type"] == parse(record["sat"]).annotation for record in RECORDS)
    for kind in ("int", "float", "str", "List[int]", "List[str]", "List[float]", "List[List[int]]"):
        assert types[kind] >= 4, kind
    assert {"Tuple", "Dict", "Set"} <= {kind.partition("[")[0] for kind in types}


def test_reference_solutions_are_right() -> None:
    with Verifier(workers=1, require="restricted") as verifier:
        verdicts = list(verifier.verify_many(Task(one["id"], one["sat"], one["sol"]) for one in RECORDS))
    assert [(verdict.id, verdict.message) for verdict in verdicts if not verdict.accepted] == []


def test_no_puzzle_has_the_problem_or_the_canonical_form_of_a_seed() -> None:
    seeds = [record for one in templates.read(templates.SEEDS) for record in one.instances(20, 0)]
    shown = [record["sat"] for record in (*seeds, *corpus.records())] + [puzzle for puzzle, _ in SHOTS]
    assert not {canonical_id(one["sat"]) for one in RECORDS} & {canonical_id(source) for source in shown}
    assert not {_problem(one) for one in RECORDS} & {_problem(one) for one in seeds}


def test_no_puzzle_has_the_canonical_form_of_one_of_p3(p3: Path) -> None:
    forms = {canonical_id(puzzle["sat"]) for puzzle in json.loads(p3.read_text())}
    assert [one["id"] for one in RECORDS if canonical_id(one["sat"]) in forms] == []


def _problem(record: dict[str, str]) -> str:
    return record["id"].partition(":")[0]
