"""verl's ground truth for code: ``{"inputs", "outputs", "fn_name"?, "assert_case"?}``, in a row or by itself."""

from __future__ import annotations

from typing import Any

from selftaught.sandbox.formats import pairs, preludes, primeintellect, sources
from selftaught.sandbox.formats.fields import Fields, decoded, ident
from selftaught.sandbox.formats.problem import Malformed, Problem
from selftaught.sandbox.task import FunctionTask


def recognise(fields: Fields) -> bool:
    """Return True for rows of verl, and for ground truths."""
    model = fields.get("reward_model")
    return (
        (isinstance(model, dict) and "ground_truth" in model)
        or "ground_truth" in fields
        or {"inputs", "outputs"} <= fields.keys()
        or "assert_case" in fields
    )


def read(fields: Fields) -> Problem:
    """Return the problem of a row, or of a ground truth."""
    model = fields.get("reward_model")
    truth: Any = model.get("ground_truth") if isinstance(model, dict) else fields.get("ground_truth", fields)
    truth = decoded(truth, "ground_truth")
    key = ident(fields)
    if isinstance(truth, list):
        return primeintellect.from_cases(key, truth, "verl")
    if not isinstance(truth, dict):
        raise Malformed("the ground truth must be an object")
    if truth.get("assert_case"):
        return _from_asserts(key, truth["assert_case"])
    if not {"inputs", "outputs"} <= truth.keys():
        raise Malformed("the ground truth has neither inputs and outputs nor assert_case")
    return pairs.problem(
        key,
        truth["inputs"],
        truth["outputs"],
        compare="verl",
        function=truth.get("fn_name") or None,
        imports=preludes.CONTEST,
    )


def _from_asserts(key: str, asserts: Any) -> Problem:
    asserts = [asserts] if isinstance(asserts, str) else asserts
    if not isinstance(asserts, list) or not all(isinstance(one, str) for one in asserts):
        raise Malformed("assert_case must be a list of strings")
    tests = sources.with_cases("\n".join(asserts) + "\n", "assert_case")
    name = sources.entry_point(sources.tree(tests, "assert_case"))
    if name is None:
        raise Malformed("assert_case calls no function of the solution")
    return Problem(key, FunctionTask(key, "", name, tests=tests, prelude=preludes.CONTEST))
