"""KodCode (KodCode/KodCode-V1 and its parts): tests in pytest's style that import the solution."""

from __future__ import annotations

from typing import Any

from selftaught.sandbox.formats import sources
from selftaught.sandbox.formats.fields import Fields, decoded, ident, solutions, text
from selftaught.sandbox.formats.problem import Malformed, Problem
from selftaught.sandbox.task import FunctionTask

_MODULE = "solution"


def recognise(fields: Fields) -> bool:
    """Return True for records of KodCode."""
    tests = fields.get("test") or fields.get("test_code")
    return isinstance(tests, str) and ("test_info" in fields or f"from {_MODULE} import" in tests)


def read(fields: Fields) -> Problem:
    """Return the problem of a record. The tests find what they import from `solution` without that."""
    tests, imported = sources.without_imports_of(_MODULE, text(fields, "test", "test_code"), "test")
    name = _function(fields.get("test_info")) or next(iter(imported), None)
    name = name or sources.entry_point(sources.tree(tests, "test"))
    if name is None:
        raise Malformed("the tests call no function of the solution, and test_info names none")
    key = ident(fields)
    judge = FunctionTask(key, "", name, tests=tests)
    return Problem(key, judge, references=solutions(fields.get("solution")))


def _function(info: Any) -> str | None:
    """Return the function that `test_info` names: an object, a list of them, or the text of either."""
    try:
        info = decoded(info, "test_info")
    except Malformed:
        return None
    first = info[0] if isinstance(info, list) and info else info
    name = first.get("function_name") if isinstance(first, dict) else None
    return name if isinstance(name, str) and name else None
