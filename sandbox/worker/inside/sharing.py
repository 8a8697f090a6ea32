"""Solution and tests in one process (``isolation="shared"``): for tests that need the solution's very objects.

A solution can cheat here. What is made sure is that the end of the tests is reported by this code, after the last one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from selftaught.sandbox.worker.inside import pytest_standin, relay_data
from selftaught.sandbox.worker.inside.cases import NOT_LOADED, CaseRunner, not_loaded
from selftaught.sandbox.worker.inside.failure import describe
from selftaught.sandbox.worker.inside.solution import Solution
from selftaught.sandbox.worker.inside.test_source import Pieces, compile_tests, names_read


def run_shared(tests: bytes | Pieces, payload: bytes, exchange: Callable[[bytes], bytes]) -> tuple[bytes, bytes]:
    """Run tests and solution in one namespace. Return code and text of the report.

    Args:
        tests: source of the tests, or what `compile_tests` makes of it.
        payload: encoding of (prelude, entry point, solution, whether to go on after a failure).
        exchange: sends a message and returns the answer.
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
        return not_loaded(*describe(blamed, error))
    sys.modules["pytest"] = pytest_standin.module(None)
    defined = {*solution.kinds()}  # before tests define names in the same namespace
    runner = CaseRunner(None, 0, exchange if all_cases else None, lambda: not names_read(pieces).isdisjoint(defined))
    return runner.run(pieces, solution.scope, lambda: solution.entry)
