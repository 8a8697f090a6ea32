"""Attack and honest cases: tasks, the verdict that each of them must get, and why.

A case is a file ``<kind>/<name>.toml``. A new file needs no registration. Its fields:

* ``why``: what the case shows, and what would be wrong if it came out otherwise.
* ``expect``: the statuses that are right.
* ``phase``, ``message`` (optional): the phase that must decide, and text that the verdict's message must contain.
* ``sat``, ``sol``: the task. ``limits`` (optional): a table with fields of `selftaught.sandbox.Limits`.
* ``[full]``, ``[restricted]``, ``[container]`` (optional): another ``expect``, ``phase`` or ``message`` at that level.
* ``[[then]]`` (optional): tasks that follow on the same worker, each with all these fields but ``why``.
* ``levels``, ``engines`` (optional): the only levels and engines for which the case means something.

The command ``selftaught doctor --attacks`` and the tests read the cases with `load`.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any, TypeVar

from selftaught.sandbox import wire
from selftaught.sandbox.backends import LEVELS
from selftaught.sandbox.task import Limits, Task
from selftaught.sandbox.verdict import Status

ALL_LEVELS = tuple(level for levels in LEVELS.values() for level in levels)
_NEVER_RIGHT = (Status.INTERNAL_ERROR, Status.CANCELLED)
T = TypeVar("T")


class MalformedCase(ValueError):
    """A file of a case can't be read; the message names the file and the field."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a verdict must be.

    Attributes:
        statuses: Statuses that are right.
        phase: The phase that must decide, or None for any.
        message: Text that the verdict's message must contain.
    """

    statuses: tuple[Status, ...]
    phase: str | None = None
    message: str = ""

    def __str__(self) -> str:
        phase = f" in phase {self.phase}" if self.phase else ""
        message = f", with {self.message!r} in its message" if self.message else ""
        return " or ".join(self.statuses) + phase + message


@dataclass(frozen=True, slots=True)
class Step:
    """A task of a case and what must come of it.

    Attributes:
        task: What is judged.
        expected: What its verdict must be.
        exceptions: By level, what the verdict must be there instead.
    """

    task: Task
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
        table = _Table(where, tomllib.loads(file.read_text(encoding="utf-8")))
    except ValueError as error:  # malformed TOML or UTF-8
        raise MalformedCase(f"{where}: {error}") from error
    why = table.take("why", str)
    if not why:
        raise table.wrong("why", "is empty")
    levels = _names(table, "levels", ALL_LEVELS)
    engines = _names(table, "engines", wire.ENGINES)
    later = [_Table(f"{where}: then[{i}]", fields) for i, fields in enumerate(table.take("then", list, []))]
    steps = tuple(_step(f"{kind}/{name}", each) for each in (table, *later))
    return Case(kind, name, why, steps, levels, engines)


class _Table:
    """A table of a case's file, from which fields are taken one by one."""

    def __init__(self, where: str, fields: Any) -> None:
        if type(fields) is not dict:
            raise MalformedCase(f"{where}: is no table")
        self.where, self._fields = where, dict(fields)

    def take(self, name: str, kind: type[T], default: T | None = None) -> T:
        """Remove and return a field. Raises MalformedCase if it is missing without a default, or of another type."""
        value = self._fields.pop(name, default)
        if value is None:
            raise self.wrong(name, "is missing")
        if type(value) is not kind:
            raise self.wrong(name, f"must be of type {kind.__name__}, not {type(value).__name__}")
        return value

    def take_table(self, name: str) -> _Table | None:
        """Remove and return a table, or None if there is none of this name."""
        return _Table(f"{self.where}: {name}", self._fields.pop(name)) if name in self._fields else None

    def take_rest(self) -> dict[str, Any]:
        """Remove and return all fields that are left."""
        rest, self._fields = self._fields, {}
        return rest

    def end(self) -> None:
        """Raise MalformedCase if a field is left: nobody knows it."""
        for name in self._fields:
            raise self.wrong(name, "is no field of a case")

    def wrong(self, name: str, what: str) -> MalformedCase:
        """Return the exception for a field."""
        return MalformedCase(f"{self.where}: {name} {what}")


def _step(ident: str, table: _Table) -> Step:
    limits = table.take_table("limits")
    task = Task(ident, _source(table, "sat"), _source(table, "sol"), None if limits is None else _limits(limits))
    expected = _expectation(table)
    tables = {level: own for level in ALL_LEVELS if (own := table.take_table(level)) is not None}
    exceptions = {level: _expectation(own, expected) for level, own in tables.items()}
    for each in (table, *tables.values()):
        each.end()
    return Step(task, expected, exceptions)


def _source(table: _Table, name: str) -> str:
    return table.take(name, str).lstrip("\n")


def _limits(table: _Table) -> Limits:
    try:
        return Limits(**table.take_rest())
    except (TypeError, ValueError) as error:
        raise MalformedCase(f"{table.where}: {error}") from error


def _expectation(table: _Table, usual: Expectation | None = None) -> Expectation:
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
    if phase not in (None, "sol", "sat"):
        raise table.wrong("phase", f"must be sol or sat, not {phase!r}")
    return Expectation(tuple(statuses), phase, table.take("message", str, default.message))


def _names(table: _Table, name: str, known: tuple[str, ...]) -> tuple[str, ...]:
    names = table.take(name, list, list(known))
    for each in names:
        if each not in known:
            raise table.wrong(name, f"names {each!r}: choose from {', '.join(known)}")
    if not names:
        raise table.wrong(name, "is empty")
    return tuple(names)
