"""PrimeIntellect's verifiable-coding-problems, and open-r1's sets of the same shape (`verification_info`)."""

from __future__ import annotations

from typing import Any

from selftaught.sandbox.formats import pairs, preludes
from selftaught.sandbox.formats.fields import Fields, decoded, ident, solutions
from selftaught.sandbox.formats.problem import Malformed, Problem

_PYTHON = ("python", "python3", "py")


def recognise(fields: Fields) -> bool:
    """Return True for records with `verification_info`."""
    return "verification_info" in fields


def read(fields: Fields) -> Problem:
    """Return the problem of a record, compared as verl compares."""
    return from_info(fields, "verl")


def from_info(fields: Fields, compare: str) -> Problem:
    """Return the problem of a record with `verification_info`: JSON or a Python literal, or the object itself.

    Args:
        fields: The record.
        compare: How output is compared; results of functions, which may stand in a list of one, as verl does it.
    """
    info = decoded(fields.get("verification_info"), "verification_info")
    if not isinstance(info, dict):
        raise Malformed("verification_info must be an object")
    language = str(info.get("language") or "python").lower()
    if language not in _PYTHON:
        raise Malformed(f"the language is {language!r}: only Python is judged")
    return from_cases(
        ident(fields),
        decoded(info.get("test_cases") or [], "test_cases"),
        compare,
        solutions(fields.get("gold_standard_solution")),
    )


def from_cases(key: str, cases: Any, compare: str, references: tuple[str, ...] = ()) -> Problem:
    """Return the problem of a list of objects with `input` and `output`, and a function's `fn_name`."""
    if not isinstance(cases, list) or not all(isinstance(case, dict) for case in cases):
        raise Malformed("test_cases must be a list of objects")
    names = {_function(case) for case in cases}
    if len(names) > 1:
        raise Malformed("the test cases are about several functions")
    function = next(iter(names), None)
    return pairs.problem(
        key,
        [case.get("input", "") for case in cases],
        [case.get("output", "") for case in cases],
        compare="verl" if function else compare,
        function=function,
        imports=preludes.CONTEST,
        references=references,
    )


def _function(case: dict[str, Any]) -> str | None:
    if case.get("type") in ("stdin_stdout", "stdin") or case.get("testtype") == "stdin":
        return None
    metadata = case.get("metadata")
    name = case.get("fn_name") or (metadata.get("func_name") if isinstance(metadata, dict) else None)
    return str(name) if name else None
