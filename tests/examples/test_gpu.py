"""The script for a GPU, on processors: with a server that stands for vLLM, and a model of a few thousand weights."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("matplotlib.pyplot")
pytest.importorskip("torch")

from selftaught.trainer import presets
from tests.trainer.small import save_base
from tests.trainer.stub import HELD_OUT
from tests.trainer.test_served_loop import SETTINGS
from tests.trainer.test_serving import FAKE

ROOT = Path(__file__).parents[2]
GPU = ROOT / "examples" / "gpu"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(GPU / "run.py"), *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)


def test_a_machine_without_a_gpu_is_told_what_it_lacks(tmp_path: Path) -> None:
    done = run("--model", "m", "-o", str(tmp_path / "out"))
    assert done.returncode == 2 and "a GPU that torch sees" in done.stderr and "pip install vllm" in done.stderr
    assert not (tmp_path / "out").exists()


def test_its_settings_are_those_of_a_loop() -> None:
    made = presets.from_file(GPU / "loop.toml", "preset", ["model.name=m"])
    assert made.puzzles_per_iteration == 20_000 and {one.group for one in made.problems()} == {
        "oneliners", "handwritten"
    }  # fmt: skip


def test_runs_and_their_control_are_compared_and_given_again_it_goes_on(tmp_path: Path) -> None:
    exams = []
    for name in ("one", "two"):
        exam = tmp_path / f"{name}.jsonl"
        exam.write_text("".join(json.dumps({"id": f"{n}", "sat": one.sat}) + "\n" for n, one in enumerate(HELD_OUT)))
        exams.append(str(exam))
    base = save_base(tmp_path / "base")
    config = tmp_path / "mine.toml"
    config.write_text(SETTINGS.format(base="", exam=",".join(exams), command=FAKE))
    given = ["--model", base, "-o", str(tmp_path / "out"), "--config", str(config), "--iterations", "1", "--anyhow",
             "--require", "restricted", "--set", "training.bf16=false"]  # fmt: skip
    done = run(*given)
    assert done.returncode == 0, done.stderr
    table = done.stdout[done.stdout.index("\nseed0 ") :]
    for exam in exams:
        assert f"seed0 {exam}" in table
    rows = [line.split() for line in table.splitlines() if " pairs  Pass@1" in line]
    assert [row[0] for row in rows] == ["base", "iteration", "unverified"] * 2
    assert "times the base" in table and "minutes: generate" in table and "written" in table
    assert done.stdout.count("$ python -m") == 2
    again = run(*given)
    assert again.returncode == 0 and again.stdout.endswith(table), again.stderr
    assert again.stdout.count("$ python -m") == 1, "the control is not made twice"
    assert not list(tmp_path.rglob("evaluation-calls.jsonl")), "answers of what is complete are not kept"
    command = [sys.executable, "-m", "selftaught.trainer.ablation", str(tmp_path / "out" / "seed0"), "--variant"]
    other = subprocess.run([*command, "verified"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert other.returncode == 2 and "name another folder" in other.stderr and "Traceback" not in other.stderr
