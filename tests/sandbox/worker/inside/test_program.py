"""A program does what it does under `python main.py`: the same output, error output and exit code."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from selftaught.sandbox import Program, Verifier

PROGRAMS = tomllib.loads((Path(__file__).parent / "programs.toml").read_text("utf-8"))["program"]
STATUSES = {
    "None": 0, "0": 0, "3": 3, "-1": 255, "256": 0, "263": 7, "True": 1, "False": 0, "'text'": 1, "1.0": 1,
    "10 ** 30": 255, "-10 ** 30": 255, "[1, 2]": 1, "''": 1,
}  # fmt: skip


def by_python(code: str, stdin: str, folder: Path) -> tuple[str, str, int]:
    """Return what CPython makes of a program: both outputs and the exit code."""
    (folder / "main.py").write_bytes(code.encode("utf-8", "surrogatepass"))
    done = subprocess.run(
        [sys.executable, "-s", "main.py"],
        cwd=folder,
        input=stdin.encode(),
        env={"HOME": "/tmp", "LANG": "C.UTF-8", "PATH": "/usr/bin", "TZ": "UTC0", "PYTHONHASHSEED": "0"},
        capture_output=True,
        timeout=30,
        check=False,
    )
    out, err = (part.decode("utf-8", "replace").replace(str(folder), "/tmp") for part in (done.stdout, done.stderr))
    return out, err, done.returncode


def check(verifier: Verifier, code: str, stdin: str, folder: Path) -> None:
    out, err, status = by_python(code, stdin, folder)
    found = verifier.run(Program("p", code, stdin))
    assert found.stdout == out
    assert found.stderr == err
    assert found.return_code == status, found


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program["name"])
def test_a_program_does_what_it_does_under_python(verifier: Verifier, program: dict[str, str], tmp_path: Path) -> None:
    check(verifier, program["code"], program.get("stdin", ""), tmp_path)


@pytest.mark.parametrize("code", STATUSES)
def test_an_exit_status_is_what_python_makes_of_it(verifier: Verifier, code: str, tmp_path: Path) -> None:
    assert by_python(f"raise SystemExit({code})", "", tmp_path)[2] == STATUSES[code]
    check(verifier, f"raise SystemExit({code})", "", tmp_path)
    check(verifier, f"import sys\nclass Stop(SystemExit): pass\nprint(1)\nraise Stop({code})", "", tmp_path)
