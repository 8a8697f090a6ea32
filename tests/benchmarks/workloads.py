"""The workloads: pairs of a puzzle's and a solution's source."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from selftaught.sandbox import corpus

T = TypeVar("T")
Pair = tuple[str, str]
ROOT = Path(__file__).resolve().parents[2]
GROUP = 16
"""Answers to one puzzle in the workloads `grpo`: a usual size of a group in GRPO."""


@dataclass(frozen=True, slots=True)
class Workload:
    """Pairs to verify.

    about: what they are made of, and what a sound verifier says of them. seconds: time limit of a task, for selftaught
    of each phase; CPU time where a verifier can measure that, else elapsed time.
    """

    pairs: list[Pair]
    about: str
    seconds: float = 5.0


def trivial(count: int) -> list[Pair]:
    """Distinct puzzles that cost next to nothing: this measures the verifier itself."""
    constants = ((i, 3 * i + 25) for i in range(count))
    return [
        (f"def sat(x: int, a={a}, b={b}): return x + a == b", f"def sol(a={a}, b={b}): return b - a")
        for a, b in constants
    ]


def bundled() -> list[Pair]:
    """The corpus with its reference solutions."""
    return [(record["sat"], record["sol"]) for record in corpus.records()]


def attempts(each: int) -> list[Pair]:
    """So many different solutions in a row to every puzzle of the corpus, as when a model tries to solve it."""
    return [(sat, f"{sol}\n# attempt {number}") for sat, sol in bundled() for number in range(each)]


def grpo(characters: int, puzzles: int) -> list[Pair]:
    """Groups of answers, each to a puzzle of so many characters (at least 300), every fourth answer wrong.

    No puzzle and no answer occurs twice.
    """
    return [
        (sat, f"def sol(): return {GROUP * number + answer}")
        for number, sat in enumerate(_padded(number, characters) for number in range(puzzles))
        for answer in range(GROUP)
    ]


def _padded(number: int, characters: int) -> str:
    """A trivial puzzle, then functions while they fit, the first of which it calls, then a list of integers.

    Constants are of this puzzle alone. At most 20 of the characters are blanks at the end.
    """
    source = (
        f"def sat(x: int, low={GROUP * number}):\n"
        f"    return low <= x < low + {GROUP} and x % 4 != 3 and step0(x) >= 0\n\n"
    )
    count = 0
    while len(source) + len(step := _step(count, 101 * number + 3 * count + 17)) <= characters:
        source, count = source + step, count + 1
    entries = ""
    while len(source) + len(f"TABLE = [{entries}{len(entries) + number}, ]\n") <= characters:
        entries += f"{len(entries) + number}, "
    if entries:
        source += f"TABLE = [{entries}]\n"
    return source.ljust(characters)


def _step(index: int, constant: int) -> str:
    return (
        f"def step{index}(x: int, m: int = {constant}) -> int:\n"
        f"    parts = [x * i % m for i in range({index % 4 + 2})]\n"
        f"    return max(parts) if x > {constant + 1} else x + {constant + 2}\n\n"
    )


def p3(path: Path) -> list[Pair]:
    """The reference solutions of P3's puzzles.json."""
    puzzles = json.loads(path.read_text(encoding="utf-8"))
    return [(puzzle["sat"], f"{puzzle['sol_header']}\n{body}") for puzzle in puzzles for body in puzzle["sol_bodies"]]


def lm(path: Path) -> list[Pair]:
    """Solutions that a language model wrote: gzipped JSON lines with the fields `sat` and `sol`."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [(record["sat"], record["sol"]) for record in map(json.loads, lines)]


FILES = {
    "p3": ("SELFTAUGHT_P3", Path("p3", "puzzles.json")),
    "lm": ("SELFTAUGHT_LM", Path("benchmarks", "lm_solutions.jsonl.gz")),
    "humaneval": ("SELFTAUGHT_HUMANEVAL", Path("benchmarks", "HumanEval.jsonl.gz")),
    "mbpp": ("SELFTAUGHT_MBPP", Path("benchmarks", "mbpp.jsonl.gz")),
}
"""Files that are no part of this project: the variable that names one or its folder, else its place in `shared`."""


def given(name: str) -> Path:
    """The file that this workload is made of. Raises FileNotFoundError with what to do about it."""
    variable, below = FILES[name]
    path = Path(os.environ.get(variable) or ROOT.parent / "shared" / below)
    if path.is_dir():
        path /= below.name
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}; ${variable} may name another")
    return path


def _grpo(characters: int, quick: bool) -> Workload:
    pairs = grpo(characters, 10 if quick else 150)
    return Workload(
        pairs,
        f"{GROUP} answers, each another constant, to each of {len(pairs) // GROUP} distinct puzzles of {characters} "
        "characters: a trivial check, functions of three lines, one of them called, and a list of integers; "
        f"{len(pairs) // 4} are wrong",
    )


_RIGHT = "all right"
WORKLOADS: dict[str, Callable[[int, bool], Workload]] = {
    "trivial": lambda tasks, quick: Workload(trivial(tasks), f"distinct puzzles x + a == b; {_RIGHT}"),
    "bundled": lambda tasks, quick: Workload(bundled(), f"the corpus with its reference solutions; {_RIGHT}"),
    "attempts": lambda tasks, quick: Workload(
        attempts(2 if quick else 30), f"{2 if quick else 30} solutions in a row to each puzzle of the corpus; {_RIGHT}"
    ),
    "grpo-300": lambda tasks, quick: _grpo(300, quick),
    "grpo-1400": lambda tasks, quick: _grpo(1400, quick),
    "grpo-5000": lambda tasks, quick: _grpo(5000, quick),
    "p3": lambda tasks, quick: Workload(
        sample(p3(given("p3")), 200 if quick else None), f"reference solutions of P3; {_RIGHT}"
    ),
    "lm": lambda tasks, quick: Workload(
        sample(lm(given("lm")), 200 if quick else None),
        "solutions that a language model wrote for P3 and the authors' judge accepted; of all 3,658 some 7 are refused "
        "by design (answers over the limit, memory, the order of a set), and 29 are duplicates of others, which "
        "selftaught verifies once",
        seconds=2.0,
    ),
}
"""How each is made, given how many trivial tasks are wanted and whether small samples will do.

They raise FileNotFoundError where the file they need is not given."""


def sample(pairs: list[T], most: int | None) -> list[T]:
    """At most that many of them, evenly spaced over the whole."""
    if most is None or len(pairs) <= most:
        return pairs
    return [pairs[i * len(pairs) // most] for i in range(most)]
