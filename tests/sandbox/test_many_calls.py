"""Many short calls of tests: what each case uses is charged to it, limits hold over all, and a failure has its case."""

from __future__ import annotations

from selftaught.sandbox import FunctionTask, Limits, Status, Verifier

BURN = "import time\ndef burn(seconds):\n    end = time.process_time() + seconds\n"
BURN += "    while time.process_time() < end: pass\n"
SQUARE = BURN + "def square(x):\n    burn(0.06 if x == 150 else 0)\n    return x * x if x != 180 else None\n"


def numbered(numbers: range) -> str:
    """A test for each number, which calls the function twice."""
    line = "def test_{0}():\n    assert square({0}) == {0} ** 2\n    assert square(1) == 1\n"
    return "".join(line.format(number) for number in numbers)


def test_each_of_many_cases_is_charged_for_what_it_used(verifier: Verifier) -> None:
    task = FunctionTask("t", SQUARE, "square", tests=numbered(range(170)), limits=Limits(cpu_seconds=5.0))
    verdict = verifier.verify(task)
    assert verdict.accepted, verdict
    assert (verdict.passed, verdict.total) == (170, 170)
    used = [case.usage.cpu_seconds for case in verdict.cases]
    assert max(range(170), key=used.__getitem__) == 150
    assert used[150] > 0.05 > sorted(used)[-2]
    assert abs(sum(used) - verdict.usage.cpu_seconds) < 0.001


def test_the_case_that_fails_among_many_is_the_one_that_decides(verifier: Verifier) -> None:
    task = FunctionTask("t", SQUARE, "square", tests=numbered(range(200)), limits=Limits(cpu_seconds=5.0))
    verdict = verifier.verify(task)
    assert (verdict.status, verdict.decided_by, len(verdict.cases)) == (Status.REJECTED, 180, 181)


def test_many_short_calls_have_one_limit_together(verifier: Verifier) -> None:
    sol = BURN + "def square(x):\n    burn(0.002)\n    return x * x\n"
    tests = "def check(candidate):\n    for i in range(100_000):\n        assert candidate(i) == i * i"
    verdict = verifier.verify(FunctionTask("t", sol, "square", tests=tests, limits=Limits(cpu_seconds=0.4)))
    assert verdict.status is Status.TIME_LIMIT, verdict
    assert verdict.limit and verdict.limit.name == "cpu_seconds"
    assert 0.4 <= verdict.limit.observed < 0.6
