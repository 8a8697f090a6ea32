"""KodCode and LeetCode: tests in pytest's style, and `check(candidate)` with what LeetCode provides."""

from __future__ import annotations

from typing import Any

import pytest

from selftaught.sandbox import formats
from selftaught.sandbox.formats import Malformed
from selftaught.sandbox.task import FunctionTask
from tests.sandbox.formats.judging import accepts

KODCODE: dict[str, Any] = {
    "question_id": "Filter_7_I",
    "question": "Add.",
    "solution": "def add(a, b):\n    return a + b",
    "test": "from solution import add as plus\n\n\ndef test_small():\n    assert plus(1, 2) == 3\n",
    "test_info": [{"function_name": "add", "parameter_list": "(a, b)"}],
}
LEETCODE: dict[str, Any] = {
    "problem": "?",
    "solutions": "class Solution:\n    def depth(self, root: Optional[TreeNode]) -> int:\n"
    "        return root and 1 + max(map(self.depth, (root.left, root.right))) or 0\n",
    "tests": {
        "functional": "def check(candidate):\n    assert candidate(root = tree_node([1,None,2,3])) == 3\n"
        "    assert candidate(root = tree_node([])) == 0\n\n\ncheck(Solution().depth)"
    },
}
DATASET = {
    "task_id": "two-sum",
    "prompt": "from typing import *\n\ninf = 1\n",
    "entry_point": "Solution().add",
    "completion": "class Solution:\n    def add(self, a: List[int]) -> int:\n        return sum(a) + inf\n",
    "test": "def check(candidate):\n    assert candidate(a = [1, 2]) == 4\n",
}


def task(record: dict[str, Any], solution: str) -> FunctionTask:
    made = formats.read(record).task(solution)
    assert isinstance(made, FunctionTask)
    return made


@pytest.mark.parametrize(
    "change", [{}, {"test_info": None}, {"test_info": '{"function_name": "add"}'}, {"test_info": "?"}]
)
def test_kodcodes_tests_find_the_solution_without_importing_it(change: dict[str, Any]) -> None:
    made = task({**KODCODE, **change}, KODCODE["solution"])
    assert (made.id, made.entry_point) == ("Filter_7_I", "add")
    assert accepts(made)
    assert not accepts(task({**KODCODE, **change}, "def add(a, b):\n    return a"))


def test_kodcodes_tests_may_be_in_test_code() -> None:
    record = {key: value for key, value in KODCODE.items() if key != "test"}
    assert formats.recognise({**record, "test_code": KODCODE["test"]}) == "kodcode"


def test_kodcode_without_a_function_is_malformed() -> None:
    with pytest.raises(Malformed, match="call no function"):
        formats.read({"question_id": 1, "test": "def test():\n    assert True", "test_info": []})


@pytest.mark.parametrize("write", [dict, repr])
def test_leetcodes_tests_name_the_method(write: Any) -> None:
    record = {**LEETCODE, "tests": write(LEETCODE["tests"])}
    made = task(record, LEETCODE["solutions"])
    assert made.entry_point == "Solution.depth"
    assert made.tests is not None and "check(Solution" not in made.tests
    assert accepts(made)
    assert not accepts(task(record, "class Solution:\n    def depth(self, root):\n        return 3\n"))


def test_leetcode_provides_trees_and_lists() -> None:
    scope: dict[str, Any] = {}
    exec(task(LEETCODE, "").prelude, scope)
    tree, linked = scope["tree_node"], scope["list_node"]
    root = tree([5, 1, 4, None, None, 3, 6])
    assert (root.val, root.left.val, root.left.left, root.right.left.val, root.right.right.val) == (5, 1, None, 3, 6)
    assert (linked([1, 2]).next.val, linked([]), tree([])) == (2, None, None)
    assert scope["is_same_tree"](root, tree([5, 1, 4, None, None, 3, 6])) and scope["is_same_tree"](None, None)
    assert not scope["is_same_tree"](root, tree([5, 1, 4, None, None, 3]))
    assert scope["is_same_list"](linked([1, 2]), linked([1, 2])) and scope["is_same_list"](None, None)
    assert not scope["is_same_list"](linked([1, 2]), linked([1])) and not scope["is_same_list"](None, linked([1]))
    assert scope["pow"](2, 3, 5) == 3


def test_leetcode_dataset_brings_its_own_prelude() -> None:
    made = task(DATASET, DATASET["completion"])
    assert (made.id, made.entry_point, made.prelude) == ("two-sum", "Solution.add", DATASET["prompt"])
    assert formats.recognise(DATASET) == "leetcode"
    assert accepts(made)


def test_leetcode_without_a_method_is_malformed() -> None:
    for tests, reason in (({"functional": "x = 1"}, "must end in"), ({}, "must have the tests")):
        with pytest.raises(Malformed, match=reason):
            formats.read({"tests": tests}, "leetcode")
