"""The sets that a generation keeps out: the bundled ones, and those of files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from importlib.metadata import entry_points
from pathlib import Path

from selftaught.generator import puzzle
from selftaught.generator.contamination import HeldOutProblems
from selftaught.generator.novelty import HeldOut
from selftaught.sandbox import records
from selftaught.sandbox.formats import Malformed, read, recognise, statement
from selftaught.sandbox.formats.fields import ident
from selftaught.sandbox.formats.puzzles import recognise as is_puzzle
from selftaught.sandbox.records import Record, Unreadable


class Split:
    """P3's split.json: the names of its problems for training (``train``) and for tests (``test``).

    Args:
        path: The file.

    Raises:
        Unreadable, OSError: It is no such file.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            self._parts = {part: frozenset(content.get(part, ())) for part in ("train", "test")}
        except (ValueError, TypeError, AttributeError) as error:
            raise Unreadable(f"{path}: expected an object with `train` and `test`, lists of names: {error}") from error

    def has(self, part: str, name: str) -> bool:
        """Return True if a part has a puzzle (``Problem:instance``) or its problem."""
        return bool(self._parts[part] & {name, name.partition(":")[0]})


def gather(files: Sequence[str] = (), split: Split | None = None, puzzles: Iterable[str] = ()) -> HeldOut:
    """Return the held-out set: the bundled puzzles, and puzzles and problems of files.

    Bundled sets are entry points of the group ``selftaught.held_out``: functions that take the set's name and return
    records with a field `sat`, or a `HeldOut` with rules of its own.

    Args:
        files: Files of puzzles, or of problems in any format of `selftaught.sandbox.formats`.
        split: Of P3's puzzles only the test part is held out.
        puzzles: Sources of further puzzles.

    Raises:
        Unreadable: A file can't be read, or a record is neither a puzzle nor a problem.
    """
    sources = list(puzzles)
    others: list[HeldOut] = []
    problems = HeldOutProblems()
    for entry in entry_points(group="selftaught.held_out"):
        found = entry.load()(entry.name)
        if isinstance(found, HeldOut):
            others.append(found)
        else:
            sources += [record["sat"] for record in found]
    for file in files:
        sources += _puzzles(file, split, problems)
    return HeldOut(sources, others, problems)


def _puzzles(file: str, split: Split | None, problems: HeldOutProblems) -> list[str]:
    """Return the puzzles of a file that are held out, and add its problems to the others."""
    sources, before, any_puzzle = [], len(problems), False
    for number, row in enumerate(records.rows(file)):
        try:
            if row.problem:
                raise Unreadable(row.problem)
            if not is_puzzle(row.fields):
                _add(row, ident(row.fields) or str(number), problems)
                continue
            source, any_puzzle = records.text(row.fields, "sat"), True
            puzzle.canonical(puzzle.parse(source).source)
        except Unreadable:
            raise
        except ValueError as error:
            raise Unreadable(f"{row.place}: neither a puzzle nor a problem of a dataset: {error}") from error
        name = str(row.fields.get("name") or "")
        if split is None or "sol_bodies" not in row.fields or split.has("test", name):
            sources.append(source)
    if any_puzzle and not sources and len(problems) == before:
        raise Unreadable(f"none of {file}'s puzzles is in the test part of {split.path if split else 'it'}")
    return sources


def _add(row: Record, name: str, problems: HeldOutProblems) -> None:
    """Add a problem of a dataset. Raises Malformed."""
    problem = read(row.fields, recognise(row.fields))
    unknown = problems.unknown
    problems.add(name, statement.read(row.fields), problem.references)
    if problems.unknown > unknown:
        raise Malformed("it has neither a solution nor a statement by which it could be known")
