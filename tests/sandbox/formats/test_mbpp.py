"""MBPP: asserts that call a function, and setup code that may need the solution's own classes."""

from __future__ import annotations

from typing import Any

import pytest

from selftaught.sandbox import formats
from selftaught.sandbox.formats import Malformed
from selftaught.sandbox.task import FunctionTask
from tests.sandbox.formats.judging import accepts

RECORD: dict[str, Any] = {
    "text": "Write a function to double a number.",
    "code": "def helper(x):\r\n\treturn x\r\ndef double(x):\r\n\treturn 2 * helper(x)",
    "task_id": 2000,
    "test_setup_code": "",
    "test_list": ["assert set([double(2)]) == {4}", "assert double(3) == 6"],
    "challenge_test_list": ["assert double(0.5) == 1"],
}
SANITIZED = {
    "source_file": "x",
    "task_id": 2001,
    "prompt": "Write a function to find the root.",
    "code": "import math\ndef root(x):\n    return math.sqrt(x)",
    "test_imports": ["import math"],
    "test_list": ["assert math.isclose(root(4), 2.0)"],
}
OWN_CLASS = {
    **RECORD,
    "code": "class Node:\n    def __init__(self, x): self.x = x\ndef value(node):\n    return node.x",
    "test_setup_code": "root = Node(1)\r\nroot.x = 2",
    "test_list": ["assert value(root) == 2"],
    "challenge_test_list": [],
}
PLUS = {
    **SANITIZED,
    "test": "import math\n\ndef assertion(out, exp, atol):\n    assert math.isclose(out, exp)\n\n\n"
    "inputs = [[4], [9]]\n"
    "results = [2, 3]\nfor i, (inp, exp) in enumerate(zip(inputs, results)):\n    assertion(root(*inp), exp, 0)\n",
}


def task(record: dict[str, Any], solution: str, form: str = "auto") -> FunctionTask:
    made = formats.read(record, form).task(solution)
    assert isinstance(made, FunctionTask)
    return made


def test_the_asserts_are_the_tests_of_the_function_that_they_call() -> None:
    made = task(RECORD, "x")
    assert (made.id, made.sol, made.entry_point) == ("2000", "x", "double")
    assert made.tests == "assert set([double(2)]) == {4}\nassert double(3) == 6\n"
    assert made.isolation == "process"


@pytest.mark.parametrize("form", ["mbpp", "mbpp-challenge"])
def test_right_is_what_the_asserts_accept(form: str) -> None:
    assert accepts(task(RECORD, RECORD["code"], form))
    assert accepts(task(RECORD, "double = lambda x: int(x) + int(x)", form)) is (form == "mbpp")
    assert not accepts(task(RECORD, "double = abs", form))


def test_imports_of_the_tests_are_the_prelude() -> None:
    assert task(SANITIZED, "").prelude == "import math\n"
    assert task(SANITIZED, "").entry_point == "root"
    assert accepts(task(SANITIZED, SANITIZED["code"]))


def test_setup_code_that_uses_the_solution_runs_beside_it() -> None:
    made = task(OWN_CLASS, OWN_CLASS["code"])
    assert (made.isolation, made.prelude) == ("shared", "")
    assert accepts(made)


@pytest.mark.parametrize(("solution", "right"), [(SANITIZED["code"], True), ("def root(x): return 2", False)])
def test_the_loop_of_mbpp_plus_is_judged(solution: str, right: bool) -> None:
    made = task(PLUS, solution)
    assert made.tests is not None and "def check(candidate)" in made.tests
    assert accepts(made) is right


def test_a_record_without_asserts_is_malformed() -> None:
    for wrong, reason in (
        ([], "empty"),
        (["x = 1"], "calls a function"),
        (["assert ("], "can't be parsed"),
        ([1], "list"),
    ):
        with pytest.raises(Malformed, match=reason):
            formats.read({**RECORD, "test_list": wrong})
