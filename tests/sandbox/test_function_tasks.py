"""Functions judged by tests and by cases: the solution sees arguments, and only right results are accepted."""

from __future__ import annotations

import time
from typing import Any

import pytest

from selftaught.sandbox import FunctionTask, Limits, Status, Verdict, Verifier

ADD = "def add(a, b):\n    return a + b"
LIMITS = Limits(cpu_seconds=2.0)


def by_tests(verifier: Verifier, sol: str, tests: str, entry_point: str = "add", **more: Any) -> Verdict:
    return verifier.verify(FunctionTask("t", sol, entry_point, tests=tests, **{"limits": LIMITS, **more}))


def by_cases(verifier: Verifier, sol: str, cases: list[Any], entry_point: str = "add", **more: Any) -> Verdict:
    return verifier.verify(FunctionTask("t", sol, entry_point, cases=cases, **{"limits": LIMITS, **more}))


def test_a_function_is_accepted_if_every_result_is_as_expected(verifier: Verifier) -> None:
    cases = [((1, 2), {}, 3), ((1,), {"b": 2.5}, 3.5), (([1], [2]), {}, [1, 2]), (("a", "b"), {}, "ab")]
    verdict = by_cases(verifier, ADD, cases)
    assert verdict.accepted, verdict
    assert (verdict.passed, verdict.total, verdict.isolation, verdict.phase) == (4, 4, "process", "sol")


def test_a_wrong_result_is_rejected_with_both_values(verifier: Verifier) -> None:
    verdict = by_cases(verifier, ADD, [((1, 2), {}, 3), ((1, 2), {}, 4)])
    assert (verdict.status, verdict.phase, verdict.decided_by) == (Status.REJECTED, "check", 1)
    assert "4" in verdict.message and "3" in verdict.message


def test_after_a_failure_all_cases_are_judged_on_request(verifier: Verifier) -> None:
    sol = "import os\ndef add(a, b):\n    if a == 1: 1 / 0\n    if a == 2: os._exit(0)\n    if a == 3: return add\n"
    sol += "    while a == 4: pass\n    return a + b"
    cases = [((a, 1), {}, a + 1) for a in range(6)] + [((9, 1), {}, 9)]
    verdict = by_cases(verifier, sol, cases, all_cases=True, limits=Limits(cpu_seconds=0.3))
    assert [case.status for case in verdict.cases] == [
        Status.ACCEPTED,
        Status.SOLUTION_ERROR,
        Status.CRASHED,
        Status.WRONG_TYPE,
        Status.TIME_LIMIT,
        Status.ACCEPTED,
        Status.REJECTED,
    ]
    assert (verdict.status, verdict.decided_by, verdict.passed, verdict.total) == (Status.SOLUTION_ERROR, 1, 2, 7)


def test_tests_call_the_function_and_decide(verifier: Verifier) -> None:
    tests = "def check(candidate):\n    assert candidate(1, 2) == 3\n    assert candidate(b='b', a='a') == 'ab'"
    verdict = by_tests(verifier, ADD, tests)
    assert verdict.accepted, verdict
    assert (verdict.phase, verdict.passed, verdict.total) == ("tests", 1, 1)
    wrong = by_tests(verifier, ADD.replace("+", "-"), tests)
    assert (wrong.status, wrong.phase, wrong.decided_by) == (Status.REJECTED, "tests", 0)
    assert "line 2 of the tests" in wrong.message


def test_tests_that_do_not_load_are_an_error_of_the_task(verifier: Verifier) -> None:
    for tests in ("def check(:", "import nothing_of_that_name\ndef check(candidate): pass", "1 / 0", ""):
        verdict = by_tests(verifier, ADD, tests)
        assert verdict.status is Status.TESTS_ERROR, (tests, verdict)


