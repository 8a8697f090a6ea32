"""Tasks in the files of cases: which fields make which kind of task.

* A puzzle (`selftaught.sandbox.Task`): ``sat`` and ``sol``.
* A function (`selftaught.sandbox.FunctionTask`): ``entry_point`` and ``sol``, either ``tests`` or cases, and optionally
  ``prelude``, ``compare``, ``checker``, ``isolation`` and ``all_cases``.
* A program (`selftaught.sandbox.StdioTask`): ``sol``, cases, and optionally ``compare``, ``checker`` and ``all_cases``.

Cases are the array ``cases``, as in ``[[[1, 2], {key = 3}, 6]]`` for a function and ``[["input", "output"]]`` for a
program; or the text ``cases_python``, a Python literal of the same form, where TOML lacks the types of values.
"""

from __future__ import annotations

import ast
from typing import Any

from selftaught.sandbox.cases.tables import MalformedCase, Table
from selftaught.sandbox.task import AnyTask, FunctionTask, Limits, StdioTask, Task


def take_task(ident: str, table: Table) -> AnyTask:
    """Remove the fields of a task from a table and return the task.

    Args:
        ident: Its id.
        table: Has all fields of a step.

    Raises:
        MalformedCase: A field is missing or of another type.
    """
    limits = table.take_table("limits")
    fields: dict[str, Any] = {"id": ident, "limits": None if limits is None else _limits(limits)}
    if "entry_point" in table:
        if ("tests" in table) == ("cases" in table or "cases_python" in table):
            raise table.wrong("entry_point", "needs either tests or cases")
        fields |= {"entry_point": table.take("entry_point", str), "cases": _cases(table, 3)}
        fields |= _sources(table, "sol", "prelude", "tests", "checker", "compare", "isolation")
        return FunctionTask(**fields, all_cases=table.take("all_cases", bool, False))
    if (cases := _cases(table, 2)) is not None:
        fields |= {"cases": cases, **_sources(table, "sol", "checker", "compare")}
        return StdioTask(**fields, all_cases=table.take("all_cases", bool, False))
    return Task(**fields, **_sources(table, "sat"), **_sources(table, "sol"))


def _sources(table: Table, first: str, *names: str) -> dict[str, Any]:
    """Remove and return texts: the first, and the others as far as they are there."""
    return {name: table.take(name, str).lstrip("\n") for name in (first, *(name for name in names if name in table))}


def _limits(table: Table) -> Limits:
    try:
        return Limits(**table.take_rest())
    except (TypeError, ValueError) as error:
        raise MalformedCase(f"{table.where}: {error}") from error


def _cases(table: Table, parts: int) -> list[Any] | None:
    """Return the cases of a table, each of so many parts; None if it has none."""
    name = "cases_python" if "cases_python" in table else "cases"
    if name not in table:
        return None
    cases = table.take(name, list) if name == "cases" else _literal(table, name)
    for number, case in enumerate(cases):
        if not isinstance(case, (list, tuple)) or len(case) != parts:
            raise table.wrong(name, f"has a case {number} that is no array of {parts} parts")
    return [tuple(case) for case in cases]


def _literal(table: Table, name: str) -> list[Any]:
    try:
        value = ast.literal_eval(table.take(name, str).strip())
    except (ValueError, SyntaxError) as error:
        raise table.wrong(name, f"is no Python literal: {error}") from error
    if type(value) is not list:
        raise table.wrong(name, f"must be a list, not {type(value).__name__}")
    return value
