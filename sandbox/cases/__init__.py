"""Attack and honest cases: tasks, the verdict that each of them must get, and why.

A case is a file ``<kind>/<name>.toml``. A new file needs no registration. Its fields:

* ``why``: what the case shows, and what would be wrong if it came out otherwise.
* ``expect``: the statuses that are right.
* ``phase``, ``message``, ``passed``, ``total``, ``decided_by`` (optional): the phase that must decide, text that the
  verdict's message must contain, and what these fields of the verdict must be.
* the task: ``sat`` and ``sol`` of a puzzle, or the fields of a function or a program
  (`selftaught.sandbox.cases.tasks`). ``limits`` (optional): a table with fields of `selftaught.sandbox.Limits`.
* ``[full]``, ``[restricted]``, ``[container]`` (optional): another expectation at that level.
* ``[[then]]`` (optional): tasks that follow on the same worker, each with all these fields but ``why``.
* ``levels``, ``engines`` (optional): the only levels and engines for which the case means something.

The verdict's ``isolation`` must always be the task's. The command ``selftaught doctor --attacks`` and the tests read
the cases with `load`.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable

from selftaught.sandbox import wire
from selftaught.sandbox.backends import LEVELS
from selftaught.sandbox.cases.tables import MalformedCase, Table
from selftaught.sandbox.cases.tasks import take_task
from selftaught.sandbox.task import AnyTask
from selftaught.sandbox.verdict import Status

__all__ = ["ALL_LEVELS", "Case", "Expectation", "MalformedCase", "Step", "load"]

ALL_LEVELS = tuple(level for levels in LEVELS.values() for level in levels)
_NEVER_RIGHT = (Status.INTERNAL_ERROR, Status.CANCELLED)
_PHASES = ("sol", "sat", "tests", "check", "shared")
_NUMBERS = ("passed", "total", "decided_by")


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a verdict must be.

    Attributes:
        statuses: Statuses that are right.
        phase: The phase that must decide, or None for any.
        message: Text that the verdict's message must contain.
        passed, total, decided_by: What these fields of the verdict must be, or None for anything.
    """

    statuses: tuple[Status, ...]
    phase: str | None = None
    message: str = ""
    passed: int | None = None
    total: int | None = None
    decided_by: int | None = None

    @property
    def numbers(self) -> dict[str, int]:
        """Those of the last three that must be something."""
        found = {name: getattr(self, name) for name in _NUMBERS}
        return {name: number for name, number in found.items() if number is not None}

    def __str__(self) -> str:
        phase = f" in phase {self.phase}" if self.phase else ""
        message = f", with {self.message!r} in its message" if self.message else ""
        numbers = "".join(f", {name} {number}" for name, number in self.numbers.items())
        return " or ".join(self.statuses) + phase + message + numbers


@dataclass(frozen=True, slots=True)
class Step:
    """A task of a case and what must come of it.

    Attributes:
        task: What is judged.
        expected: What its verdict must be.
        exceptions: By level, what the verdict must be there instead.
    """

    task: AnyTask
    expected: Expectation
    exceptions: dict[str, Expectation]

    def expected_at(self, level: str) -> Expectation:
        """Return what the verdict must be at this confinement level."""
        return self.exceptions.get(level, self.expected)


@dataclass(frozen=True, slots=True)
class Case:
    """Tasks that are judged one after another on one worker.

    Attributes:
        kind: The folder, such as ``files``; ``honest`` is what must not be refused.
        name: The file's name without its suffix.
        why: What the case shows.
        steps: The tasks, in order.
        levels: Confinement levels at which the case means something.
        engines: Engines on which it does.
    """

    kind: str
    name: str
    why: str
    steps: tuple[Step, ...]
    levels: tuple[str, ...] = ALL_LEVELS
    engines: tuple[str, ...] = wire.ENGINES

    @property
    def id(self) -> str:
        """Kind and name, as in the file's path."""
        return f"{self.kind}/{self.name}"

    def applies_to(self, level: str, engine: str) -> bool:
        """Return True if the case means something at this level on this engine."""
        return level in self.levels and engine in self.engines


def load(folder: Traversable | None = None) -> tuple[Case, ...]:
    """Read all cases, in the order of kinds and names.

    Args:
        folder: Contains a folder for each kind; None for the bundled cases.

    Raises:
        MalformedCase: A file is no case.
    """
    top = resources.files(__name__) if folder is None else folder
    return tuple(
        _case(kind.name, file)
        for kind in _sorted(top)
        if kind.is_dir()
        for file in _sorted(kind)
        if file.name.endswith(".toml")
    )


def _sorted(folder: Traversable) -> list[Traversable]:
    return sorted(folder.iterdir(), key=lambda entry: entry.name)


def _case(kind: str, file: Traversable) -> Case:
    where, name = f"{kind}/{file.name}", file.name.removesuffix(".toml")
    try:
        table = Table(where, tomllib.loads(file.read_text(encoding="utf-8")))
    except ValueError as error:  # malformed TOML or UTF-8
        raise MalformedCase(f"{where}: {error}") from error
    why = table.take("why", str)
    if not why:
        raise table.wrong("why", "is empty")
    levels = _names(table, "levels", ALL_LEVELS)
    engines = _names(table, "engines", wire.ENGINES)
    later = [Table(f"{where}: then[{i}]", fields) for i, fields in enumerate(table.take("then", list, []))]
    steps = tuple(_step(f"{kind}/{name}", each) for each in (table, *later))
    return Case(kind, name, why, steps, levels, engines)


def _step(ident: str, table: Table) -> Step:
    task = take_task(ident, table)
    expected = _expectation(table)
    tables = {level: own for level in ALL_LEVELS if (own := table.take_table(level)) is not None}
    exceptions = {level: _expectation(own, expected) for level, own in tables.items()}
    for each in (table, *tables.values()):
        each.end()
    return Step(task, expected, exceptions)


def _expectation(table: Table, usual: Expectation | None = None) -> Expectation:
    """Return the expectation of a table, where the fields that are missing are those of the usual one."""
    default = usual or Expectation((), None)
    statuses = []
    for name in table.take("expect", list, [str(status) for status in default.statuses] or None):
        if name not in tuple(Status) or name in _NEVER_RIGHT:
            raise table.wrong("expect", f"names {name!r}, which is no verdict")
        statuses.append(Status(name))
    if not statuses:
        raise table.wrong("expect", "is empty")
    phase = table.take("phase", str, default.phase or "") or None
    if phase not in (None, *_PHASES):
        raise table.wrong("phase", f"must be one of {', '.join(_PHASES)}, not {phase!r}")
    numbers = {name: table.take_optional(name, int, getattr(default, name)) for name in _NUMBERS}
    return Expectation(tuple(statuses), phase, table.take("message", str, default.message), **numbers)


def _names(table: Table, name: str, known: tuple[str, ...]) -> tuple[str, ...]:
    names = table.take(name, list, list(known))
    for each in names:
        if each not in known:
            raise table.wrong(name, f"names {each!r}: choose from {', '.join(known)}")
    if not names:
        raise table.wrong(name, "is empty")
    return tuple(names)
