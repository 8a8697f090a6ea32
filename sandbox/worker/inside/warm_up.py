"""Run samples of what children do, which fills the interpreter's caches: a child then runs faster and writes to fewer
pages.

The interpreter specialises the code of a function that has been called often (PEP 659). In a process that is put back
after each task, or forked for it, no function ever comes to that, and each call writes to its counters.
"""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Callable, Sequence

from selftaught.sandbox.worker.inside import checking, phase, relay_data, serving, testing
from selftaught.sandbox.worker.inside.solution import MODULE, Solution
from selftaught.sandbox.worker.inside.test_source import compile_tests

_BYTES = 1 << 20
"""Largest encoding of anything in a sample."""
_HEAD = 5
"""Length of what stands before a request of the tests: a code, and the number of the case."""
_MODULES = MODULE, testing.TESTS, checking.MODULE, "pytest"
_ROUNDS, _ROUNDS_OF_PUZZLES = 10, 40
"""How often each sample runs. More rounds of tests and cases leave as many pages to write, and take a worker's start
0.7 ms each.
"""
_encode = relay_data.encode

SESSIONS: tuple[tuple[bytes, bytes, Sequence[tuple[object, ...]]], ...] = (
    (
        b"def f(a, b=[]):\n    return a + len(b)",
        b"assert f(1) == 1\nassert f(2, [1, 2]) == 4\nassert f(3, b=[5]) == 4",
        [((1,), {}), ((2, [1, 2]), {})],
    ),
    (
        b"from typing import *\n\ndef f(text: str) -> List[str]:\n    return [word.upper() for word in text.split()]",
        b"def check(candidate):\n    assert candidate('ab c') == ['AB', 'C']\n    assert not candidate('')\n\ncheck(f)",
        [(("ab c",), {})],
    ),
    (
        b"def f(pairs):\n    return tuple(sorted(pairs)), {'n': 1.5}, None, True",
        b"assert f([(2, 'b'), (1, 'a')])[0] == ((1, 'a'), (2, 'b'))\nassert f(((1, 2),))[1] == {'n': 1.5}",
        [(([(2, "b"), (1, "a")],), {})],
    ),
)
"""Solutions, tests that they pass, and arguments of calls whose results are compared."""
_CHECKERS: tuple[tuple[bytes, str, Sequence[tuple[object, ...]]], ...] = (
    (b"", "exact", [(((1,), {}), [1, 2], [1, 2]), ("1\n", "2\n", "3\n")]),
    (b"def check(input, output, expected):\n    return output == expected", "exact", [("1\n", "2\n", "2\n")]),
)
"""Checkers, comparisons, and cases: input, output, and what is expected."""


class _Enough(BaseException):
    """Ends a session."""


def run() -> None:
    """Run all samples."""
    streams, modules = (sys.stdout, sys.stderr), {name: sys.modules.get(name) for name in _MODULES}
    with warnings.catch_warnings():
        for _ in range(_ROUNDS):
            for sol, tests, calls in SESSIONS:
                _run_session(sol, tests, calls)
            for checker, compare, cases in _CHECKERS:
                settings, requests = _encode((compare,), _BYTES), [_encode(case, _BYTES) for case in cases]
                _end_with(requests, functools.partial(checking.check, checker, settings))
    serving.PRINTED.forget()
    sys.stdout, sys.stderr = streams
    for name, module in modules.items():
        if module is None:
            sys.modules.pop(name, None)
        else:
            sys.modules[name] = module
    phase.warm_up(_ROUNDS_OF_PUZZLES)  # last: what both call is specialised for puzzles


def _run_session(sol: bytes, tests: bytes, calls: Sequence[tuple[object, ...]]) -> None:
    """Run tests against a solution in this process; then the solution's side of that, and calls of cases, alone."""
    solution = Solution()
    solution.load(sol, "f")
    answer, requests = serving.RelayedCalls(solution, _BYTES).answer, list[bytes]()

    def exchange(message: bytes) -> bytes:
        requests.append(b"X" + message[_HEAD:])
        return answer(requests[-1])

    testing.run_tests(compile_tests(tests), _encode(("", "f", solution.kinds(), False, 0), _BYTES), exchange)
    requests += [b"C" + _encode(call, _BYTES) for call in calls]
    served = _encode(("f", sol.decode()), _BYTES)
    _end_with(requests, functools.partial(serving.serve, b"", served, _BYTES))


def _end_with(requests: Sequence[bytes], session: Callable[[Callable[[bytes], bytes]], object]) -> None:
    """Run a session that gets these messages, and ends when there are no more."""
    left = iter(requests)

    def exchange(message: bytes) -> bytes:
        for request in left:
            return request
        raise _Enough

    try:
        session(exchange)
    except _Enough:
        pass
