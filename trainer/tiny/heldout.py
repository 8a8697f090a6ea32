"""Writes the bundled machine-written held-out set: `python -m selftaught.trainer.tiny.heldout`. It was run once; the
file is kept.

Half of the puzzles have templates that the corpus contains, with constants that it does not: one operation, two, and
several conditions. The other half are pairs of operations that the corpus does not contain.
`selftaught.trainer.tiny.guard` keeps both out of the corpus and of the loop.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from selftaught.generator import puzzle
from selftaught.sandbox import Verifier
from selftaught.trainer import heldout, problems
from selftaught.trainer.evaluation import Problem
from selftaught.trainer.tiny import corpus
from selftaught.trainer.tiny.guard import Form, Guard
from selftaught.trainer.tiny.operations import ANNOTATIONS, OPERATIONS, Operation

SEED = 20_220_729
HALF = 160
_SINGLE, _DOUBLE = 40, 92
_PAIRS_HELD_OUT = 0.25
_PER_TEMPLATE = {0: 4, 1: 4, 2: 2}
"""Maximum number of puzzles of one template, by the number of operations (0: several conditions)."""


def pairs() -> list[list[Operation]]:
    """Return every composition of two different operations whose types fit."""
    return [[a, b] for a in OPERATIONS for b in OPERATIONS if a.gives == b.takes and a != b]


def _compositions(rng: random.Random) -> Iterator[dict[str, Any]]:
    """Yield one puzzle of each held-out pair, then another of each, without end."""
    chosen = pairs()
    rng.shuffle(chosen)
    chosen = chosen[: round(len(chosen) * _PAIRS_HELD_OUT)]
    while True:
        for operations in chosen:
            for _ in range(20):
                made = corpus.build(rng, operations)
                if made and corpus.answers(made, corpus.right(made)) and not corpus.trivial(made):
                    yield _record(made, "compositions", 2)
                    break


def _constants(rng: random.Random, guard: Guard, hard: Callable[[dict[str, Any]], bool]) -> Iterator[dict[str, Any]]:
    """Yield puzzles like those of the corpus, with constants long enough to be held out."""
    for family, number in ((1, _SINGLE), (2, _DOUBLE), (0, HALF - _SINGLE - _DOUBLE)):
        seen: Counter[str] = Counter()
        while seen.total() < number:
            made = corpus.puzzle(rng, float(family == 1), float(family == 2))
            record = _record(made, "constants", family)
            form = Form(record["sat"])
            long = len(form.constants) >= min(2, len(made.parameters))
            if long and guard.allows(record["sat"]) and seen[form.template] < _PER_TEMPLATE[family] and hard(record):
                seen[form.template] += 1
                yield record


def _record(made: corpus.Puzzle, half: str, operations: int) -> dict[str, Any]:
    document = corpus.document(random.Random(0), made, corpus.Noise())
    return {
        "half": half,
        "operations": operations,
        "answer_type": ANNOTATIONS[made.answer_type],
        "sat": document.sat,
        "sol": document.right,
    }


def make(verifier: Verifier, seed: int = SEED) -> list[dict[str, Any]]:
    """Return both halves as records with ids: no puzzle twice, and none that a trivial answer solves.

    Args:
        verifier: Finds puzzles with trivial answers.
        seed: Random seed.
    """

    def hard(record: dict[str, Any]) -> bool:
        if puzzle.exact(record["sat"]) in seen:
            return False
        seen.add(puzzle.exact(record["sat"]))
        return not problems.mark_trivial([Problem("", puzzle.parse(record["sat"]))], verifier)[0].trivial

    rng, made = random.Random(seed), []
    seen: set[str] = set()
    templates: Counter[str] = Counter()
    for record in _compositions(rng):
        template = Form(record["sat"]).template
        if templates[template] < _PER_TEMPLATE[2] and hard(record):
            templates[template] += 1
            made.append(record)
        if len(made) == HALF:
            break
    made += list(_constants(rng, Guard(made), hard))
    return [{"id": f"machine-{number}", **record} for number, record in enumerate(made)]


if __name__ == "__main__":
    with Verifier() as verifier:
        lines = [json.dumps(one) + "\n" for one in make(verifier)]
    heldout.path("machine").write_text("".join(lines), encoding="utf-8")