@pytest.mark.parametrize("add", ["return a + b", "return a - b"])
@pytest.mark.parametrize(
    "tests",
    [
        "assert add(1, 2) == 3\nassert add(2, 2) == 4, 'two and two'",
        "assert add(1, 2) is 3",  # a warning
        "assert [add(x, 0) for x in {8, 0}] == [x for x in {8, 0}]\nassert add(8, 0) in {8, 0}",  # no marshal keeps it
        "assert add(1, 2) == (",
        "def test_it():\n    'text'\n    assert add(1, 2) == 3\nclass TestIt:\n    def test(self): assert add(1, 0)",
        "",
    ],
    ids=["cases", "warning", "set", "syntax", "functions", "none"],
)
def test_a_verdict_is_the_same_when_tests_come_again(verifier: Verifier, tests: str, add: str) -> None:
    """Their code is kept then."""
    found = set()
    for _ in range(3 * verifier.workers):
        verdict = by_tests(verifier, f"def add(a, b): {add}", tests, all_cases=True)
        found.add((verdict.status, verdict.message, tuple((one.status, one.message) for one in verdict.cases)))
    assert len(found) == 1


def test_what_a_wrong_result_provokes_in_tests_counts_against_the_solution(verifier: Verifier) -> None:
    tests = "def check(candidate):\n    assert candidate(1, 2)[0] == 3"
    verdict = by_tests(verifier, ADD, tests)
    assert (verdict.status, verdict.phase) == (Status.REJECTED, "tests")
    assert "TypeError" in verdict.message


@pytest.mark.parametrize(
    ("sol", "status"),
    [
        ("def add(a, b): return None", Status.REJECTED),
        ("def add(a, b): raise ValueError('no')", Status.REJECTED),
        ("def add(a, b): 1 / 0", Status.REJECTED),
        ("def add(a, b):\n    while True: pass", Status.TIME_LIMIT),
        ("import time\ndef add(a, b): time.sleep(60)", Status.TIME_LIMIT),
        ("def add(a, b): return bytearray(1 << 31)", Status.MEMORY_LIMIT),
        ("import os\ndef add(a, b): os._exit(0)", Status.CRASHED),
        ("import socket\ndef add(a, b): return socket.socket()", Status.FORBIDDEN),
        ("def add(a, b): return object()", Status.WRONG_TYPE),
        ("def add(a, b):\n    while True: print('x' * 100000)", Status.OUTPUT_LIMIT),
        ("def add(a, b) return a + b", Status.SOLUTION_ERROR),
        ("import nothing_of_that_name", Status.SOLUTION_ERROR),
        ("def plus(a, b): return a + b", Status.SOLUTION_ERROR),
        ("raise SystemExit(0)", Status.SOLUTION_ERROR),
        ("import os; os._exit(0)", Status.CRASHED),
    ],
)
def test_a_solution_that_fails_is_told_by_how(verifier: Verifier, sol: str, status: Status) -> None:
    limits = Limits(cpu_seconds=0.5, wall_seconds=2.0, memory_bytes=256 << 20)
    verdict = by_tests(verifier, sol, "def check(candidate):\n    assert candidate(1, 2) == 3", limits=limits)
    assert verdict.status is status, verdict


def test_each_side_has_limits_of_its_own_and_the_verdict_names_the_side(verifier: Verifier) -> None:
    spin = "import time\nend = time.process_time() + 0.35\nwhile time.process_time() < end: pass\n"
    slow = "def check(candidate):\n    assert candidate(1, 2) == 3\n" + "".join(
        f"    {line}\n" for line in spin.split("\n")
    )
    both = by_tests(verifier, spin + ADD, slow, limits=Limits(cpu_seconds=0.6))
    assert both.accepted, both
    endless = "def check(candidate):\n    while candidate(1, 2) == 3: pass"
    ours = by_tests(verifier, ADD, endless, limits=Limits(0.3, wall_seconds=60))
    assert (ours.status, ours.limit and ours.limit.name) == (Status.TIME_LIMIT, "cpu_seconds")
    theirs = by_tests(
        verifier,
        ADD,
        "def check(candidate):\n    candidate(1, 2)\n    while 1: pass",
        limits=Limits(0.3, wall_seconds=60),
    )
    assert (theirs.status, theirs.phase) == (Status.TIME_LIMIT, "tests")


