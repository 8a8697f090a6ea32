"""HumanEval (openai/human-eval) and HumanEval+ (EvalPlus, as a dataset or as its own release)."""

from __future__ import annotations

import re

from selftaught.sandbox.formats.fields import Fields, ident, optional, text
from selftaught.sandbox.formats.problem import Malformed, Problem
from selftaught.sandbox.task import FunctionTask

_PLUS_TESTS = """\
import copy
from math import inf, nan


{reference}


_expected = {entry_point}


def _near(one, other, atol):
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(_near(a, b, atol) for a, b in zip(one, other))
    try:
        return one == other or abs(one - other) <= atol + 1e-7 * abs(other)
    except TypeError:
        return False


def _floats(value):
    if isinstance(value, (list, tuple)) and value:
        return all(isinstance(one, float) for one in value)
    return isinstance(value, float)


def _assert_same(output, expected, atol):
    if output == expected:
        return
    if atol == 0 and _floats(expected):
        atol = 1e-6
    assert atol != 0 and type(output) is type(expected) and _near(output, expected, atol)


def check(candidate):
    for given in {inputs}:
        {assertion}
"""
_COMPARED = "_assert_same(candidate(*copy.deepcopy(given)), _expected(*copy.deepcopy(given)), {atol})"
_ZERO = """x = candidate(*copy.deepcopy(given))
        assert abs(sum(c * x**i for i, c in enumerate(given[0]))) <= {atol}"""
"""`find_zero` has many right answers: EvalPlus evaluates the polynomial, too."""


def recognise(fields: Fields) -> bool:
    """Return True for records of HumanEval."""
    return {"prompt", "entry_point", "test"} <= fields.keys() and not recognise_plus(fields)


def recognise_plus(fields: Fields) -> bool:
    """Return True for records of HumanEval+."""
    if not {"prompt", "entry_point"} <= fields.keys():
        return False
    return "plus_input" in fields or "def assertion(" in optional(fields, "test")


def read(fields: Fields) -> Problem:
    """Return the problem of a record.

    A completion continues the prompt. What stands there before the function (imports, functions that the tests call
    too) is the prelude, so that no solution can replace it for the tests.
    """
    name = text(fields, "entry_point")
    return _problem(fields, name, text(fields, "test"))


def read_plus(fields: Fields) -> Problem:
    """Return the problem of a record of HumanEval+.

    EvalPlus' own release has inputs and a reference that says what is expected: tests are made of both.
    """
    name = text(fields, "entry_point")
    if "plus_input" not in fields:
        return read(fields)
    if optional(fields, "task_id").startswith("Mbpp/"):
        raise Malformed("EvalPlus' release of MBPP+ lacks the types of inputs: take the dataset evalplus/mbppplus")
    inputs = [*(fields.get("base_input") or ()), *fields["plus_input"]]
    if not inputs:
        raise Malformed("there are no inputs")
    assertion = (_ZERO if name == "find_zero" else _COMPARED).format(atol=float(fields.get("atol") or 0))
    reference = text(fields, "prompt") + text(fields, "canonical_solution")
    made = _PLUS_TESTS.format(reference=reference, entry_point=name, inputs=inputs, assertion=assertion)
    return _problem(fields, name, made)


def _problem(fields: Fields, name: str, tests: str) -> Problem:
    prompt = optional(fields, "prompt")
    head = re.search(rf"^(?:async )?def {re.escape(name)}\b", prompt, re.M)
    prelude = prompt[: head.start()] if head else ""
    key = ident(fields)
    judge = FunctionTask(key, "", name, tests=tests, prelude=prelude)
    canonical = optional(fields, "canonical_solution")
    references = (prompt + canonical,) if canonical else ()
    return Problem(key, judge, prompt=prompt, references=references)
