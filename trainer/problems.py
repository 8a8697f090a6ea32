"""Problems for evaluation: bundled sets, P3's puzzles.json with its split, or JSON Lines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from selftaught.generator import answers, checks, puzzle, seeds
from selftaught.generator.seeds import Unreadable
from selftaught.sandbox import Verifier
from selftaught.trainer import heldout
from selftaught.trainer.evaluation import Problem

BUNDLED = "heldout:"


def read(source: str, split: str | None = None, every_instance: bool = False) -> list[Problem]:
    """Return the problems of a file or of a bundled set.

    Args:
        source: A file (see `selftaught.generator.seeds.read`), or ``heldout:NAME``.
        split: P3's split.json; only problems under its ``test`` are returned.
        every_instance: Return all puzzles of each problem, not only the first.

    Raises:
        Unreadable, OSError, ValueError: A file can't be read, or has no such problems.
    """
    if source.startswith(BUNDLED):
        return [
            Problem(record["id"], puzzle.parse(record["sat"]), record.get("half", ""))
            for record in heldout.records(source.removeprefix(BUNDLED))
        ]
    found = seeds.read(source)
    if split:
        test = set(json.loads(Path(split).read_text(encoding="utf-8")).get("test", []))
        found = [seed for seed in found if seed.problem in test or seed.name in test]
        if not found:
            raise Unreadable(f"none of {source}'s problems is in the test part of {split}")
    if not every_instance:
        first = {seed.problem: seed for seed in reversed(found)}
        found = [seed for seed in found if first[seed.problem] is seed]
    return [Problem(seed.name, seed.puzzle) for seed in found]


def mark_trivial(problems: Sequence[Problem], verifier: Verifier, trivial_check: str = "search") -> list[Problem]:
    """Return the problems with `trivial` set on those that a trivial answer solves.

    Args:
        problems: The problems.
        verifier: The verifier.
        trivial_check: See `selftaught.generator.recipe.Recipe`.
    """
    tasks = []
    for number, problem in enumerate(problems):
        kind = answers.read_type(problem.puzzle.annotation)
        if kind:
            tasks += checks.trivial_tasks(str(number), problem.puzzle, kind, trivial_check)[:1]
    solved = {int(verdict.id.partition("/")[0]) for verdict in verifier.verify_many(tasks) if verdict.accepted}
    return [replace(problem, trivial=number in solved) for number, problem in enumerate(problems)]
