"""Run the cases of tests one by one, and say of each failure whose fault it is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from struct import Struct
from typing import Any

from selftaught.sandbox import codec, wire
from selftaught.sandbox.worker.inside import failure, pytest_standin
from selftaught.sandbox.worker.inside.collection import collect
from selftaught.sandbox.worker.inside.failure import LoadError
from selftaught.sandbox.worker.inside.relay import NO_CASE, Relay
from selftaught.sandbox.worker.inside.test_source import CASE, Pieces

PASSED, FAILED, LACKS_MEMORY, NOT_LOADED, ENDED = b"T", b"a", b"n", b"p", b"-"
"""Codes of reports. `ENDED`: the solution's process has ended, and the supervisor knows why."""
_HEAD, _FAILED = Struct("<IIc"), Struct("<Ic")
_builtins, _modules = vars(sys.modules["builtins"]).copy(), sys.modules
Failure = tuple[bytes, bytes]


def not_loaded(code: bytes, text: bytes) -> tuple[bytes, bytes]:
    """Return code and text of the report that no case has run, for this reason."""
    return b"E", _HEAD.pack(0, NO_CASE, code) + text


class CaseRunner:
    """Run cases and report what fails.

    Attributes:
        total: how many cases there are, as far as is known.
    """

    def __init__(
        self,
        relay: Relay | None,
        first_case: int,
        send: Callable[[bytes], object] | None,
        uses_solution: Callable[[], bool] = lambda: False,
    ) -> None:
        """Args:
        relay: the connection to the solution, if it is in another process.
        first_case: cases before this one are not run.
        send: sends a message of each case that fails; if None, the first failure is the end.
        uses_solution: returns whether the tests read a name of a solution in the same process.
        """
        self.total = 0
        self._relay, self._first, self._send = relay, first_case, send
        self._uses_solution = uses_solution
        self._next = 0
        self._result: tuple[int, bytes, bytes] | None = None

    def run(self, pieces: Pieces, scope: dict[str, Any], candidate: Callable[[], Any]) -> tuple[bytes, bytes]:
        """Run all cases. Return code and text of the report.

        Args:
            pieces: the compiled tests.
            scope: their namespace.
            candidate: returns what ``check`` is handed.
        """
        before = scope.copy()
        self.total = at_top = sum(kind == CASE for kind, _ in pieces)
        if self._relay:
            self._relay.begin(self._first)
        for kind, code in pieces:
            if kind == CASE:
                self._case(lambda code=code: exec(code, scope))  # type: ignore[misc]
            else:
                self._load(lambda code=code: exec(code, scope))  # type: ignore[misc]
            if self._result:
                return self._end()
        if not at_top:
            self._load(lambda: self._run_collected(collect(scope, before, candidate)))
        return self._end()

    def _run_collected(self, cases: Iterator[Callable[[], object]]) -> None:
        ready = [*cases]
        self.total = len(ready)
        if not ready and not (self._relay.calls if self._relay else self._uses_solution()):
            raise LoadError("the tests have no case")
        self.total = self.total or 1  # the statements at the top level are one, if they call the solution
        for case in ready:
            self._case(case)
            if self._result:
                return

    def _load(self, call: Callable[[], object]) -> None:
        """Run what belongs to no case. A failure is the end, and the solution's only if it was called."""
        found = self._failure(call)
        if found and not self._result:
            case = NO_CASE if found[0] == NOT_LOADED else min(self._next, max(self.total - 1, 0))
            self._result = case, *found

    def _case(self, call: Callable[[], object]) -> None:
        number = self._next
        self._next += 1
        if number < self._first:
            return
        if self._relay:
            self._relay.begin(number)
        found = self._failure(call)
        if found is None:
            return
        if self._send is None:
            self._result = number, *found
        elif found[0] != ENDED:
            code, text = found
            self._send(b"F" + _FAILED.pack(number, code) + text)

    def _failure(self, call: Callable[[], object]) -> Failure | None:
        """Call. Return code and text of the failure, or None."""
        relay, found = self._relay, None
        try:
            call()
        except pytest_standin.Skipped:
            pass
        except BaseException as error:
            found = self._describe(error)
        if relay and relay.failure:
            code, text = relay.failure
            return code or ENDED, text.encode("utf-8", "backslashreplace")[: wire.TEXT_BYTES]
        return found

    def _describe(self, error: BaseException) -> Failure | None:
        if _skips(error):
            return None
        relay = self._relay
        if relay is None:
            blamed = FAILED if self._next or _is_from_solution(error) else NOT_LOADED
        else:
            blamed = FAILED if relay.calls or isinstance(error, codec.Malformed) else NOT_LOADED
        if isinstance(error, LoadError) or (_lacks_import(error) and not _is_from_solution(error)):
            blamed = NOT_LOADED
        elif blamed == NOT_LOADED and _lacks_name(error):
            blamed = FAILED
        code, text = failure.describe(blamed, error)
        if relay and error is relay.raised:
            return FAILED, text
        return (code if code == blamed else LACKS_MEMORY), text

    def _end(self) -> tuple[bytes, bytes]:
        case, code, text = self._result or (NO_CASE, PASSED, b"")
        return b"E", _HEAD.pack(self.total, case, code) + text


def _skips(error: BaseException) -> bool:
    """Return True if the tests skip the case. A solution can't: not even in one process with them."""
    unittest_case: Any = _modules.get("unittest.case")
    is_skip = unittest_case is not None and isinstance(error, unittest_case.SkipTest)
    return is_skip and not _is_from_solution(error)


def _is_from_solution(error: BaseException) -> bool:
    """Return True if the solution raised the exception, or an assertion failed, in the same process."""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<solution>":
            return True
        trace = trace.tb_next
    return type(error) is AssertionError


def _lacks_import(error: BaseException) -> bool:
    """Return True if the tests read a module that they should have imported."""
    return type(error) is NameError and error.name in sys.stdlib_module_names


def _lacks_name(error: BaseException) -> bool:
    """Return True if the tests read a name that the solution should have defined."""
    if type(error) is NameError:
        return bool(error.name) and error.name not in _builtins
    if isinstance(error, ImportError):
        return error.name == "solution"
    return isinstance(error, AttributeError) and error.obj is _modules.get("solution")
