"""The command: formats, exit codes, resuming, and what is left after it was killed."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from selftaught.sandbox import batch, records
from selftaught.sandbox.corpus import path as corpus_path
from tests.conftest import control_groups

LEVEL = ("--require", "restricted")


def run(
    *arguments: str, stdin: bytes = b"", module: str = "selftaught.sandbox.cli"
) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, timeout=120, check=False)


def lines(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.splitlines()]


def record(number: int, **fields: object) -> dict[str, object]:
    return {
        "id": str(number),
        "sat": f"def f(x: int): return x == {number}",
        "sol": f"def g(): return {number}",
        **fields,
    }


@pytest.fixture
def slow_input(tmp_path: Path) -> Path:
    """Long enough to be interrupted: 200 tasks of some 30 ms."""
    path = tmp_path / "slow.jsonl"
    sol = "def sol(number={}):\n    for i in range(1_000_000): pass\n    return 1"  # no two are the same
    path.write_text(
        "".join(
            json.dumps({"id": str(i), "sat": "def sat(x): return x == 1", "sol": sol.format(i)}) + "\n"
            for i in range(200)
        )
    )
    return path


def wait_for_lines(path: Path, count: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while not (path.exists() and path.read_bytes().count(b"\n") >= count):
        assert process.poll() is None, "it has ended too early to be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_bundled_corpus_is_accepted_and_passed_through() -> None:
    done = run("verify", "corpus:", *LEVEL)
    assert done.returncode == 0, done.stderr
    verdicts = lines(done.stdout)
    originals = lines(corpus_path().read_bytes())
    assert [
        {key: verdict[key] for key in original} for verdict, original in zip(verdicts, originals, strict=True)
    ] == originals
    assert {verdict["status"] for verdict in verdicts} == {"accepted"}
    expected = "status phase message limit usage answer_sha256 level retryable verifier".split()
    assert all(name in verdict for name in expected for verdict in verdicts)


def test_malformed_records_are_invalid_with_their_line_and_the_rest_is_judged(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    good = json.dumps(record(1, note=[1, None], big=10**30)).encode()
    path.write_bytes(
        b"\n".join([good, b"{", b"[1]", b'{"id": "x", "sat": 5, "sol": ""}', b"\xff\xfe", b"", good]) + b"\n"
    )
    done = run("verify", str(path), *LEVEL)
    verdicts = lines(done.stdout)
    assert done.returncode == 1
    assert [verdict["status"] for verdict in verdicts] == ["accepted"] + ["invalid"] * 4 + ["accepted"]
    assert [f":{number}:" in verdicts[number - 1]["message"] for number in (2, 3, 4, 5)] == [True] * 4
    assert verdicts[0]["big"] == 10**30
    assert verdicts[0]["note"] == [1, None]


def test_gzip_and_standard_input_are_read() -> None:
    data = gzip.compress(json.dumps(record(7)).encode())
    done = run("verify", "-", *LEVEL, stdin=data)
    assert [verdict["status"] for verdict in lines(done.stdout)] == ["accepted"], done.stderr


def test_p3_puzzles_become_a_task_for_each_reference(tmp_path: Path) -> None:
    puzzle = {
        "name": "A:0",
        "sat": "def sat(x: int): return x > 1",
        "sol_header": "def sol():",
        "sol_bodies": ["    return 2"],
    }
    several = {**puzzle, "name": "B:0", "sol_bodies": ["    return 2", "    return 1"]}
    path = tmp_path / "puzzles.json"
    path.write_text(json.dumps([puzzle, several, {"name": "C:0"}]))
    done = run("verify", str(path), *LEVEL)
    found = [(verdict["id"], verdict["status"]) for verdict in lines(done.stdout)]
    assert found[:3] == [("A:0", "accepted"), ("B:0#0", "accepted"), ("B:0#1", "rejected")]
    assert found[3][1] == "invalid"


def test_parquet_is_read(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
    from pyarrow import parquet

    path = tmp_path / "in.parquet"
    parquet.write_table(pyarrow.Table.from_pylist([record(1), record(2)]), path)
    assert [found.task.id for found in records.read(str(path)) if found.task] == ["1", "2"]


def test_an_existing_output_is_not_overwritten_without_force(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    out.write_text("precious\n")
    done = run("verify", "corpus:", "-o", str(out), *LEVEL)
    assert done.returncode == 2
    assert b"--resume" in done.stderr
    assert out.read_text() == "precious\n"


def test_a_missing_input_and_a_bad_option_exit_with_2(tmp_path: Path) -> None:
    assert run("verify", str(tmp_path / "none.jsonl"), *LEVEL).returncode == 2
    assert run("verify", "corpus:", "--memory", "much").returncode == 2
    assert run("verify", "corpus:", "--cpu-limit", "-1").returncode == 2
    assert run("verify", "corpus:", "--resume", *LEVEL).returncode == 2


def test_an_input_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps(record(1)) + "\n")
    before = path.read_bytes()
    assert run("verify", str(path), "-o", str(path), "--force", *LEVEL).returncode == 2
    assert path.read_bytes() == before


def test_a_missing_input_does_not_change_the_old_output(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    out.write_text("precious\n")
    assert run("verify", "corpus:", str(tmp_path / "none"), "-o", str(out), "--force", *LEVEL).returncode == 2
    assert out.read_text() == "precious\n"


def test_resuming_a_finished_output_still_reports_invalid_records(tmp_path: Path) -> None:
    path, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    path.write_text(json.dumps(record(1)) + "\n{\n")
    arguments = ("verify", str(path), "-o", str(out), *LEVEL)
    assert run(*arguments).returncode == 1
    before = out.read_bytes()
    assert run(*arguments, "--resume").returncode == 1
    assert out.read_bytes() == before


def test_without_a_terminal_the_summary_must_be_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps(record(1)) + "\n")
    assert run("verify", str(path), *LEVEL).stderr == b""
    assert b"accepted" in run("verify", str(path), "--summary", *LEVEL).stderr


def kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL, and nothing of it may be left: no process, no control group."""
    workers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    psutil.wait_procs(workers, timeout=10)
    assert not any(worker.is_running() for worker in workers)
    deadline = time.monotonic() + 5
    while left := control_groups(process.pid):
        assert time.monotonic() < deadline, left
        time.sleep(0.02)


