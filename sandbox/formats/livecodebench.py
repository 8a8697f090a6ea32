"""LiveCodeBench (livecodebench/code_generation and code_generation_lite)."""

from __future__ import annotations

from typing import Any

from selftaught.sandbox.formats import literals, pairs, pickled, preludes
from selftaught.sandbox.formats.fields import Fields, decoded, ident
from selftaught.sandbox.formats.problem import Malformed, Problem


def recognise(fields: Fields) -> bool:
    """Return True for records of LiveCodeBench."""
    return "private_test_cases" in fields or "public_test_cases" in fields


def read(fields: Fields) -> Problem:
    """Return the problem of a record, judged by its public and private tests.

    Tests with `testtype` ``functional`` are calls of `metadata.func_name`, others are programs.
    """
    cases = _cases(fields.get("public_test_cases"), "public_test_cases")
    cases += _cases(fields.get("private_test_cases"), "private_test_cases")
    metadata = decoded(fields.get("metadata") or {}, "metadata")
    function = metadata.get("func_name") if isinstance(metadata, dict) else None
    if not function and any(case.get("testtype") == "functional" for case in cases):
        raise Malformed("the tests are of testtype 'functional', but metadata has no func_name")
    return pairs.problem(
        ident(fields),
        [case.get("input", "") for case in cases],
        [case.get("output", "") for case in cases],
        compare="livecodebench",
        function=function or None,
        imports=preludes.CONTEST,
    )


def _cases(value: Any, what: str) -> list[dict[str, Any]]:
    if not value:
        return []
    if isinstance(value, str):
        try:
            value = literals.from_json(value, what)
        except Malformed:
            value = literals.from_json(pickled.decode(value), what)
    if not isinstance(value, list) or not all(isinstance(case, dict) for case in value):
        raise Malformed(f"{what} must be a list of objects")
    return value
