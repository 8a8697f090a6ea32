"""The commands `selftaught generate` and `selftaught why`, as a user runs them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SELFTAUGHT = str(Path(sys.executable).with_name("selftaught"))
SCRIPT = [
    {
        "ends": "(",
        "texts": [
            "x: int, a=417, b=1342):\n    return x + a == b",
            "s: str, t='melon'):\n    return s == t * 3 + t.upper()",
            "x: int):\n    return x * x == 49",
            "x: int:",
        ],
    },
    {"ends": "b=1342):", "texts": [" return b - a", " return a", "\n    c = b - a\n    return c"]},
    {"ends": "t='melon'):", "texts": [" return t * 3 + t.upper()", " return t"]},
]
QUICK = (
    "--require",
    "restricted",
    "--workers",
    "1",
    "--set",
    "samples_per_prompt=4",
    "--set",
    "max_attempts=8",
    "--set",
    "attempts_per_round=8",
)


@pytest.fixture
def model(tmp_path: Path) -> str:
    (tmp_path / "script.json").write_text(json.dumps(SCRIPT))
    return f"scripted:{tmp_path / 'script.json'}"


def selftaught(*args: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [SELFTAUGHT, *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=120, check=False)


def pairs(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "pairs.jsonl").read_text().splitlines()]


def test_a_run_writes_pairs_and_says_the_yield_of_every_stage(tmp_path: Path, model: str) -> None:
    run = selftaught("generate", "--model", model, "-n", 3, "-o", tmp_path / "out", *QUICK)
    assert run.returncode == 0, run.stderr
    assert len(pairs(tmp_path / "out")) >= 3
    for stage in ("parses", "trivial", "quota", "solved", "pairs kept"):
        assert stage in run.stderr
    assert run.stdout == ""


def test_why_prints_the_whole_chain_of_a_pair_and_of_a_refused_puzzle(tmp_path: Path, model: str) -> None:
    selftaught("generate", "--model", model, "-n", 2, "-o", tmp_path / "run" / "one", *QUICK, "--quiet")
    pair = pairs(tmp_path / "run" / "one")[0]
    described = selftaught("why", str(pair["id"])[:10], cwd=tmp_path).stdout
    assert str(pair["solution"]).splitlines()[0] in described
    for word in (
        "accepted in 3 of 3",
        "trivial: passed",
        "depends: passed",
        "scripted:script.json",
        "parents:",
        "seed",
    ):
        assert word in described
    chain = json.loads(selftaught("why", pair["id"], tmp_path, "--json").stdout)
    assert [parent["kind"] for parent in chain["parents"]] == ["puzzle"]
    assert {seed["kind"] for seed in chain["parents"][0]["parents"]} == {"seed"}
    records = [json.loads(line) for line in (tmp_path / "run" / "one" / "puzzles.jsonl").read_text().splitlines()]
    refused = next(record["id"] for record in records if record["refused"] == "trivial")
    assert "refused by trivial" in selftaught("why", refused, tmp_path).stdout


def test_why_says_when_nothing_or_too_much_has_that_id(tmp_path: Path, model: str) -> None:
    selftaught("generate", "--model", model, "-n", 2, "-o", tmp_path / "run", *QUICK)
    assert selftaught("why", "zzz", tmp_path).returncode == 1
    assert "nothing in" in selftaught("why", "zzz", tmp_path).stderr
    ids = {str(pair["id"])[0] for pair in pairs(tmp_path / "run")} | set("0123456789abcdef")
    answers = [selftaught("why", first, tmp_path) for first in ids]
    assert any("records begin with" in answer.stderr for answer in answers)


def test_a_finished_folder_is_not_touched_and_an_interrupted_one_goes_on(tmp_path: Path, model: str) -> None:
    out = tmp_path / "out"
    command = ("generate", "--model", model, "-n", 2, "-o", out, *QUICK)
    selftaught(*command)
    before = (out / "pairs.jsonl").read_bytes()
    again = selftaught(*command)
    assert again.returncode == 2
    assert "--resume" in again.stderr
    assert selftaught(*command, "--resume").returncode == 0
    assert (out / "pairs.jsonl").read_bytes() == before
    other = selftaught(*command, "--resume", "--set", "hindsight_attempts=0")
    assert other.returncode == 2
    assert "recipe was" in other.stderr


def test_a_terminated_run_ends_soon_with_its_own_exit_code_and_goes_on(tmp_path: Path, model: str) -> None:
    out = tmp_path / "out"
    command = ["generate", "--model", model, "--puzzles", "100000", "-o", str(out), *QUICK]
    with subprocess.Popen([SELFTAUGHT, *command], stderr=subprocess.PIPE, text=True) as running:
        try:
            while not (out / "progress.json").exists():
                assert running.poll() is None
                time.sleep(0.05)
            running.send_signal(signal.SIGTERM)
            _, said = running.communicate(timeout=20)
        finally:
            running.kill()
    assert running.returncode == 143, said
    assert "continue with --resume" in said
    waves = json.loads((out / "progress.json").read_text())["waves"]
    command[4] = str(16 * (waves + 2))
    assert selftaught(*command, "--resume").returncode == 0
    assert json.loads((out / "progress.json").read_text())["waves"] >= waves + 2


def test_a_model_that_runs_dry_is_an_exit_code_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "script.json").write_text("[]")
    run = selftaught(
        "generate", "--model", f"scripted:{tmp_path / 'script.json'}", "-n", 1, "-o", tmp_path / "o", *QUICK
    )
    assert run.returncode == 1
    assert "0 of 1 pairs" in run.stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--puzzles", "1", "--set", "hindsite=1"), "hindsight_attempts"),
        ((), "-n PAIRS or --puzzles"),
        (("-n", "1", "--seeds", "/nowhere"), "/nowhere"),
        (("-n", "1", "--model", "/nowhere"), "no causal model"),
        (("-n", "1", "--model", "scripted:/nowhere"), "not a script"),
        (("-n", "1", "--held-out", "/nowhere"), "/nowhere"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_starts(
    tmp_path: Path, model: str, arguments: tuple[str, ...], complaint: str
) -> None:
    run = selftaught("generate", "--model", model, "-o", tmp_path / "out", *QUICK, *arguments)
    assert run.returncode == 2, run.stderr
    assert complaint in " ".join(run.stderr.split())
    assert not (tmp_path / "out").exists()


def test_a_seed_that_is_held_out_is_refused(tmp_path: Path, model: str) -> None:
    (tmp_path / "held.jsonl").write_text(json.dumps({"sat": "def sat(x: int, a=3):\n    return x == a"}))
    (tmp_path / "seeds.jsonl").write_text(json.dumps({"sat": "def f(y: int, b=4):\n    return y == b"}))
    given = ("--seeds", tmp_path / "seeds.jsonl", "--held-out", tmp_path / "held.jsonl")
    run = selftaught("generate", "--model", model, "-n", 1, "-o", tmp_path / "out", *QUICK, *given)
    assert run.returncode == 2
    assert "held-out" in run.stderr


def test_of_p3_the_training_part_is_shown_and_the_test_part_held_out(tmp_path: Path, model: str) -> None:
    sources = {"Study": "x * 3 + 1 == 22", "Exam": "[x] * 3 == [7, 7, 7]", "Neither": "str(x) == '123'"}
    p3 = [{"name": f"{name}:0", "sat": f"def sat(x: int):\n    return {source}", "sol_bodies": []}
          for name, source in sources.items()]  # fmt: skip
    (tmp_path / "p3.json").write_text(json.dumps(p3))
    (tmp_path / "split.json").write_text(json.dumps({"train": ["Study"], "test": ["Exam"]}))
    given = ("--model", model, "--seeds", tmp_path / "p3.json", "--split", tmp_path / "split.json", "--puzzles", 4)
    run = selftaught("generate", *given, "-o", tmp_path / "out", *QUICK)
    assert run.returncode in (0, 1), run.stderr
    shown = [json.loads(line)["id"] for line in (tmp_path / "out/seeds.jsonl").read_text().splitlines()]
    assert shown == ["Study:0"] and "2 records are left out: it is not in the training part" in run.stderr
    without = selftaught("generate", *given[:4], *given[6:], "-o", tmp_path / "other", *QUICK)
    held_out = [json.loads((tmp_path / name / "config.json").read_text())["held_out"] for name in ("out", "other")]
    assert without.returncode in (0, 1) and held_out[0] != held_out[1]


def test_importing_the_generator_loads_no_heavy_library() -> None:
    modules = ", ".join(f"selftaught.generator.{name}" for name in ("generation", "cli", "provenance"))
    code = f"import sys, {modules}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    ).stdout
    assert not {"torch", "transformers", "datasets", "requests", "datasketch", "numpy"} & set(loaded.split())