def test_a_run_killed_again_and_again_is_resumed_with_every_task_judged_once(tmp_path: Path, slow_input: Path) -> None:
    with open(slow_input, "a") as file:
        file.write("not a record\n")
    out = tmp_path / "out.jsonl"
    arguments = ["verify", str(slow_input), "-o", str(out), *LEVEL, "--resume"]
    kept: list[bytes] = []
    for kills in range(1, 4):
        command = [sys.executable, "-m", "selftaught.sandbox.cli", *arguments]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
            wait_for_lines(out, len(kept) + 5, process)
            kill(process)
        whole = out.read_bytes().splitlines()
        assert whole[: len(kept)] == kept, f"lines from before kill {kills} were lost or judged again"
        kept = whole
        with open(out, "ab") as file:
            file.write(b'{"id": "torn')
    done = run(*arguments)
    assert done.returncode == 1, done.stderr  # one record is invalid
    assert out.read_bytes().splitlines()[: len(kept)] == kept
    verdicts = lines(out.read_bytes())
    assert [verdict["id"] for verdict in verdicts] == [*map(str, range(200)), f"{slow_input}:201"]
    assert [verdict["status"] for verdict in verdicts] == ["accepted"] * 200 + ["invalid"]


def test_workers_killed_in_mid_run_lose_no_task_and_judge_none_twice(tmp_path: Path, slow_input: Path) -> None:
    out = tmp_path / "out.jsonl"
    command = [sys.executable, "-m", "selftaught.sandbox.cli", "verify", str(slow_input), "-o", str(out), *LEVEL]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        for lines_so_far in (5, 60):
            wait_for_lines(out, lines_so_far, process)
            for worker in psutil.Process(process.pid).children():
                worker.kill()
        assert process.wait(120) == 0
    assert [verdict["id"] for verdict in lines(out.read_bytes())] == [*map(str, range(200))]
    assert {verdict["status"] for verdict in lines(out.read_bytes())} == {"accepted"}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_leaves_whole_lines_and_no_process(
    tmp_path: Path, slow_input: Path, number: int, code: int
) -> None:
    out = tmp_path / "out.jsonl"
    command = [sys.executable, "-m", "selftaught.sandbox.cli", "verify", str(slow_input), "-o", str(out), *LEVEL]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    wait_for_lines(out, 5, process)
    workers = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, number)
    process.communicate(timeout=20)
    assert process.returncode == code
    psutil.wait_procs(workers, timeout=10)
    assert not any(worker.is_running() for worker in workers)
    assert out.read_bytes().endswith(b"\n")
    assert len(lines(out.read_bytes())) < 200


