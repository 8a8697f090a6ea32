"""Workloads hold what they are described to hold, and two checkouts are distinguished."""

from __future__ import annotations

import io
import sys
import tokenize
from collections import Counter
from pathlib import Path

import pytest

from tests.benchmarks import pairs, workloads
from tests.benchmarks.pairs import Checkout, Run
from tests.benchmarks.peers import floor
from tests.benchmarks.workloads import ROOT, Workload
from tests.conftest import open_verifier

SIZES = (300, 1400, 5000)


def accepted(pairs: list[workloads.Pair]) -> list[bool]:
    """What a plain interpreter says of each: one of its own, since a program changes that which it runs in."""
    with floor(10) as peer_verifier:
        return [peer_verifier.stream([pair])["accepted"] == 1 for pair in pairs]


@pytest.mark.parametrize("characters", SIZES)
def test_a_group_puzzle_is_code_of_exactly_its_size(characters: int) -> None:
    for source, _ in workloads.grpo(characters, 150)[:: workloads.GROUP]:
        assert len(source) == characters
        assert len(source.rstrip()) >= characters - 20
        tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
        assert not [token for token in tokens if token.type in (tokenize.COMMENT, tokenize.STRING)]
        assert len(tokens) > characters / 8


@pytest.mark.parametrize("characters", SIZES)
def test_no_group_puzzle_and_no_answer_occurs_twice(characters: int) -> None:
    made = workloads.grpo(characters, 150)
    assert len(made) == 2400
    assert set(Counter(sat for sat, _ in made).values()) == {workloads.GROUP}
    assert len({sol for _, sol in made}) == len(made)


@pytest.mark.parametrize("characters", SIZES)
def test_every_fourth_answer_of_a_group_is_wrong(characters: int) -> None:
    assert accepted(workloads.grpo(characters, 3)) == [True, True, True, False] * 12


def test_puzzles_named_as_in_the_paper_are_verified_too() -> None:
    puzzle = "def f(x: int): return x == 1"
    assert accepted([(puzzle, "def g(): return 1"), (puzzle, "def g(): return 2")]) == [True, False]


def test_what_is_not_given_is_said_with_the_variable_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFTAUGHT_LM", "/nowhere")
    with pytest.raises(FileNotFoundError, match=r"/nowhere.*SELFTAUGHT_LM"):
        workloads.WORKLOADS["lm"](1, True)


def test_a_run_of_a_checkout_returns_every_status() -> None:
    open_verifier("full").close()
    made = Workload([*workloads.grpo(300, 1), ("def sat(x: int): return True", "def sol(): return 1 // 0")], "")
    found = Checkout(ROOT, sys.executable).run(made, workers=1)
    assert found.statuses == ("accepted", "accepted", "accepted", "rejected") * 4 + ("solution_error",)
    assert found.rate > 0 and found.verifiers.total() == 17


def test_a_slow_checkout_and_one_with_other_verdicts_are_reported(tmp_path: Path) -> None:
    """A stand-in for another commit: its verifier sleeps, and accepts one wrong answer."""
    open_verifier("full").close()
    package = tmp_path / "selftaught"
    package.mkdir()
    (package / "__init__.py").write_text(
        "import time\n"
        "from dataclasses import dataclass\n"
        "from enum import Enum\n"
        "class Status(Enum): accepted = 'accepted'\n"
        "class Limits:\n    def __init__(self, cpu_seconds): pass\n"
        "@dataclass\nclass Task:\n    id: str\n    sat: str\n    sol: str\n"
        "class Verdict:\n    status, verifier, level = Status.accepted, 'stand-in', 'none'\n"
        "class Verifier:\n"
        "    def __init__(self, limits): pass\n"
        "    def __enter__(self): return self\n"
        "    def __exit__(self, *_): pass\n"
        "    def verify_many(self, tasks):\n"
        "        time.sleep(1.5)\n"
        "        return (Verdict() for _ in tasks)\n"
    )
    made = Workload(workloads.grpo(300, 1)[:4], "")
    found = pairs.run(
        lambda: Checkout(ROOT, sys.executable).run(made), lambda: Checkout(tmp_path, sys.executable).run(made), 2
    )
    assert min(pairs.ratios(found)) > 2
    assert pairs.differing(found) == {(3, "rejected", "accepted"): 2}


def test_a_run_refuses_a_folder_whose_sandbox_is_another_one(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="failed"):
        Checkout(tmp_path, sys.executable).run(Workload(workloads.trivial(1), ""))


def test_a_folder_without_an_environment_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="environment"):
        pairs.checkout(tmp_path)


def test_who_begins_alternates() -> None:
    order: list[str] = []

    def verify(name: str) -> Run:
        order.append(name)
        return Run(1.0, ())

    pairs.run(lambda: verify("first"), lambda: verify("second"), 3)
    assert order == ["first", "second", "second", "first", "first", "second"]
