"""Find the cases in loaded tests: test functions, methods of test classes, or ``check``."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from functools import partial
from inspect import CO_COROUTINE
from types import FunctionType
from typing import Any

from selftaught.sandbox.worker.inside.failure import FILES, LoadError
from selftaught.sandbox.worker.inside.fixtures import Fixtures, check_result, parameters_of, value_of
from selftaught.sandbox.worker.inside.hooks import Case, Module, around, call
from selftaught.sandbox.worker.inside.marks import expected_failure, sets_of
from selftaught.sandbox.worker.inside.pytest_standin import Failed, Fixture, Mark, Parameters, Skipped, marks_of

_Made = tuple[Any, Any, Case]
_NOT_OURS = {file for file in FILES if file != "<tests>"}


def collect(scope: dict[str, Any], before: dict[str, Any], candidate: Callable[[], Any]) -> Iterator[Case]:
    """Yield the cases of tests.

    Args:
        scope: their namespace.
        before: what was in it before they were loaded.
        candidate: returns what ``check`` is handed.
    """
    own = {name: value for name, value in scope.items() if value is not before.get(name)}
    fixtures, module = Fixtures({one.name: one for one in own.values() if isinstance(one, Fixture)}), Module(scope)
    marks = marks_of(own)
    cases = [case for name, value in own.items() for case in _of_name(name, value, own, fixtures, marks)]
    if cases:

        def tear_down() -> None:
            fixtures.finish()
            call(own.get("teardown_module") or own.get("tearDownModule"), module)

        yield from around(cases, lambda: call(own.get("setup_module") or own.get("setUpModule"), module), tear_down)
        return
    check: Any = own.get("check")
    if _is_function(check):
        arguments = (candidate(),) if parameters_of(check) else ()
        yield lambda: check_result(check(*arguments))


def _of_name(name: str, value: Any, own: dict[str, Any], fixtures: Fixtures, marks: list[Mark]) -> Iterator[Case]:
    """Return the cases of what has this name in tests."""
    if isinstance(value, type):
        return _of_class(name, value, fixtures, marks)
    if not (name.startswith("test") and _is_function(value) and getattr(value, "__test__", True)):
        return iter(())

    def make() -> _Made:
        call(own.get("setup_function"), value)
        return None, value, partial(call, own.get("teardown_function"), value)

    return _of_function(value, fixtures, marks, make)


def _is_function(value: Any) -> bool:
    return isinstance(value, FunctionType) and value.__code__.co_filename not in _NOT_OURS


def _of_function(
    function: Any, fixtures: Fixtures, outer_marks: list[Mark], make: Callable[[], _Made]
) -> Iterator[Case]:
    """Yield the cases of a test function, one for each set of its parameters.

    Args:
        function: the test.
        fixtures: those that it may use.
        outer_marks: marks of its class and module.
        make: sets up the test. Returns the instance that it is a method of, or None; the test; and its tear-down.
    """
    marks = [*outer_marks, *marks_of(function)]
    sets = [sets_of(mark, fixtures) for mark in marks if mark.name == "parametrize"]
    used = [name for mark in marks if mark.name == "usefixtures" for name in mark.args] + parameters_of(function)
    for name in {name for one in sets for first in one[:1] for name in first.given}.difference(fixtures.needed(used)):
        raise LoadError(f"{function.__name__} takes no {name}")
    indirect = {name for one in sets for first in one[:1] for name in first.chosen}
    choices = [[(name, one) for one in chosen] for name, chosen in fixtures.parametrized(used) if name not in indirect]
    if not all(sets):
        yield _skip
    for combination in itertools.product(*reversed(sets)):
        given = {name: value for one in combination for name, value in one.given.items()}
        asked = {name: value for one in combination for name, value in one.chosen.items()}
        for picked in itertools.product(*choices):
            chosen = asked | {name: (key, value_of(one)) for name, (key, one) in picked}
            own_marks = [*marks, *(mark for one in combination for mark in one.marks)]
            own_marks += [mark for _, (_, one) in picked if isinstance(one, Parameters) for mark in one.marks]
            test = partial(fixtures.call, given=given, chosen=chosen, used=used)
            yield partial(_run, function, test, own_marks, make)


def _run(function: Any, call_test: Callable[..., None], marks: list[Mark], make: Callable[[], _Made]) -> None:
    expected = expected_failure(marks, function)
    instance, test, tear_down = make()
    try:
        call_test(test, instance=instance)
    except (Skipped, LoadError):
        raise
    except BaseException as error:
        if expected is None or not isinstance(error, expected.kwargs.get("raises") or BaseException):
            raise
        return
    finally:
        tear_down()
    if expected is not None and expected.kwargs.get("strict"):
        raise Failed("the test passes, which its mark does not expect")


def _of_class(name: str, kind: Any, fixtures: Fixtures, marks: list[Mark]) -> Iterator[Case]:
    unittest_case = sys.modules.get("unittest.case")
    marks = [*marks, *marks_of(kind)]
    if unittest_case is not None and issubclass(kind, unittest_case.TestCase):
        return _of_test_case(kind, marks)
    if not name.startswith("Test") or kind.__init__ is not object.__init__ or not _is_own(kind):
        return iter(())
    if not getattr(kind, "__test__", True):
        return iter(())
    return _of_plain_class(kind, fixtures, marks)


def _is_own(kind: Any, seen: tuple[Any, ...] = ()) -> bool:
    """Return True if a class, a base of it, or a class in it has a function that is not ours."""
    if kind in seen:
        return False
    members = [getattr(one, "__func__", one) for base in kind.__mro__ for one in vars(base).values()]
    return any(_is_function(one) or (isinstance(one, type) and _is_own(one, (*seen, kind))) for one in members)


def _of_plain_class(kind: Any, outer: Fixtures, marks: list[Mark]) -> Iterator[Case]:
    members = {name: value for base in reversed(kind.__mro__) for name, value in vars(base).items()}
    fixtures = Fixtures({one.name: one for one in members.values() if isinstance(one, Fixture)}, outer)

    def make(name: str) -> _Made:
        instance = kind()
        test = getattr(instance, name)
        call(getattr(instance, "setup_method", None), test)
        return instance, test, partial(call, getattr(instance, "teardown_method", None), test)

    def tear_down() -> None:
        fixtures.finish()
        call(getattr(kind, "teardown_class", None), kind)

    cases: list[Case] = []
    for name, value in members.items():
        if isinstance(value, type) and value not in kind.__mro__:
            cases += _of_class(name, value, fixtures, marks)
        elif name.startswith("test") and isinstance(value, (FunctionType, staticmethod, classmethod)):
            function = getattr(kind, name) if isinstance(value, classmethod) else getattr(value, "__func__", value)
            cases += _of_function(function, fixtures, marks, partial(make, name))
    return around(cases, lambda: call(getattr(kind, "setup_class", None), kind), tear_down)


def _of_test_case(kind: Any, marks: list[Mark]) -> Iterator[Case]:
    """Yield the cases of a class of unittest."""
    names = [name for base in reversed(kind.__mro__) for name in vars(base) if name.startswith("test")]
    names = names or [name for name in ("runTest",) if hasattr(kind, name)]
    if getattr(kind, "__unittest_skip__", False):
        return (_skip for name in dict.fromkeys(names) if callable(getattr(kind, name)))

    def run(name: str) -> None:
        test = kind(name)
        method = getattr(test, name)
        if method.__code__.co_flags & CO_COROUTINE:
            raise LoadError("asynchronous tests can't be run")
        fails = getattr(method, "__unittest_expecting_failure__", False)
        expected = expected_failure([*marks, *marks_of(method)], method)
        try:
            _debug(test)
        except (Skipped, KeyboardInterrupt):
            raise
        except Exception:
            if not (fails or expected):
                raise
            return
        if fails:
            raise Failed("the test passes, which it does not expect")

    def tear_down() -> None:
        kind.tearDownClass()
        kind.doClassCleanups()
        for _, error, _ in kind.tearDown_exceptions:
            raise error

    cases = [partial(run, name) for name in dict.fromkeys(names) if callable(getattr(kind, name))]
    return around(cases, kind.setUpClass, tear_down)


def _skip() -> None:
    raise Skipped


def _debug(test: Any) -> None:
    """Run a test of unittest, and what it registers to be done after it, also if it fails."""
    try:
        test.debug()
    except BaseException:
        test.tearDown()
        test.doCleanups()
        raise
