"""The rules that keep held-out puzzles out."""

from __future__ import annotations

from itertools import islice

import pytest

from selftaught.generator.puzzle import canonical, exact
from selftaught.sandbox import Limits, Task, Verifier
from selftaught.trainer import heldout
from selftaught.trainer.tiny import corpus
from selftaught.trainer.tiny.guard import Form, Guard, TinyHeldOut

RECORDS = heldout.records("machine")
CONSTANTS = {"half": "constants", "sat": "def f(x: int, a=417, b=1342):\n    return x + a == b"}
COMPOSITIONS = {"half": "compositions", "sat": "def f(x: int, a=5, b=25):\n    return (x ^ a) * 3 == b"}
GUARD = Guard([CONSTANTS, COMPOSITIONS])


@pytest.mark.parametrize(
    ("sat", "rule"),
    [
        ("def f(x: int, a=417, b=1342):\n    return x + a == b", "constants"),
        ("def g(y: int, c=1342, d=417):\n    return d == y + c", "constants"),
        ("def f(x: int, a=999, b=1342):\n    return x + a == b", "constants"),
        ("def f(x: int, a=-417, b=20):\n    return x + a == b", "constants"),
        ("def f(x: int, a=998, b=1000):\n    return x + a == b", None),
        ("def f(x: int, a=417, b=1342):\n    return x - a == b", None),
        ("def f(x: int, q=7, b=77):\n    return b == (x ^ q) * 8", "compositions"),
        ("def f(x: int, q=7, b=77):\n    return (x ^ 3) * q == b and x > 5", "compositions"),
        ("def f(x: int, q=7, b=77):\n    return str((x ^ 3) * q) == 'v'", "compositions"),
        ("def f(x: int, q=7, b=77):\n    return (x * q) ^ 3 == b", None),
        ("def f(x: int", "unreadable"),
    ],
)
def test_a_puzzle_breaks_the_rule_that_it_should(sat: str, rule: str | None) -> None:
    assert GUARD.breaks(sat) == rule


def test_the_bundled_set_is_large_enough_and_balanced() -> None:
    halves = [record["half"] for record in RECORDS]
    assert len(RECORDS) >= 300 and halves.count("constants") == halves.count("compositions") == len(RECORDS) / 2
    assert len({exact(record["sat"]) for record in RECORDS}) == len(RECORDS)


def test_every_held_out_puzzle_is_refused_by_the_generators_filter() -> None:
    held_out = TinyHeldOut()
    assert all(held_out.contains(record["sat"]) for record in RECORDS)


def test_the_corpus_never_shows_a_held_out_puzzle_or_composition() -> None:
    shown = list(islice(corpus.documents(0, allowed=Guard(RECORDS).allows), 3000))
    forms = {exact(record["sat"]) for record in RECORDS}
    new = {canonical(record["sat"]) for record in RECORDS if record["half"] == "compositions"}
    assert not forms & {exact(one.sat) for one in shown}
    assert not new & {canonical(one.sat) for one in shown}


def test_nearly_all_templates_of_the_half_with_known_templates_are_in_the_corpus() -> None:
    shown = {Form(one.sat).template for one in islice(corpus.documents(0, allowed=Guard(RECORDS).allows), 6000)}
    known = [Form(record["sat"]).template in shown for record in RECORDS if record["half"] == "constants"]
    assert sum(known) / len(known) > 0.9


def test_every_reference_solution_is_right() -> None:
    tasks = [Task(record["id"], record["sat"], record["sol"]) for record in RECORDS]
    with Verifier(limits=Limits(cpu_seconds=1.0), require="restricted") as verifier:
        wrong = [verdict.id for verdict in verifier.verify_many(tasks) if not verdict.accepted]
    assert wrong == []
