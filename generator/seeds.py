"""The puzzles that prompts are made of."""

from __future__ import annotations

from dataclasses import dataclass

from selftaught.generator import example, puzzle, templates
from selftaught.generator.puzzle import Puzzle
from selftaught.sandbox import records
from selftaught.sandbox.records import CORPUS, Record, Unreadable
from selftaught.sandbox.records.omissions import Omissions

__all__ = ["BUNDLED", "CORPUS", "ONELINERS", "Seed", "Unreadable", "read"]

ONELINERS = "oneliners:"
"""Stands for the bundled seeds of one line: `_EACH` instances of each of their templates."""
BUNDLED = (CORPUS, ONELINERS)

_EACH = 20


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


def read(source: str, omissions: Omissions | None = None) -> list[Seed]:
    """Return the puzzles of a file, each once: puzzles that differ in names only are the same.

    Args:
        source: `ONELINERS`, `CORPUS`, or a file whose records have a field `sat` or `puzzle`, such as P3's
            puzzles.json, or what other commands write (see `selftaught.sandbox.records.rows`).
        omissions: Where records without a puzzle, and puzzles that were there before, are noted. ``None``: a record
            without a puzzle is an error.

    Raises:
        Unreadable: The file can't be read to its end, or has no puzzles.
    """
    if source == ONELINERS:
        problems = templates.read(templates.SEEDS)
        return [_named(record["id"], record["sat"]) for one in problems for record in one.instances(_EACH, 0)]
    found: dict[str, Seed] = {}
    for row in records.rows(source, may_be_empty=True):
        try:
            if row.problem:
                raise ValueError(row.problem)
            seed = _seed(row)
        except ValueError as error:
            reason = row.problem or f"{row.place}: no puzzle: {error}"
            if omissions is None:
                raise Unreadable(reason) from error
            omissions.add("it has no puzzle", reason)
            continue
        if omissions is not None and seed.id in found:
            omissions.add("the same puzzle, but for names, was there before", f"{row.place}: as {found[seed.id].name}")
        found.setdefault(seed.id, seed)
    if not found:
        raise Unreadable("\n".join([f"{source} has no puzzles", *(omissions.lines() if omissions else ())]))
    return list(found.values())


def _seed(row: Record) -> Seed:
    """Return the puzzle of a record. Raises ValueError."""
    fields = row.fields
    source = records.text(fields, "sat")
    name = next((str(fields[key]) for key in ("name", "id") if fields.get(key) not in (None, "")), row.place)
    if fields.get("name"):
        return _named(name, source)
    return Seed(example.puzzle_id(source), name, example.template(source), puzzle.parse(source))


def _named(name: str, source: str) -> Seed:
    """Return the puzzle of this name: that of its problem, a colon, and a number. Raises NotAPuzzle."""
    return Seed(example.puzzle_id(source), name, name.partition(":")[0], puzzle.parse(source))
