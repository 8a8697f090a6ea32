"""Marks of tests: ``skip``, ``skipif`` and ``xfail``, and the sets of parameters of ``parametrize``."""

from __future__ import annotations

import os
import sys
from typing import Any, NamedTuple

from selftaught.sandbox.worker.inside.failure import LoadError
from selftaught.sandbox.worker.inside.fixtures import Chosen, Fixtures
from selftaught.sandbox.worker.inside.pytest_standin import Mark, Parameters, Skipped


class ParameterSet(NamedTuple):
    """One set of parameters of a test.

    given: values of the test's parameters. chosen: of fixtures. marks: of this set alone.
    """

    given: dict[str, Any]
    chosen: dict[str, Chosen]
    marks: list[Mark]


def sets_of(mark: Mark, fixtures: Fixtures) -> list[ParameterSet]:
    """Return the sets of parameters of a mark ``parametrize``. Raises LoadError if one is of a fixture that is none."""
    names: Any
    value: Any
    by_name = [mark.kwargs[one] for one in ("argnames", "argvalues") if one in mark.kwargs]
    names, values, *rest = list(mark.args) + by_name
    several = not isinstance(names, str) or "," in names
    names = [one.strip() for one in names.split(",") if one.strip()] if isinstance(names, str) else list(names)
    indirect: Any = rest[0] if rest else mark.kwargs.get("indirect", False)
    of_fixtures: list[str] = names if indirect is True else [*(indirect or ())]
    for name in of_fixtures:
        if fixtures.named(name) is None:
            raise LoadError(f"there is no fixture {name}")
    sets = []
    for number, value in enumerate(values):
        marks: list[Any] = []
        if isinstance(value, Parameters):
            value, marks = value.values if several or len(value.values) != 1 else value.values[0], value.marks
        found = dict(zip(names, value if several else (value,), strict=True))
        chosen: dict[str, Chosen] = {name: ((mark, number), found.pop(name)) for name in of_fixtures}
        sets.append(ParameterSet(found, chosen, marks))
    return sets


def fixtures_used(marks: list[Mark]) -> list[str]:
    """Return the names of fixtures that marks ``usefixtures`` name."""
    return [name for mark in marks if mark.name == "usefixtures" for name in mark.args]


def expected_failure(marks: list[Mark], test: Any) -> Mark | None:
    """Return the mark that expects the test to fail, if there is one. Raises Skipped if the test is not to be run."""
    expected = None
    for mark in marks:
        if mark.name == "skip" or (mark.name == "skipif" and _holds(mark, test)):
            raise Skipped
        if mark.name == "xfail" and _holds(mark, test):
            expected = expected or mark
    if expected is not None and not expected.kwargs.get("run", True):
        raise Skipped
    return expected


def _holds(mark: Mark, test: Any) -> bool:
    """Return True if one of the mark's conditions holds, or it has none. A string is an expression."""
    conditions = (mark.kwargs["condition"],) if "condition" in mark.kwargs else mark.args
    names = {"os": os, "sys": sys, **getattr(test, "__globals__", {})}
    return not conditions or any(eval(one, names) if isinstance(one, str) else one for one in conditions)
