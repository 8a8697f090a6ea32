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
from selftaught.sandbox.worker.inside.fixtures import Fixtures, check_result, parameters_of
from selftaught.sandbox.worker.inside.hooks import Case, Module, around, call
from selftaught.sandbox.worker.inside.pytest_standin import Failed, Fixture, Parameters, Skipped

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
    cases = [case for name, value in own.items() for case in _of_name(name, value, own, fixtures)]
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


def _of_name(name: str, value: Any, own: dict[str, Any], fixtures: Fixtures) -> Iterator[Case]:
    """Return the cases of what has this name in tests."""
    if isinstance(value, type):
        return _of_class(name, value, fixtures)
    if not (name.startswith("test") and _is_function(value)):
        return iter(())

    def make() -> _Made:
        call(own.get("setup_function"), value)
        return None, value, partial(call, own.get("teardown_function"), value)

    return _of_function(value, fixtures, [], make)


def _is_function(value: Any) -> bool:
    return isinstance(value, FunctionType) and value.__code__.co_filename not in _NOT_OURS


def _of_function(
    function: Any, fixtures: Fixtures, outer_marks: list[Any], make: Callable[[], _Made]
) -> Iterator[Case]:
    """Yield the cases of a test function, one for each set of its parameters.

    Args:
        function: the test.
        fixtures: those that it may use.
        outer_marks: marks of its class.
        make: sets up the test. Returns the instance that it is a method of, or None; the test; and its tear-down.
    """
    marks = [*outer_marks, *getattr(function, "pytestmark", ())]
    sets = [_sets(mark) for mark in marks if mark.name == "parametrize"]
    uses = [mark for mark in marks if mark.name == "usefixtures"]
    used = [name for mark in uses for name in mark.args]
    names = [*used, *parameters_of(function)]
    with_parameters = fixtures.parametrized(names)
    choices = [[(name, number) for number in range(count)] for name, count in with_parameters]
    for combination in itertools.product(*reversed(sets)):
        given = {name: value for values, _ in combination for name, value in values.items()}
        own_marks = [*marks, *(mark for _, more in combination for mark in more)]
        for chosen in itertools.product(*choices):
            yield partial(_run, fixtures, given, dict(chosen), own_marks, make)


def _sets(mark: Any) -> list[tuple[dict[str, Any], list[Any]]]:
    """Return the sets of parameters of a mark ``parametrize``, each with its own marks."""
    names: Any
    value: Any
    by_name = [mark.kwargs[one] for one in ("argnames", "argvalues") if one in mark.kwargs]
    names, values = (list(mark.args) + by_name)[:2]
    several = not isinstance(names, str) or "," in names
    names = [one.strip() for one in names.split(",") if one.strip()] if isinstance(names, str) else list(names)
    sets = []
    for value in values:
        marks: list[Any] = []
        if isinstance(value, Parameters):
            value, marks = value.values if several or len(value.values) != 1 else value.values[0], value.marks
        sets.append((dict(zip(names, value if several else (value,), strict=True)), marks))
    return sets


def _run(
    fixtures: Fixtures, given: dict[str, Any], chosen: dict[str, int], marks: list[Any], make: Callable[[], _Made]
) -> None:
    expected = None
    for mark in marks:
        holds = all(bool(one) for one in mark.args[:1])
        if mark.name == "skip" or (mark.name == "skipif" and holds):
            raise Skipped
        if mark.name == "xfail" and holds:
            expected = mark
    instance, test, tear_down = make()
    try:
        fixtures.call(test, given, chosen, instance)
    except Skipped:
        raise
    except BaseException:
        if expected is None:
            raise
        return
    finally:
        tear_down()
    if expected is not None and expected.kwargs.get("strict"):
        raise Failed("the test passes, which its mark does not expect")


def _of_class(name: str, kind: Any, fixtures: Fixtures) -> Iterator[Case]:
    unittest_case = sys.modules.get("unittest.case")
    if unittest_case is not None and issubclass(kind, unittest_case.TestCase):
        return _of_test_case(kind)
    if not name.startswith("Test") or kind.__init__ is not object.__init__ or not _is_own(kind):
        return iter(())
    return _of_plain_class(kind, fixtures)


def _is_own(kind: Any) -> bool:
    return any(_is_function(one) for one in vars(kind).values()) or any(map(_is_own, kind.__bases__[:-1]))


def _of_plain_class(kind: Any, outer: Fixtures) -> Iterator[Case]:
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

    cases = [
        case
        for name, value in members.items()
        if name.startswith("test") and isinstance(value, (FunctionType, staticmethod))
        for case in _of_function(value, fixtures, [*getattr(kind, "pytestmark", ())], partial(make, name))
    ]
    return around(cases, lambda: call(getattr(kind, "setup_class", None), kind), tear_down)


def _of_test_case(kind: Any) -> Iterator[Case]:
    """Yield the cases of a class of unittest."""
    names = [name for base in reversed(kind.__mro__) for name in vars(base) if name.startswith("test")]
    if getattr(kind, "__unittest_skip__", False):
        return (_skip for name in dict.fromkeys(names) if callable(getattr(kind, name)))

    def run(name: str) -> None:
        test = kind(name)
        method = getattr(test, name)
        if method.__code__.co_flags & CO_COROUTINE:
            raise LoadError("asynchronous tests can't be run")
        try:
            _debug(test)
        except (Skipped, KeyboardInterrupt):
            raise
        except Exception:
            if not getattr(method, "__unittest_expecting_failure__", False):
                raise
            return
        if getattr(method, "__unittest_expecting_failure__", False):
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
