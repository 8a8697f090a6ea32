"""What is judged: pairs of a puzzle's and a solution's source."""

from __future__ import annotations

import json
import os
from pathlib import Path

from sandbox import corpus

Pair = tuple[str, str]
ROOT = Path(__file__).resolve().parents[2]


def trivial(count: int) -> list[Pair]:
    """Distinct puzzles that cost next to nothing: what is measured is the judge."""
    constants = ((i, 3 * i + 25) for i in range(count))
    return [
        (f"def sat(x: int, a={a}, b={b}): return x + a == b", f"def sol(a={a}, b={b}): return b - a")
        for a, b in constants
    ]


def bundled() -> list[Pair]:
    """The corpus with its reference solutions."""
    return [(record["sat"], record["sol"]) for record in corpus.records()]


def attempts(each: int) -> list[Pair]:
    """So many different solutions in a row to every puzzle of the corpus, as when a model has tried to solve it."""
    return [(sat, f"{sol}\n# attempt {number}") for sat, sol in bundled() for number in range(each)]


def p3(path: Path) -> list[Pair]:
    """The reference solutions of P3's puzzles.json."""
    puzzles = json.loads(path.read_text(encoding="utf-8"))
    return [(puzzle["sat"], f"{puzzle['sol_header']}\n{body}") for puzzle in puzzles for body in puzzle["sol_bodies"]]


def p3_file() -> Path | None:
    """Where P3 lies by default: $SELFTAUGHT_P3, or beside the checkout; None if it is in neither place."""
    path = Path(os.environ.get("SELFTAUGHT_P3") or ROOT.parent / "shared" / "p3" / "puzzles.json")
    return path if path.is_file() else None


def sample(pairs: list[Pair], most: int | None) -> list[Pair]:
    """At most that many of the pairs, evenly spaced over the whole."""
    if most is None or len(pairs) <= most:
        return pairs
    return [pairs[i * len(pairs) // most] for i in range(most)]