KINDS: list[dict[str, Any]] = [
    {"id": 1, "sol": "def f(x): return x", "entry_point": "f", "tests": "def test_f(): assert f(1) == 1", "note": "x"},
    {"id": 2, "sol": "def g(n=6): return n\nf = g", "entry_point": "f", "cases": [[[1], {}, 1], [[2], {}, 3]]},
    {"id": 3, "sol": "print(1)", "cases": [["", "1"]], "sat": None},
    {"id": 4, "sol": "print(1)", "tests": "assert 1"},
    {"id": 5, "sol": "def f(): ...", "entry_point": "f", "tests": "def test_f(): f()", "isolation": "shared"},
    record(6),
]


def test_a_file_may_mix_tasks_of_every_kind_and_a_required_isolation_is_required(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in KINDS))
    done = run("verify", str(path), "--require-isolation", "process", module="tests.sandbox.fake_worker")
    assert done.returncode == 1, done.stderr
    found = lines(done.stdout)
    assert [each["status"] for each in found] == "accepted rejected accepted invalid invalid accepted".split()
    assert [each.get("passed") for each in found] == [1, 1, 1, None, 0, None]
    assert (found[0]["note"], found[1]["decided_by"]) == ("x", 1)
    assert f"{path}:4: the field 'sat' is missing" in found[3]["message"]
    assert "require_isolation" in found[4]["message"]


def test_resuming_with_another_input_is_refused(tmp_path: Path) -> None:
    first, second, out = tmp_path / "1.jsonl", tmp_path / "2.jsonl", tmp_path / "out.jsonl"
    first.write_text(json.dumps(record(1)) + "\n")
    second.write_text(json.dumps(record(2)) + "\n")
    assert run("verify", str(first), "-o", str(out), *LEVEL).returncode == 0
    before = out.read_bytes()
    done = run("verify", str(second), "-o", str(out), "--resume", *LEVEL)
    assert done.returncode == 2
    assert b"it is another input" in done.stderr
    assert out.read_bytes() == before


def test_doctor_says_what_was_seen() -> None:
    done = run("doctor", "--json", "--require", "restricted")
    found = json.loads(done.stdout)
    assert done.returncode == (0 if found["level"] else 1)
    for level in found["levels"].values():
        assert level["mechanisms"] if level["reached"] else level["remedy"]


def test_integers_beyond_64_bits_are_read_exactly() -> None:
    assert records.parse(b'{"a": 123456789012345678901234567890}') == {"a": 123456789012345678901234567890}


def test_counting_needs_plain_files(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text("{}\n{}\n")
    assert batch.count([str(path)]) == 2
    assert batch.count(["-"]) is None
