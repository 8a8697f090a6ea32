"""A program does what it does under `python main.py`: the same output, error output and exit code."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from selftaught.sandbox import Limits, Program, Verifier

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
        env={"HOME": str(folder), "LANG": "C.UTF-8", "PATH": "/usr/bin", "TZ": "UTC0", "PYTHONHASHSEED": "0"},
        capture_output=True,
        timeout=30,
        check=False,
    )
    return done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"), done.returncode


def comparable(text: str, folder: str) -> str:
    """Return an output without addresses, and with the same folders everywhere: an image has its own library."""
    text = re.sub(r'File "[^"\n]*/(lib/python3\.\d+/)', r'File "/\1', text.replace(folder, "/tmp"))
    return re.sub("0x[0-9a-f]{6,}", "0x...", text)


def check(verifier: Verifier, code: str, stdin: str, folder: Path, has_stderr: bool = True) -> None:
    out, err, status = by_python(code, stdin, folder)
    here = verifier.run(Program("p", "import os\nprint(os.getcwd(), end='')")).stdout
    found = verifier.run(Program("p", code, stdin, Limits(wall_seconds=20.0)))
    assert comparable(found.stdout, here) == comparable(out, str(folder))
    assert not has_stderr or comparable(found.stderr, here) == comparable(err, str(folder))
    assert found.return_code == status, found


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program["name"])
def test_a_program_does_what_it_does_under_python(verifier: Verifier, program: dict[str, Any], tmp_path: Path) -> None:
    check(verifier, program["code"], program.get("stdin", ""), tmp_path, program.get("stderr", True))


@pytest.mark.parametrize("code", STATUSES)
def test_an_exit_status_is_what_python_makes_of_it(verifier: Verifier, code: str, tmp_path: Path) -> None:
    assert by_python(f"raise SystemExit({code})", "", tmp_path)[2] == STATUSES[code]
    check(verifier, f"raise SystemExit({code})", "", tmp_path)
    check(verifier, f"import sys\nclass Stop(SystemExit): pass\nprint(1)\nraise Stop({code})", "", tmp_path)
