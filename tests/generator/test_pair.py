"""Pairs to train on: what verify accepted and what generate kept, whatever else is in the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from selftaught.generator import example, pair, seeds
from selftaught.generator.pair import Pair
from selftaught.sandbox import Status, Task, Verdict, batch
from selftaught.sandbox.records import Record, Unreadable
from selftaught.sandbox.records.omissions import Omissions
from tests.generator.test_example import made

SAT, SOL = "def sat(x: int, a=5):\n    return x == a", "def sol(a=5):\n    return a"


def lines(path: Path, *rows: Any) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def verified(number: int, status: Status = Status.ACCEPTED, **fields: Any) -> dict[str, Any]:
    """Return what `selftaught verify` writes for a task."""
    given = {"id": str(number), "sat": SAT.replace("5", str(number)), "sol": SOL.replace("5", str(number)), **fields}
    record = Record("in:1", given, Task(str(number), "", ""))
    written: dict[str, Any] = json.loads(batch.line(record, Verdict(str(number), status)))
    return written


def read(*sources: str) -> tuple[list[Pair], list[str]]:
    omissions = Omissions()
    return pair.read(sources, omissions), omissions.lines()


def test_what_verify_accepted_is_trained_on_and_the_rest_is_counted_with_its_reason(tmp_path: Path) -> None:
    rows = [verified(n, Status.REJECTED if n % 2 else Status.ACCEPTED, note=n) for n in range(20)]
    found, said = read(lines(tmp_path / "verdicts", *rows, verified(2), {"id": "x", "sat": SAT, "sol": SOL}, [1]))
    assert [one.puzzle for one in found] == [SAT.replace("5", str(n)).replace("sat", "f") for n in range(0, 20, 2)]
    assert found[0].solution == "def g(a=0):\n    return a"
    assert said[0] == "  10 records are left out: it was not accepted, but rejected"
    assert said[1:3] == [f"    {tmp_path}/verdicts:2", f"    {tmp_path}/verdicts:4"]
    assert "    and 5 more" in said
    assert "  1 record is left out: the same pair was there before" in said
    assert any("judge it first with `selftaught verify" in line for line in said)
    assert any("verdicts:23: not an object but list" in line for line in said)


def test_a_control_takes_what_nobody_accepted(tmp_path: Path) -> None:
    rows = [verified(0), verified(1, Status.REJECTED), {"puzzle": SAT.replace("sat", "f"), "solution": SOL}]
    omissions = Omissions()
    assert len(pair.read([lines(tmp_path / "in.jsonl", *rows)], omissions, unverified=True)) == 3
    assert not omissions.lines()


def test_what_generate_kept_is_trained_on_with_more_fields_and_its_weight(tmp_path: Path) -> None:
    kept = [{**made(n).to_dict(), "mine": 1} for n in range(3)]
    found, said = read(lines(tmp_path / "pairs", *kept))
    assert found == [Pair(made(n).id, made(n).puzzle, made(n).solution, 0.75) for n in range(3)]
    assert not said
    assert [one.id for one in example.read(tmp_path / "pairs")] == [one.id for one in found]


@pytest.mark.parametrize(
    ("sol", "expected"),
    [
        ("5 + 0", "def g():\n    return 5 + 0"),
        ("import math\ndef sol(a=5): return a", "import math\ndef g(a=5): return a"),
    ],
)
def test_a_solution_gets_the_form_of_the_papers_pairs(tmp_path: Path, sol: str, expected: str) -> None:
    (found,), _ = read(lines(tmp_path / "in", verified(5, sol=sol)))
    assert found.solution == expected


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"status": "accepted", "sol": "print(1)", "cases": []}, "'sat' is missing"),
        ({"status": "accepted", "sat": SAT, "sol": [SOL]}, "'sol' must be a string, not list"),
        ({"status": "accepted", "puzzle": SAT, "solution": "def"}, "line 1"),
        ({"status": "accepted", "sat": SAT, "sol": "def other(): return 1"}, "no function sol or g"),
        ({"status": "rejected", "sat": SAT, "sol": SOL}, "not accepted, but rejected"),
        ({"sat": SAT, "sol": SOL}, "selftaught verify"),
    ],
)
def test_a_file_without_a_pair_is_an_error_that_says_why(tmp_path: Path, row: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unreadable, match="there is no accepted pair") as raised:
        read(lines(tmp_path / "in", row))
    assert reason in str(raised.value)


def test_seeds_are_read_from_what_verify_and_generate_write(tmp_path: Path) -> None:
    path = lines(tmp_path / "in", verified(1, Status.REJECTED), made(2).to_dict(), verified(1), {"note": 1}, 5)
    omissions = Omissions()
    found = seeds.read(path, omissions)
    assert [one.name for one in found] == ["1", made(2).id]
    assert dict(omissions.counts) == {"the same puzzle, but for names, was there before": 1, "it has no puzzle": 2}
    with pytest.raises(Unreadable, match="in:4: no puzzle: the field 'sat' is missing"):
        seeds.read(path)
