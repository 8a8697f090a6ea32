"""The corpus of programs: each file ``AREA.toml`` has one table a program, named by what the program is about.

    [sum-of-two]
    stdin = "3 4\n"            # nothing, if left out
    code = '''
    a, b = map(int, input().split())
    print(a + b)
    '''

What a program does under CPython is not written down: it is run (`under_cpython`). Where the jail does otherwise on
purpose, a table says why, and what it does instead:

    [connection.differs]
    why = "Nothing that runs reaches a network."
    levels = ["full"]          # all, if left out
    ending = "forbidden"       # or the exit code, or minus the signal
    stdout = "connecting\n"    # nothing, if left out; so `stderr`
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from selftaught.sandbox import Ending, Limits, Program, Verifier
from selftaught.sandbox.backends import LEVELS

LIMITS = Limits(cpu_seconds=20.0, wall_seconds=60.0, memory_bytes=1 << 30, output_bytes=4 << 20)
ENVIRONMENT = {"LANG": "C.UTF-8", "PATH": "/usr/local/bin:/usr/bin:/bin"}
FOLDER, LIBRARY, ADDRESS = "FOLDER/", "LIBRARY/", "ADDRESS"
"""What stands for a program's own folder, the library's, and an address in memory, where outcomes are compared."""
ALL_LEVELS = [level for levels in LEVELS.values() for level in levels]


@dataclass(frozen=True)
class Outcome:
    """What is compared.

    Attributes:
        ending: The exit code, or minus the signal that the program caused, or the name of another `Ending`.
        stdout: What was printed, without what is other in each run: the program's folder, addresses, elapsed time.
        stderr: The same of standard error.
    """

    ending: int | str
    stdout: str = ""
    stderr: str = ""

    @property
    def is_verbatim(self) -> bool:
        """Return True if standard output is as it was printed."""
        return not any(mark in self.stdout for mark in (FOLDER, LIBRARY, ADDRESS, "\ufffd"))

    def as_told_by(self, other: Outcome) -> Outcome:
        """Return the same with no more of standard error than its last line, if the other tells no more of it."""
        if "\n" in other.stderr.strip("\n"):
            return self
        last = self.stderr.rstrip("\n").rpartition("\n")[2]
        return replace(self, stderr=last + "\n" * other.stderr.endswith("\n"))

    def __str__(self) -> str:
        return f"ending: {self.ending}\n--- standard output\n{self.stdout}\n--- standard error\n{self.stderr}"


@dataclass(frozen=True)
class Sample:
    """A program of the corpus.

    Attributes:
        name: ``AREA/NAME``.
        code: Its source.
        stdin: What it reads.
        why: Why it does otherwise in the jail; empty if it does not.
        instead: By level, what it does in the jail, if that differs on purpose; its stderr may be the last line alone.
    """

    name: str
    code: str
    stdin: str
    why: str
    instead: dict[str, Outcome]


def samples() -> list[Sample]:
    """Return all programs, by area and in the order of the files."""
    return [
        _sample(f"{path.stem}/{name}", **table)
        for path in sorted(Path(__file__).parent.glob("*.toml"))
        for name, table in tomllib.loads(path.read_text()).items()
    ]


def _sample(name: str, code: str, stdin: str = "", differs: dict[str, Any] | None = None) -> Sample:
    if differs is None:
        return Sample(name, code, stdin, "", {})
    given = dict(differs)
    why, levels = given.pop("why"), given.pop("levels", ALL_LEVELS)
    return Sample(name, code, stdin, why, dict.fromkeys(levels, Outcome(**given)))


def under_cpython(chosen: list[Sample], folder: Path) -> dict[str, Outcome]:
    """Run each as ``python main.py < input``, in a folder of its own that holds nothing else."""

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
                env={**ENVIRONMENT, "HOME": str(place)},
                timeout=120,
                check=False,
            )
        texts = (output.decode("utf-8", "replace") for output in (done.stdout, done.stderr))
        library = os.path.dirname(os.__file__)
        return Outcome(done.returncode, *(_comparable(text, str(place), library) for text in texts))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip([sample.name for sample in chosen], pool.map(run, chosen), strict=True))


def in_the_jail(chosen: list[Sample], verifier: Verifier) -> dict[str, Outcome]:
    """Run each with this verifier, which has one worker: so all have the same folder."""
    where = verifier.run(Program("", "import os\nprint(os.getcwd(), os.path.dirname(os.__file__))")).stdout
    folder, library = where.split()

    def run(sample: Sample) -> Outcome:
        done = verifier.run(Program(sample.name, sample.code, sample.stdin, LIMITS))
        by_itself = done.ending is Ending.EXITED and done.return_code is not None
        ending = done.return_code if by_itself else done.ending.value
        return Outcome(ending, *(_comparable(text, folder, library) for text in (done.stdout, done.stderr)))

    with ThreadPoolExecutor(4) as pool:
        return dict(zip([sample.name for sample in chosen], pool.map(run, chosen), strict=True))


def _comparable(text: str, folder: str, library: str) -> str:
    text = text.replace(f"{folder}/", FOLDER).replace(f"{library}/", LIBRARY)
    text = re.sub(r"\b0x[0-9a-f]{6,}", ADDRESS, text)
    return re.sub(r"\bin \d+\.\d{3}s$", "in SECONDS", text, flags=re.M)  # as unittest says
