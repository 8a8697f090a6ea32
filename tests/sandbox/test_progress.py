"""Progress on a terminal: how much of what, at which pace, and never across results."""

from __future__ import annotations

import gzip
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from selftaught.sandbox.progress import pace

TASK = {"sat": "def f(x: int): return x == 1", "sol": "def g(): return 1"}
CLEARED = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


def on_terminal(arguments: Sequence[str], *, results_too: bool = False, stdin: bytes = b"") -> tuple[str, str]:
    """Run `selftaught verify` with a terminal as standard error.

    Args:
        arguments: The command's arguments.
        results_too: Standard output is that terminal too.
        stdin: Standard input.

    Returns:
        What the terminal was sent, and standard output.
    """
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "tests.sandbox.fake_worker", "verify", *arguments]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    out = theirs if results_too else subprocess.PIPE
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out, stderr=theirs, env=environment) as process:
        os.close(theirs)
        assert process.stdin
        process.stdin.write(stdin)
        process.stdin.close()
        found = b""
        try:
            while part := os.read(ours, 1 << 16):
                found += part
        except OSError:  # the other end is closed
            pass
        written = process.stdout.read() if process.stdout else b""
    os.close(ours)
    return found.decode(), written.decode()


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps({"id": n, **TASK, "sol": f"def g(n={n}): return 1"}) + "\n" for n in range(50)))
    return path


def drawn(terminal: str) -> str:
    return CLEARED.sub("", terminal)


@pytest.mark.parametrize("kind", ["lines", "array", "P3", "Parquet", "samples"])
def test_a_bar_knows_how_many_there_are(tmp_path: Path, tasks: Path, kind: str) -> None:
    path, more = tmp_path / "in", []
    rows = [json.loads(line) for line in tasks.read_text().splitlines()]
    if kind == "lines":
        path.write_text("\n" + tasks.read_text().rstrip())
    elif kind == "array":
        path.write_text(json.dumps(rows))
    elif kind == "P3":
        puzzle = {"name": "A:0", "sat": TASK["sat"], "sol_header": "def g():"}
        path.write_text(json.dumps([{**puzzle, "sol_bodies": [f"    return {n}" for n in range(50)]}]))
    elif kind == "Parquet":
        pyarrow = pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist([{**row, "id": str(row["id"])} for row in rows]), path)
    else:
        problem = {"task_id": "a", "prompt": "", "entry_point": "f", "test": "def check(f): assert f() == 1"}
        path.write_text(json.dumps(problem))
        samples = tmp_path / "samples"
        samples.write_text(json.dumps({"task_id": "a", "solution": ["def f(): return 1"] * 50}))
        more = ["--samples", str(samples)]
    terminal, _ = on_terminal([str(path), *more])
    assert "/50 tasks" in drawn(terminal)
    assert "left" in drawn(terminal)


@pytest.mark.parametrize("source", ["-", "gzip"])
def test_what_has_no_known_end_has_a_count_and_no_bar(tmp_path: Path, tasks: Path, source: str) -> None:
    packed = tmp_path / "in.gz"
    packed.write_bytes(gzip.compress(tasks.read_bytes()))
    terminal, _ = on_terminal([source if source == "-" else str(packed)], stdin=tasks.read_bytes())
    assert re.search(r"\d tasks  [\d.,]+/s", drawn(terminal))
    assert "?" not in drawn(terminal)
    assert "━" not in drawn(terminal).partition("tasks in")[0]


def test_no_bar_is_drawn_across_results_on_the_same_terminal(tasks: Path) -> None:
    terminal, _ = on_terminal([str(tasks)], results_too=True)
    results, _, summary = terminal.rpartition("}\r\n")
    assert [json.loads(line)["id"] for line in (results + "}").splitlines()] == [*map(str, range(50))]
    assert "50 tasks in" in drawn(summary)


def test_the_bar_is_gone_at_the_end_and_the_summary_tells_seconds_and_rate(tasks: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    terminal, _ = on_terminal([str(tasks), "-o", str(out)])
    last = drawn(terminal.rpartition("\x1b[2K")[2])
    assert "━━ " not in last.partition("tasks in")[0]
    assert re.search(r"50 tasks in [\d.]+ s \([\d.,]+/s\), 1 s CPU a phase", last)


def test_the_pace_of_a_resumed_run_is_that_of_what_it_judged(tasks: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    on_terminal([str(tasks), "-o", str(out)])
    out.write_bytes(b"".join(out.read_bytes().splitlines(keepends=True)[:30]))
    terminal, _ = on_terminal([str(tasks), "-o", str(out), "--resume"])
    assert "50 tasks, 20 of them now in" in drawn(terminal)


def test_quiet_is_quiet(tasks: Path) -> None:
    assert on_terminal([str(tasks), "--quiet"])[0] == ""


@pytest.mark.parametrize(
    ("number", "seconds", "words"),
    [
        (100, 2.5, "in 2.5 s (40/s)"),
        (12345, 1.0, "in 1.0 s (12,345/s)"),
        (3, 90.0, "in 1 min 30 s (0.033/s)"),
        (0, 0.0, "in 0.0 s (0/s)"),
    ],
)
def test_a_pace_is_read_as_words(number: int, seconds: float, words: str) -> None:
    assert pace(number, seconds) == words
