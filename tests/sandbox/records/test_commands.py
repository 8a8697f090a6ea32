"""What one command writes the others read; what is wrong with a file costs nothing else, and the exit code says it."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from selftaught.generator import example
from tests.generator.test_example import made

TASKS = [
    {"id": n, "sat": f"def sat(x: int, a={n}): return x == a", "sol": f"def sol(): return {n}"} for n in range(3000)
]


def run(*arguments: object, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run the command with workers that judge in its process."""
    command = [sys.executable, "-m", "tests.sandbox.fake_worker", *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, timeout=120, check=False)


def lines(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.splitlines()]


def test_what_was_read_of_a_cut_input_is_judged_and_then_the_error_comes(tmp_path: Path) -> None:
    path, out = tmp_path / "in.gz", tmp_path / "out"
    whole = gzip.compress("".join(json.dumps(task) + "\n" for task in TASKS).encode())
    path.write_bytes(whole[: len(whole) // 2])
    done = run("verify", path, "-o", out, "--summary")
    assert done.returncode == 2
    assert b"the compressed data ends too early, in line" in done.stderr
    kept = lines(out.read_bytes())
    assert [(one["id"], one["status"]) for one in kept] == [(str(n), "accepted") for n in range(len(kept))]
    assert f"{len(kept):,} tasks in".encode() in done.stderr
    assert len(kept) > 100
    path.write_bytes(whole)
    assert run("verify", path, "-o", out, "--resume").returncode == 0
    assert [one["id"] for one in lines(out.read_bytes())] == [str(n) for n in range(3000)]


def test_verify_reads_the_pairs_of_generate_and_its_own_output(tmp_path: Path) -> None:
    pairs, first = tmp_path / "pairs.jsonl", tmp_path / "first"
    with open(pairs, "wb") as file:
        for number in range(3):
            example.write(made(number), file)
    assert run("verify", pairs, "-o", first).returncode == 0
    found = lines(first.read_bytes())
    assert [(one["id"], one["status"], one["weight"]) for one in found] == [
        (made(number).id, "accepted", 0.75) for number in range(3)
    ]
    again = run("verify", "-", stdin=first.read_bytes())
    assert [one["status"] for one in lines(again.stdout)] == ["accepted"] * 3


def test_train_takes_what_verify_accepted_and_says_what_it_leaves_out(tmp_path: Path) -> None:
    verdicts = tmp_path / "verdicts"
    tasks = [TASKS[0], {**TASKS[1], "sol": "def sol(): return 2"}]
    assert (
        run("verify", "-", "-o", verdicts, stdin=b"\n".join(json.dumps(one).encode() for one in tasks)).returncode == 0
    )
    done = run("train", verdicts, "--model", tmp_path / "none", "-o", tmp_path / "model")
    assert done.returncode == 2
    assert b"1 record is left out: it was not accepted, but rejected" in done.stderr
    assert b"none" in done.stderr.splitlines()[-1]  # it got as far as the model


def test_train_refuses_what_nobody_has_judged(tmp_path: Path) -> None:
    path = tmp_path / "in.json"
    path.write_text(json.dumps(TASKS[:2]))
    done = run("train", path, "--model", "none", "-o", tmp_path / "model")
    assert done.returncode == 2
    assert b"2 records are left out: it has no verdict: judge it first with `selftaught verify" in done.stderr


def test_a_file_without_any_task_says_so_on_standard_error(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text('{"id": 1, "question": "?"}\n{"id": 2}\n')
    done = run("verify", path)
    assert done.returncode == 1
    assert [one["status"] for one in lines(done.stdout)] == ["invalid", "invalid"]
    assert f"no record is a task: {path}:1: the field 'sat' is missing".encode() in done.stderr


@pytest.mark.parametrize("option", ["--seeds", "--held-out"])
def test_generate_reads_any_file_and_only_what_is_held_out_must_be_whole(tmp_path: Path, option: str) -> None:
    path = tmp_path / "in.json.gz"
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf" + json.dumps([*TASKS[:1], {"note": 1}]).encode()))
    done = run("generate", "--model", "scripted:none", "-n", 1, "-o", tmp_path / "out", option, path)
    assert done.returncode == 2
    told = b"in.json.gz:2: neither a puzzle nor a problem of a dataset" in done.stderr
    refused = told and b"left out" not in done.stderr
    assert refused == (option == "--held-out"), done.stderr
    assert (b"1 record is left out: it has no puzzle" in done.stderr) == (option == "--seeds")
