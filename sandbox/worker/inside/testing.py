"""The tests' process: load tests with stand-ins for what the solution defines, run their cases, report."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from selftaught.sandbox import codec
from selftaught.sandbox.worker.inside import pytest_standin, relay_data
from selftaught.sandbox.worker.inside.cases import FAILED, NOT_LOADED, CaseRunner, not_loaded
from selftaught.sandbox.worker.inside.failure import describe
from selftaught.sandbox.worker.inside.from_tests import FromTests, SolutionModule, checked_kinds, is_offered
from selftaught.sandbox.worker.inside.relay import Relay
from selftaught.sandbox.worker.inside.solution import MODULE, classes_in
from selftaught.sandbox.worker.inside.source import compile_and_marshal, compile_source, new_scope
from selftaught.sandbox.worker.inside.test_source import Pieces, compile_tests, names_in

TESTS = "__tests__"
"""Name of the module that tests are."""


def run_tests(
    tests: bytes | Pieces, payload: bytes, exchange: Callable[[bytes], bytes], most_code_bytes: int | None = None
) -> tuple[bytes, bytes]:
    """Run tests against a solution in another process. Return code and text of the report.

    Args:
        tests: their source, or what `compile_tests` makes of it.
        payload: encoding of (prelude, entry point, kinds of names (`solution`), whether to go on after a failure, the
            first case to run).
        exchange: sends a message and returns the answer.
        most_code_bytes: send the code of the tests first, if it is no longer; None: don't.
    """
    if most_code_bytes is not None and isinstance(tests, bytes):
        pieces, code = compile_and_marshal(tests, compile_tests)
        exchange(b"C" + (code if len(code) <= most_code_bytes else b""))
        tests = pieces or tests
    prelude, entry_point, kinds, all_cases, first_case = relay_data.decode(payload)
    try:
        pieces = compile_tests(tests) if isinstance(tests, bytes) else tests
        scope, candidate, relay = _prepare(pieces, prelude, entry_point, kinds, exchange)
    except codec.Malformed as error:
        return not_loaded(FAILED, str(error).encode())
    except BaseException as error:
        return not_loaded(*describe(NOT_LOADED, error))
    return CaseRunner(relay, first_case, exchange if all_cases else None).run(pieces, scope, candidate)


def _prepare(
    pieces: Pieces, prelude: str, entry_point: str, kinds: dict[str, Any], exchange: Callable[[bytes], bytes]
) -> tuple[dict[str, Any], Callable[[], Any], Relay]:
    """Return the namespace of tests, a function that returns the candidate, and the relay."""
    scope = new_scope(TESTS)
    scope["__file__"] = TESTS + ".py"
    if prelude:
        exec(compile_source(prelude.encode("utf-8", "surrogatepass"), "<prelude>"), scope)
    kinds = checked_kinds(kinds)
    relay = Relay(exchange)
    side = FromTests(relay, kinds, entry_point, classes_in(scope, TESTS))
    own = scope.copy()
    live = set()
    for name in names_in(pieces) & kinds.keys():
        if name != entry_point and (name in own or not is_offered(name, kinds[name])):
            continue
        if side.is_live(name):
            live.add(name)
        else:
            scope[name] = side.named(name)
    sys.modules[MODULE] = SolutionModule(side, relay, kinds)
    sys.modules["pytest"] = pytest_standin.module(relay)
    if live:
        scope = _LiveScope(scope, live, relay)
    return scope, side.candidate, relay


class _LiveScope(dict[str, Any]):
    """A namespace in which some names stand for values of the solution, read whenever they are needed."""

    def __init__(self, scope: dict[str, Any], live: set[str], relay: Relay) -> None:
        super().__init__(scope)
        self._live, self._relay = live, relay
        self._last: dict[str, tuple[bytes, Any]] = {}

    def copy(self) -> dict[str, Any]:
        return dict(self)

    def __missing__(self, name: str) -> Any:
        if name not in self._live:
            raise KeyError(name)
        value = self._relay.get("", name)
        try:
            encoding = relay_data.encode(value, 1 << 20)
        except ValueError:  # not plain, or too large to be compared
            return value
        if name in self._last and self._last[name][0] == encoding:
            return self._last[name][1]  # the same object as long as the value is the same
        self._last[name] = encoding, value
        return value
