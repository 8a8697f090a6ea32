"""Solution and tests in one process (``isolation="shared"``): for tests that need the solution's very objects.

A solution can cheat here. What is made sure is that the end of the tests is reported by this code, after the last one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from struct import Struct

from selftaught.sandbox.worker.inside import pytest_standin, relay_data
from selftaught.sandbox.worker.inside.cases import NOT_LOADED, CaseRunner
from selftaught.sandbox.worker.inside.failure import describe
from selftaught.sandbox.worker.inside.relay import NO_CASE
from selftaught.sandbox.worker.inside.solution import Solution
from selftaught.sandbox.worker.inside.test_source import Pieces, compile_tests, names_in

_HEAD, _FAILED = Struct("<II"), Struct("<Ic")


def run_shared(
    tests: bytes | Pieces, payload: bytes, exchange: Callable[[bytes], bytes] | None = None
) -> tuple[bytes, bytes]:
    """Run tests and solution in one namespace. Return code and text of the report.

    Args:
        tests: source of the tests, or what `compile_tests` makes of it.
        payload: encoding of (prelude, entry point, solution, whether to go on after a failure).
        exchange: sends a message and returns the answer; without it the first failure is the end.
    """
    prelude, entry_point, sol, all_cases = relay_data.decode(payload)
    solution = Solution()
    blamed = NOT_LOADED
    try:
        pieces = compile_tests(tests) if isinstance(tests, bytes) else tests
        solution.load_prelude(prelude.encode("utf-8", "surrogatepass"))
        blamed = b"s"
        solution.load(sol.encode("utf-8", "surrogatepass"), entry_point)
    except BaseException as error:
        code, text = describe(blamed, error)
        return b"E", _HEAD.pack(0, NO_CASE) + code + text
    sys.modules["pytest"] = pytest_standin.module(None)

    def report(case: int, code: bytes, text: bytes) -> None:
        if exchange is not None:
            exchange(b"F" + _FAILED.pack(case, code) + text)

    uses_solution = not names_in(pieces).isdisjoint(solution.kinds())
    runner = CaseRunner(None, 0, report if all_cases and exchange is not None else None, uses_solution)
    return runner.run(pieces, solution.scope, lambda: solution.entry)
