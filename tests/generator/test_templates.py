"""Templates: problems of one line whose constants vary."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from selftaught.generator import answers, seeds, templates
from selftaught.generator.example import template as canonical_id
from selftaught.generator.puzzle import parse
from selftaught.generator.templates import SEEDS, Template
from selftaught.sandbox import Task, Verifier

QUOTIENT = Template("q", "n: int", "k = randint(5, 60); a = 1; r = k - 1", "n // k == 3 and n % k == r", "3 * k + r")


def test_an_instance_has_the_constants_that_the_puzzle_reads_as_defaults() -> None:
    record = QUOTIENT.instance(random.Random(0))
    puzzle = parse(record["sat"])
    assert [name for name, _ in puzzle.defaults] == ["k", "r"]
    assert record["sol"].startswith(f"def sol({puzzle.parameters}):")
    assert record["answer_type"] == puzzle.annotation == "int"


def test_the_same_seed_gives_the_same_instances_and_another_seed_others() -> None:
    first = list(QUOTIENT.instances(5, 1))
    assert first == list(QUOTIENT.instances(5, 1)) != list(QUOTIENT.instances(5, 2))
    assert len({record["sat"] for record in first}) == 5


def test_a_problem_with_few_instances_gives_each_once() -> None:
    two = Template("two", "n: int", "k = choice([1, 2])", "n == k", "k")
    assert sorted(record["sol"] for record in two.instances(9, 0)) == [f"def sol(k={k}):\n    return k" for k in (1, 2)]


@pytest.mark.parametrize("field", ["constants", "sat"])
def test_a_template_whose_code_fails_is_named(field: str) -> None:
    broken = {"constants": "k = 1", "sat": "n == k", field: "k = = 1"}
    with pytest.raises(ValueError, match="template broken: SyntaxError"):
        Template("broken", "n: int", broken["constants"], broken["sat"], "k").instance(random.Random(0))


@pytest.mark.parametrize("text", ["", "problems = 1", '[[problems]]\nid = "x"\n'])
def test_a_malformed_file_is_an_error_that_names_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.toml").write_text(text)
    with pytest.raises(ValueError, match=r"bad\.toml: no templates"):
        templates.read(tmp_path / "bad.toml")


def test_there_are_150_seed_problems_over_all_types_of_answers() -> None:
    read = templates.read(SEEDS)
    types = Counter(one.answer.partition(": ")[2] for one in read)
    assert len({one.id for one in read}) == len(read) >= 150
    for kind in ("int", "float", "str", "List[int]", "List[str]", "List[float]", "List[List[int]]"):
        assert types[kind] >= 2, kind
    assert {"Tuple", "Dict", "Set"} <= {kind.partition("[")[0] for kind in types}
    assert all(answers.allowed(answers.read_type(kind), "plain") for kind in types)


def test_each_seed_problem_has_a_canonical_form_of_its_own() -> None:
    forms = Counter(canonical_id(next(one.instances(1, 0))["sat"]) for one in templates.read(SEEDS))
    assert forms.most_common(1)[0][1] == 1


def test_reference_solutions_of_seed_problems_are_right() -> None:
    records = [record for one in templates.read(SEEDS) for record in one.instances(3, 7)]
    with Verifier(workers=1, require="restricted") as verifier:
        verdicts = list(verifier.verify_many(Task(one["id"], one["sat"], one["sol"]) for one in records))
    assert [(verdict.id, verdict.message) for verdict in verdicts if not verdict.accepted] == []


def test_bundled_seeds_are_instances_of_their_problems() -> None:
    found = seeds.read(seeds.ONELINERS)
    assert {seed.problem for seed in found} == {one.id for one in templates.read(SEEDS)}
    assert len(found) > 19 * len({seed.problem for seed in found})
    assert len({seed.id for seed in found}) == len(found)
