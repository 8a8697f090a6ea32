"""CodeContests (deepmind/code_contests)."""

from __future__ import annotations

from typing import Any

from selftaught.sandbox.formats import pairs
from selftaught.sandbox.formats.fields import Fields, decoded, ident
from selftaught.sandbox.formats.problem import Malformed, Problem

_TESTS = ("public_tests", "private_tests", "generated_tests")
_PYTHON3 = (3, "3", "PYTHON3", "python3", "python")


def recognise(fields: Fields) -> bool:
    """Return True for records of CodeContests."""
    return any(name in fields for name in _TESTS)


def read(fields: Fields) -> Problem:
    """Return the problem of a record, judged by all its tests: public, private and generated ones."""
    inputs: list[Any] = []
    outputs: list[Any] = []
    for name in _TESTS:
        tests = decoded(fields.get(name) or [], name)
        inputs += _column(tests, "input", name)
        outputs += _column(tests, "output", name)
    key = ident(fields)
    return pairs.problem(key, inputs, outputs, compare="sandboxfusion", references=_references(fields))


def _column(tests: Any, name: str, what: str) -> list[Any]:
    """Return a column of tests: a struct of lists, or a list of structs."""
    try:
        return list(tests.get(name, ())) if isinstance(tests, dict) else [one[name] for one in tests]
    except (TypeError, KeyError):
        raise Malformed(f"{what} must have input and output, each a list or one a test") from None


def _references(fields: Fields) -> tuple[str, ...]:
    """Return the solutions in Python 3."""
    solutions = fields.get("solutions") or []
    try:
        found = list(zip(_column(solutions, "language", "solutions"), _column(solutions, "solution", ""), strict=True))
    except (Malformed, ValueError):
        return ()
    return tuple(source for language, source in found if language in _PYTHON3 and isinstance(source, str))
