"""The solution's process answers plain calls, and goes on after calls that failed."""

from __future__ import annotations

import pytest

from selftaught.sandbox import codec
from tests.sandbox.worker.inside.pair import Solution

SOL = """
class Own: pass
class Solution:
    count = 0
    def method(self, x):
        self.count += 1
        return x + self.count
    @staticmethod
    def static(x): return x
def f(x=0, *, twice=False):
    if x == 1: raise ValueError("one")
    if x == 2: return Own()
    if x == 3: return "a" * 5000
    if x == 4: raise MemoryError
    if x == 5: return (i for i in range(3))
    if x == 6: raise SystemExit(0)
    return x * 2 if twice else x
"""


def test_a_call_returns_its_result() -> None:
    with Solution(SOL, "f") as solution:
        assert solution.ready[:1] == b"R"
        assert solution.call(7) == ("V", 7)
        assert solution.call(7, twice=True) == ("V", 14)


def test_an_iterator_is_returned_as_the_list_of_what_it_yields() -> None:
    with Solution(SOL, "f") as solution:
        assert solution.call(5) == ("V", [0, 1, 2])


@pytest.mark.parametrize(
    ("argument", "code", "text"),
    [
        (1, "S", "ValueError: one (line 11 of the solution)"),
        (2, "w", "the answer is not plain data: an instance of Own is not plain data"),
        (3, "L", "5001"),
        (4, "m", "MemoryError"),
        (6, "S", "SystemExit: 0 (line 16 of the solution)"),
    ],
)
def test_after_a_call_that_fails_the_solution_is_usable(argument: int, code: str, text: str) -> None:
    with Solution(SOL, "f", answer_bytes=1000) as solution:
        assert solution.call(argument) == (code, text)
        assert solution.call(7) == ("V", 7)


@pytest.mark.parametrize("entry_point", ["Solution.method", "Solution().method"])
def test_a_method_is_called_on_one_instance(entry_point: str) -> None:
    with Solution(SOL, entry_point) as solution:
        assert [solution.call(1) for _ in range(2)] == [("V", 2), ("V", 3)]


def test_a_static_method_needs_no_instance() -> None:
    with Solution(SOL, "Solution.static") as solution:
        assert solution.call(1) == ("V", 1)


@pytest.mark.parametrize("entry_point", ["g", "Solution.other", "len", "List", "f(", "helper"])
def test_a_missing_entry_point_is_the_solutions_fault(entry_point: str) -> None:
    with Solution(SOL, entry_point, prelude="def helper(): pass") as solution:
        assert solution.ready == b"!s" + f"the solution defines no function {entry_point}".encode()


def test_a_prelude_that_fails_is_the_tasks_fault() -> None:
    with Solution(SOL, "f", prelude="1 / 0") as solution:
        assert solution.ready == b"!pZeroDivisionError: division by zero (line 1 of the prelude)"


def test_the_solution_says_which_names_it_defines() -> None:
    head = "import math\nfrom math import gcd\nN = 1\n"
    sol = head + "class E(ValueError): pass\nclass C:\n    def m(self): pass\ndef f(): pass"
    with Solution(sol, "f", prelude="M = 2\ndef helper(): pass") as solution:
        assert codec.decode(solution.ready[1:]) == {
            "math": ("i", "math", ""),
            "gcd": ("i", "math", "gcd"),
            "N": ("v",),
            "E": ("e", ("b:ValueError",)),
            "C": ("c", ("b:object",), ("m",)),
            "f": ("f",),
        }