@pytest.mark.parametrize(
    ("wait", "limits", "limit"),
    [("pass", Limits(0.3, wall_seconds=60), "cpu_seconds"), ("time.sleep(0.001)", Limits(9, 1.0), "wall_seconds")],
    ids=["CPU time", "elapsed time"],
)
@pytest.mark.parametrize("all_cases", [False, True], ids=["first failure", "all cases"])
def test_calls_without_end_are_ended_at_the_limit(
    verifier: Verifier, wait: str, limits: Limits, limit: str, all_cases: bool
) -> None:
    """Each call is short: a limit is to be looked at between them too."""
    sol = f"import time\ndef add(a, b):\n    {wait}\n    return a + b"
    endless = "def test_it():\n    while add(1, 2) == 3: pass"
    began = time.monotonic()
    verdict = by_tests(verifier, sol, endless, limits=limits, all_cases=all_cases)
    assert (verdict.status, verdict.limit and verdict.limit.name) == (Status.TIME_LIMIT, limit)
    assert time.monotonic() - began < 10 and verdict.usage.cpu_seconds < 2


def test_state_of_the_solution_lasts_from_call_to_call_and_not_to_the_next_task(verifier: Verifier) -> None:
    sol = "calls = []\ndef add(a, b):\n    calls.append(a)\n    return len(calls)"
    tests = "def check(candidate):\n    assert [candidate(0, 0) for _ in range(3)] == [1, 2, 3]"
    for _ in range(3):
        assert by_tests(verifier, sol, tests).accepted


def test_shared_isolation_gives_tests_the_very_objects_and_is_named(verifier: Verifier) -> None:
    tests = "import unittest.mock\nassert isinstance(Point(1), Point) and Point(1) == Point(1)\nassert add is add"
    sol = "class Point:\n    def __init__(self, x): self.x = x\n    def __eq__(self, other): return self.x == other.x\n"
    verdict = by_tests(verifier, sol + ADD, tests, isolation="shared")
    assert verdict.accepted, verdict
    assert (verdict.isolation, verdict.phase) == ("shared", "shared")
    early = by_tests(verifier, "import os; os._exit(0)", tests, isolation="shared")
    assert (early.status, early.isolation) == (Status.CRASHED, "shared")


def test_many_calls_and_large_arguments_pass_through(verifier: Verifier) -> None:
    tests = "def check(candidate):\n    for i in range(500):\n        assert candidate(i, 1) == i + 1\n"
    tests += "    big = list(range(100_000))\n    assert candidate(big, big) == big + big"
    verdict = by_tests(verifier, ADD, tests)
    assert verdict.accepted, verdict


@pytest.mark.parametrize("isolation", ["process", "shared"])
@pytest.mark.parametrize(
    "tests",
    [
        "def check(candidate):\n    assert candidate(1, 2) == 3",
        "def test_sum():\n    assert add(1, 2) == 3",
        "import unittest\nclass TestSum(unittest.TestCase):\n    def test_sum(self):\n        assert add(1, 2) == 3",
    ],
)
def test_a_solution_can_not_skip_its_tests(verifier: Verifier, tests: str, isolation: str) -> None:
    sol = "import unittest\ndef add(a, b): raise unittest.SkipTest('later')"
    assert by_tests(verifier, sol, tests, isolation=isolation).status is Status.REJECTED
    skipping = "import unittest\ndef check(candidate):\n    raise unittest.SkipTest('later')"
    assert by_tests(verifier, ADD, skipping, isolation=isolation).accepted


def test_all_cases_of_shared_tests_are_judged_on_request(verifier: Verifier) -> None:
    tests = "".join(f"def test_{n}():\n    assert add({n}, 1) == {n + 1}\n" for n in range(4))
    sol = "def add(a, b): return a + b if a % 2 else a"
    verdict = by_tests(verifier, sol, tests, isolation="shared", all_cases=True)
    assert [case.status for case in verdict.cases] == [Status.REJECTED, Status.ACCEPTED] * 2
    assert (verdict.isolation, verdict.passed, verdict.total, verdict.decided_by) == ("shared", 2, 4, 0)
    assert by_tests(verifier, ADD, tests, isolation="shared", all_cases=True).accepted


def test_a_result_above_the_limit_is_an_output_limit_with_its_size(verifier: Verifier) -> None:
    limits = Limits(answer_bytes=1000)
    verdict = by_tests(verifier, "def add(a, b): return 'x' * 5000", "assert add(1, 2)", limits=limits)
    assert (verdict.status, verdict.limit and verdict.limit.name) == (Status.OUTPUT_LIMIT, "answer_bytes"), verdict
