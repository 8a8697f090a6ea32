"""HumanEval and HumanEval+: completions continue a prompt whose own functions no solution can replace."""

from __future__ import annotations

from typing import Any

import pytest

from selftaught.sandbox import formats
from selftaught.sandbox.formats import Malformed
from selftaught.sandbox.task import FunctionTask
from tests.sandbox.formats.judging import accepts

RECORD: dict[str, Any] = {
    "task_id": "HumanEval/900",
    "prompt": "import math\n\n\ndef double(x):\n    return 2 * x\n\n\n"
    "def root(x):\n    ''' The root of double(x). '''\n",
    "entry_point": "root",
    "canonical_solution": "    return math.sqrt(double(x))\n",
    "test": "METADATA = {}\n\n\ndef check(candidate):\n    assert candidate(8) == 4\n"
    "    assert double(candidate(8)) == 8\n",
}
PLUS = {
    "task_id": "HumanEval/901",
    "prompt": "def half(x):\n    ''' Half. '''\n",
    "entry_point": "half",
    "canonical_solution": "    return x / 2\n",
    "contract": "",
    "base_input": [[1], [3]],
    "plus_input": [[10**20], [float("inf")]],
    "atol": 0,
}
ZERO = {
    **PLUS,
    "entry_point": "find_zero",
    "prompt": "def find_zero(xs):\n    ''' A zero of the polynomial. '''\n",
    "canonical_solution": "    return -xs[0] / xs[1]\n",
    "base_input": [[[1, 2]]],
    "plus_input": [[[-6, 11, -6, 1]]],
    "atol": 0.0001,
}


def task(record: dict[str, Any], completion: str) -> FunctionTask:
    problem = formats.read(record)
    made = problem.task(problem.complete(completion))
    assert isinstance(made, FunctionTask)
    return made


def test_a_completion_continues_the_prompt() -> None:
    made = task(RECORD, "    return 4.0\n")
    assert (made.id, made.entry_point, made.tests) == ("HumanEval/900", "root", RECORD["test"])
    assert made.sol == RECORD["prompt"] + "    return 4.0\n"


def test_what_stands_before_the_function_is_the_prelude() -> None:
    assert task(RECORD, "").prelude == "import math\n\n\ndef double(x):\n    return 2 * x\n\n\n"


@pytest.mark.parametrize(
    ("completion", "right"), [(RECORD["canonical_solution"], True), ("    return x / 2\n", True), ("    pass\n", False)]
)
def test_completions_are_judged_by_the_tests(completion: str, right: bool) -> None:
    assert accepts(task(RECORD, completion)) is right


def test_the_canonical_solution_is_the_reference() -> None:
    assert formats.read(RECORD).references == (RECORD["prompt"] + RECORD["canonical_solution"],)


@pytest.mark.parametrize(
    ("completion", "right"),
    [("    return x / 2\n", True), ("    return x * 0.5000000001\n", True), ("    return x // 2\n", False)],
)
def test_evalplus_own_release_is_judged_by_its_reference(completion: str, right: bool) -> None:
    assert accepts(task(PLUS, completion)) is right


@pytest.mark.parametrize(
    ("completion", "right"), [("    return xs[0] / -xs[1] if len(xs) == 2 else 2", True), ("    return 0", False)]
)
def test_any_zero_of_a_polynomial_is_right(completion: str, right: bool) -> None:
    assert accepts(task(ZERO, completion)) is right


def test_a_record_without_tests_is_malformed() -> None:
    with pytest.raises(Malformed, match="'test' is missing"):
        formats.read({**RECORD, "test": None}, "humaneval")
    with pytest.raises(Malformed, match="must be a string, not list"):
        formats.read({**RECORD, "test": []}, "humaneval")
    with pytest.raises(Malformed, match="no inputs"):
        formats.read({**PLUS, "base_input": [], "plus_input": []})
    with pytest.raises(Malformed, match="mbppplus"):
        formats.read({**PLUS, "task_id": "Mbpp/2"})
