"""The puzzles that prompts are made of."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selftaught.generator import example, puzzle
from selftaught.generator.puzzle import NotAPuzzle, Puzzle
from selftaught.sandbox import corpus

CORPUS = "corpus:"
"""Name of the bundled puzzles."""


class Unreadable(ValueError):
    """A file of puzzles can't be read. The message says where and why."""


@dataclass(frozen=True, slots=True)
class Seed:
    """A puzzle to show to a model.

    Attributes:
        id: Digest of the puzzle (see `selftaught.generator.example.puzzle_id`).
        name: Its name in the file.
        problem: The problem that it is an instance of; a prompt has one instance of each problem.
        puzzle: The puzzle.
    """

    id: str
    name: str
    problem: str
    puzzle: Puzzle


def read(source: str) -> list[Seed]:
    """Return the puzzles of a file.

    Args:
        source: P3's puzzles.json, JSON Lines with a field `sat` or `puzzle` (this package's own files too), or
            `CORPUS`.

    Raises:
        Unreadable: The file can't be read, has no puzzles, or a line whose puzzle can't be parsed.
    """
    path = corpus.path() if source == CORPUS else Path(source)
    try:
        text = path.read_text(encoding="utf-8")
        entries = json.loads(text) if text.lstrip()[:1] == "[" else [json.loads(line) for line in text.splitlines()]
    except (OSError, ValueError) as error:
        raise Unreadable(f"{source}: {error}") from error
    found: dict[str, Seed] = {}
    for number, entry in enumerate(entries, 1):
        try:
            seed = _seed(entry)
        except (NotAPuzzle, KeyError, TypeError) as error:
            raise Unreadable(f"{source}:{number}: no puzzle: {error}") from error
        found.setdefault(seed.id, seed)
    if not found:
        raise Unreadable(f"{source} has no puzzles")
    return list(found.values())


def _seed(entry: dict[str, Any]) -> Seed:
    source = entry["sat"] if "sat" in entry else entry["puzzle"]
    parsed = puzzle.parse(source)
    name = str(entry.get("name") or entry.get("id") or parsed.name)
    problem = name.partition(":")[0] if "name" in entry else example.template(source)
    return Seed(example.puzzle_id(source), name, problem, parsed)
