"""Tasks in the fields of records. The fields tell the kinds of tasks apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from selftaught.sandbox import json_cases
from selftaught.sandbox.records.record import Record
from selftaught.sandbox.task import AnyTask, FunctionTask, StdioTask, Task

_KINDS = (("sat", Task), ("entry_point", FunctionTask), ("cases", StdioTask), ("puzzle", Task))
_OTHER_NAMES = {"sat": "puzzle", "sol": "solution"}
"""The names that pairs of `selftaught generate` have, and other people's files too."""
_NO_KIND = (
    "the field 'sat' is missing: a task has 'sat' (a puzzle), 'entry_point' with 'tests' or 'cases' (a function), or "
    "'cases' alone (a program); 'puzzle' may stand for 'sat', and 'solution' for 'sol'"
)
_STRINGS = {
    Task: ("sat", "sol"),
    FunctionTask: ("sol", "entry_point", "tests", "prelude", "compare", "checker", "isolation"),
    StdioTask: ("sol", "compare", "checker"),
}
_REQUIRED = ("sat", "sol", "entry_point")


def kind_of(fields: Mapping[str, Any]) -> type[AnyTask]:
    """Return the kind of task that these fields describe. Raises ValueError if there is none.

    A field that is ``null`` is absent: in a table with several kinds of tasks every row has all columns.
    """
    for name, kind in _KINDS:
        if fields.get(name) is not None:
            return kind
    raise ValueError(_NO_KIND)


def text(fields: Mapping[str, Any], field: str) -> str:
    """Return a field that is a string, such as ``sat``; ``puzzle`` may stand for it, and ``solution`` for ``sol``.

    Raises:
        ValueError: It is missing, or no string.
    """
    name, value = _named(fields, field)
    if isinstance(value, str):
        return value
    reason = f"must be a string, not {type(value).__name__}" if name in fields else "is missing"
    raise ValueError(f"the field {name!r} {reason}")


def _named(fields: Mapping[str, Any], field: str) -> tuple[str, Any]:
    """Return the name and the value of a field, or those of the one that stands for it."""
    other = _OTHER_NAMES.get(field, field)
    if fields.get(field) is None and fields.get(other) is not None:
        return other, fields[other]
    return field, fields.get(field)


def renamed(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields with ``sat`` and ``sol`` in place of those that stand for them."""
    found = {field: _named(fields, field)[1] for field in _OTHER_NAMES}
    return {**fields, **{field: value for field, value in found.items() if value is not None}}


def to_task(fields: Mapping[str, Any], ident: str) -> AnyTask:
    """Return the task that these fields describe; other fields are ignored.

    Args:
        fields: The fields, from JSON or a row of a table.
        ident: The task's id.

    Raises:
        ValueError: A field is missing, or has another type; the message names it.
    """
    kind = kind_of(fields)
    given: dict[str, Any] = {}
    for field in _STRINGS[kind]:
        if field in _REQUIRED or _named(fields, field)[1] is not None:
            given[field] = text(fields, field)
    if kind is not Task:
        given |= _cases(kind, fields)
    return kind(id=ident, **given)


def _cases(kind: type[AnyTask], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the cases among the fields, and how many of them are judged. Raises ValueError."""
    found: dict[str, Any] = {}
    if fields.get("all_cases") is not None:
        if type(fields["all_cases"]) is not bool:
            raise ValueError(f"the field 'all_cases' must be true or false, not {type(fields['all_cases']).__name__}")
        found["all_cases"] = fields["all_cases"]
    if fields.get("cases") is not None:
        found["cases"] = json_cases.read(fields["cases"]) if kind is FunctionTask else fields["cases"]
    return found


def with_tasks(row: Record) -> Iterator[Record]:
    """Yield the record of a row with its task, or one for each reference solution if it is a puzzle of P3."""
    if row.problem:
        yield row
    elif "sol_bodies" in row.fields and _named(row.fields, "sol")[1] is None:
        yield from _references(row)
    else:
        yield _with_task(row)


def _with_task(row: Record) -> Record:
    ident = row.fields.get("id", "")
    if isinstance(ident, bool) or not isinstance(ident, (str, int, float)):
        row.problem = f"{row.place}: the field 'id' must be a string or a number, not {type(ident).__name__}"
        return row
    try:
        row.task = to_task(row.fields, row.id)
    except ValueError as error:
        row.problem = f"{row.place}: {error}"
    return row


def _references(row: Record) -> Iterator[Record]:
    """Yield a record for every reference solution of a puzzle of P3, named NAME, or NAME#k if it has several."""
    puzzle = row.fields
    try:
        bodies = puzzle["sol_bodies"]
        if not isinstance(bodies, list):
            raise TypeError(f"sol_bodies must be an array, not {type(bodies).__name__}")
        kept = {name: value for name, value in puzzle.items() if name not in ("sol_bodies", "sol_header")}
        for k, body in enumerate(bodies):
            ident = puzzle["name"] if len(bodies) == 1 else f"{puzzle['name']}#{k}"
            fields = {**kept, "id": ident, "sat": puzzle["sat"], "sol": puzzle["sol_header"] + "\n" + body}
            yield _with_task(Record(row.place, fields))
    except (KeyError, TypeError) as error:
        yield Record(row.place, puzzle, problem=f"{row.place}: not a P3 puzzle: {type(error).__name__}: {error}")
