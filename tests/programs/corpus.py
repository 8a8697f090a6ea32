"""The corpus of programs: each file ``AREA.toml`` has one table a program, named by what the program is about.

    [sum-of-two]
    stdin = "3 4\n"            # nothing, if left out
    code = '''
    a, b = map(int, input().split())
    print(a + b)
    '''

What a program does under CPython is not written down: it is run (`under_cpython`). Where the jail does otherwise on
purpose, the program says why, and how it ends instead:

    differs = "Nothing that runs leads to another machine."
    ending = "forbidden"       # or the exit code
    stdout = "connecting\n"    # nothing, if left out
    stderr = "…"               # its last line
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from selftaught.sandbox import Ending, Limits, Program, Run, Verifier

FOLDER = Path(__file__).parent
LIMITS = Limits(cpu_seconds=20.0, wall_seconds=60.0, output_bytes=4 << 20)
ENVIRONMENT = {"LANG": "C.UTF-8", "PATH": "/usr/local/bin:/usr/bin:/bin"}
WORKING_DIRECTORY = "/tmp"
"""Of a program in the jail."""


@dataclass(frozen=True)
class Outcome:
    """What is compared: the exit code, or minus the signal, or the name of an `Ending` that is none of the program's
    own; and what was printed, without addresses in memory.
    """

    ending: int | str
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Sample:
    """A program of the corpus; `instead` is what it does in the jail, if that differs on purpose."""

    name: str
    code: str
    stdin: str
    differs: str
    instead: Outcome | None


def samples() -> list[Sample]:
    """Return all programs, by area and in the order of the files."""
    found = []
    for path in sorted(FOLDER.glob("*.toml")):
        for name, table in tomllib.loads(path.read_text()).items():
            differs = table.get("differs", "")
            instead = Outcome(table["ending"], table.get("stdout", ""), table.get("stderr", "")) if differs else None
            assert set(table) <= {"code", "stdin", *(("differs", "ending", "stdout", "stderr") if differs else ())}, name
            found.append(Sample(f"{path.stem}/{name}", table["code"], table.get("stdin", ""), differs, instead))
    return found


def under_cpython(chosen: list[Sample], folder: Path) -> dict[str, Outcome]:
    """Run each as ``python main.py < input`` in a folder of its own, which holds nothing else."""

    def run(sample: Sample) -> Outcome:
        place, stdin = folder / sample.name, folder / f"{sample.name}.in"
        place.mkdir(parents=True)
        (place / "main.py").write_bytes(sample.code.encode())
        stdin.write_bytes(sample.stdin.encode())
        with stdin.open("rb") as file:
            done = subprocess.run(
                [sys.executable, "main.py"],
                stdin=file,
                capture_output=True,
                cwd=place,
                env=ENVIRONMENT,
                timeout=60,
                check=False,
            )
        stdout, stderr = (
            _comparable(text.decode("utf-8", "replace"), str(place)) for text in (done.stdout, done.stderr)
        )
        return Outcome(done.returncode, stdout, stderr)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip([sample.name for sample in chosen], pool.map(run, chosen), strict=True))


def in_the_jail(chosen: list[Sample], verifier: Verifier) -> dict[str, Outcome]:
    """Run each with this verifier, as many at once as it has workers."""

    def run(sample: Sample) -> Outcome:
        return _outcome(verifier.run(Program(sample.name, sample.code, sample.stdin, LIMITS)))

    with ThreadPoolExecutor(8) as pool:
        return dict(zip([sample.name for sample in chosen], pool.map(run, chosen), strict=True))


def _outcome(run: Run) -> Outcome:
    ending: int | str = run.ending.value
    if run.ending is Ending.EXITED and run.return_code is not None:
        ending = run.return_code
    return Outcome(ending, *(_comparable(text, WORKING_DIRECTORY) for text in (run.stdout, run.stderr)))


def _comparable(text: str, folder: str) -> str:
    return re.sub(r"\b0x[0-9a-f]{6,}", "0x…", text.replace(folder, "FOLDER"))
