"""Problems for evaluation: bundled sets, P3's puzzles.json with its split, or a user's file."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from selftaught.generator import answers, checks, example, puzzle
from selftaught.generator.held_out import Split
from selftaught.sandbox import Verifier, formats, records
from selftaught.sandbox.formats.fields import ident
from selftaught.sandbox.records import Record, Unreadable
from selftaught.sandbox.records.omissions import Omissions
from selftaught.trainer import heldout
from selftaught.trainer.evaluation import Problem
from selftaught.trainer.question import Question

BUNDLED = "heldout:"
_NO_PUZZLE = "it is no puzzle"
AnyQuestion = TypeVar("AnyQuestion", bound=Question)


@dataclass(slots=True)
class Selection(Generic[AnyQuestion]):
    """The problems of a source.

    Attributes:
        problems: The problems.
        omissions: What was left out, and why.
        malformed: Number of records that are no problems.
        cpu_seconds: The CPU limit that the problems have of themselves, if they have one.
    """

    problems: list[AnyQuestion]
    omissions: Omissions = field(default_factory=Omissions)
    malformed: int = 0
    cpu_seconds: float | None = None

    def keep(
        self, problems: list[tuple[str, Problem]], wanted: Callable[[str, Problem], bool], reason: str
    ) -> list[tuple[str, Problem]]:
        """Return the problems that are wanted, each with what it is an instance of; note the others."""
        for of, one in problems:
            if not wanted(of, one):
                self.omissions.add(reason, one.id)
        return [(of, one) for of, one in problems if wanted(of, one)]

    @property
    def digest(self) -> str:
        """A digest of all ids and puzzles."""
        content = json.dumps([(problem.id, problem.source) for problem in self.problems])
        return hashlib.sha256(content.encode()).hexdigest()[:16]


def read(source: str, split: str | None = None, every_instance: bool | None = None) -> list[Problem]:
    """Return the problems of a source (see `select`)."""
    return select(source, split, every_instance).problems


def path(source: str) -> str:
    """Return the file that a source stands for. Raises ValueError if there is no such bundled set."""
    return str(heldout.path(source.removeprefix(BUNDLED))) if source.startswith(BUNDLED) else source


def select(source: str, split: str | None = None, every_instance: bool | None = None) -> Selection[Problem]:
    """Return the problems of a file or of a bundled set.

    Args:
        source: A file (see `selftaught.sandbox.records.rows`) of records with a field ``sat`` or ``puzzle``,
            ``corpus:`` or ``heldout:NAME``. The id of a problem is that of its record (see
            `selftaught.sandbox.formats.fields.ident`), or else the record's number, from 0.
        split: P3's split.json; only problems under its ``test`` are returned.
        every_instance: Return all puzzles of each problem, or only the first (None: only the first of P3's, which has
            many instances of its problems, and all of any other file).

    Raises:
        Unreadable, OSError, ValueError: A file can't be read, or has no such problems.
    """
    found, kept = Selection[Problem]([]), list[tuple[str, Problem]]()
    grouped = source.startswith(BUNDLED)
    for number, row in enumerate(records.rows(path(source))):
        try:
            of, problem = _problem(row, number, every_instance)
            kept.append((of, replace(problem, group=row.fields.get("half", "")) if grouped else problem))
        except ValueError as error:
            found.malformed += 1
            found.omissions.add(_NO_PUZZLE, row.problem or f"{row.place}: {error}")
    if not kept:
        hint = [f"its records look like {form}: --benchmark asks those"] if (form := _dataset(source)) else []
        raise Unreadable("\n".join([f"{source} has no puzzles", *found.omissions.lines(), *hint]))
    if split:
        parts, reason = Split(split), f"it is not in the test part of {split}"
        kept = found.keep(kept, lambda of, one: parts.has("test", one.id), reason)
        if not kept:
            raise Unreadable(f"none of {source}'s problems is in the test part of {split}")
    if not every_instance:
        first = dict(reversed(kept))
        reason = "it is a further instance of a problem; --every-instance keeps it"
        kept = found.keep(kept, lambda of, one: first[of] is one, reason)
    found.problems = _distinct([one for _, one in kept])
    return found


def _dataset(source: str) -> str:
    """Return the format of a file's first record if it is a problem of a dataset; else an empty text."""
    try:
        return formats.recognise(next(records.rows(path(source))).fields)
    except (formats.Malformed, Unreadable):
        return ""


def _problem(row: Record, number: int, every_instance: bool | None) -> tuple[str, Problem]:
    """Return a problem, and the name of what it is an instance of. Raises ValueError."""
    if row.problem:
        raise ValueError(row.problem)
    source = records.text(row.fields, "sat")
    problem = Problem(ident(row.fields) or str(number), puzzle.parse(source))
    if "sol_bodies" in row.fields:  # P3
        return problem.id.partition(":")[0], problem
    return example.template(source) if every_instance is False else f"\0{number}", problem


def _distinct(problems: list[Problem]) -> list[Problem]:
    """Return the problems with distinct ids: a repeated one gets a number."""
    repeats: Counter[str] = Counter()
    taken: set[str] = set()
    distinct = []
    for problem in problems:
        name = problem.id
        while name in taken:
            repeats[problem.id] += 1
            name = f"{problem.id}#{repeats[problem.id] + 1}"
        taken.add(name)
        distinct.append(replace(problem, id=name))
    return distinct


def mark_trivial(problems: Sequence[Question], verifier: Verifier, trivial_check: str = "search") -> list[Question]:
    """Return the problems with `trivial` set on those puzzles that a trivial answer solves.

    Args:
        problems: The problems.
        verifier: The verifier.
        trivial_check: See `selftaught.generator.recipe.Recipe`.
    """
    puzzles = {number: problem for number, problem in enumerate(problems) if isinstance(problem, Problem)}
    tasks = []
    for number, problem in puzzles.items():
        kind = answers.read_type(problem.puzzle.annotation)
        if kind:
            tasks += checks.trivial_tasks(str(number), problem.puzzle, kind, trivial_check)[:1]
    solved = {int(verdict.id.partition("/")[0]) for verdict in verifier.verify_many(tasks) if verdict.accepted}
    marked = {number: replace(problem, trivial=number in solved) for number, problem in puzzles.items()}
    return [marked.get(number, problem) for number, problem in enumerate(problems)]
