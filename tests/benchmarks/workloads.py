"""What is judged: pairs of a puzzle's and a solution's source."""

from __future__ import annotations

import json
from pathlib import Path

from sandbox import corpus

Pair = tuple[str, str]


def trivial(count: int) -> list[Pair]:
    """Distinct puzzles that cost next to nothing: what is measured is the judge."""
    return [
        (
            f"def sat(x: int, a={i}, b={3 * i + 25}): return x + a == b",
            f"def sol(a={i}, b={3 * i + 25}): return b - a",
        )
        for i in range(count)
    ]


def bundled() -> list[Pair]:
    """The corpus with its reference solutions."""
    return [(record["sat"], record["sol"]) for record in corpus.records()]


def p3(path: Path) -> list[Pair]:
    """The reference solutions of P3's puzzles.json."""
    puzzles = json.loads(path.read_text())
    return [(puzzle["sat"], f"{puzzle['sol_header']}\n{body}") for puzzle in puzzles for body in puzzle["sol_bodies"]]
