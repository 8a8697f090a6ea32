"""Find the cases in loaded tests: test functions, methods of test classes, or ``check``."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from functools import partial
from inspect import CO_COROUTINE
from types import FunctionType
from typing import Any

from selftaught.sandbox.worker.inside import hooks
from selftaught.sandbox.worker.inside.failure import FILES, LoadError
from selftaught.sandbox.worker.inside.fixtures import Fixtures, check_result, fixtures_in, parameters_of, value_of
from selftaught.sandbox.worker.inside.hooks import Case
from selftaught.sandbox.worker.inside.marks import expected_failure, fixtures_used, sets_of
from selftaught.sandbox.worker.inside.pytest_standin import Failed, Mark, Parameters, Skipped, marks_of

_NOT_OURS = {file for file in FILES if file != "<tests>"}


def collect(scope: dict[str, Any], before: dict[str, Any], candidate: Callable[[], Any]) -> Iterator[Case]:
    """Yield the cases of tests.

    Args:
        scope: their namespace.
        before: what was in it before they were loaded.
        candidate: returns what ``check`` is handed.
    """
    own = {name: value for name, value in scope.items() if value is not before.get(name)}
    fixtures = Fixtures(hooks.of_module(own, scope) | fixtures_in(own))
    marks = marks_of(own)
    cases = [case for name, value in own.items() for case in _of_name(name, value, fixtures, marks)]
    if cases:
        yield from hooks.ending(cases, fixtures)
        return
    check: Any = own.get("check")
    if _is_function(check):
        arguments = (candidate(),) if parameters_of(check) else ()
        yield lambda: check_result(check(*arguments))


def _of_name(name: str, value: Any, fixtures: Fixtures, marks: list[Mark]) -> Iterator[Case]:
    """Yield the cases of what has this name in tests."""
    if isinstance(value, type):
        yield from _of_class(name, value, fixtures, marks)
    elif name.startswith("test") and _is_function(value) and getattr(value, "__test__", True):
        for case in _of_function(value, own := Fixtures({}, fixtures), marks, lambda: (value, None)):
            yield from hooks.ending([case], own)  # as if each were in a class of its own


def _is_function(value: Any) -> bool:
    return isinstance(value, FunctionType) and value.__code__.co_filename not in _NOT_OURS


def _of_function(
    function: Any, fixtures: Fixtures, outer_marks: list[Mark], bind: Callable[[], tuple[Any, Any]]
) -> Iterator[Case]:
    """Yield the cases of a test function, one for each set of its parameters.

    Args:
        function: the test.
        fixtures: those that it may use.
        outer_marks: marks of its class and module, the closest first.
        bind: returns the test, and the instance that it is a method of, which is made, or None.
    """
    marks = [*marks_of(function), *outer_marks]
    sets = [sets_of(mark, fixtures) for mark in marks if mark.name == "parametrize"]
    used = [*fixtures_used(marks), *parameters_of(function)]
    for name in {name for one in sets for first in one[:1] for name in first.given}.difference(fixtures.needed(used)):
        raise LoadError(f"{function.__name__} takes no {name}")
    indirect = {name for one in sets for first in one[:1] for name in first.chosen}
    choices = [[(name, one) for one in chosen] for name, chosen in fixtures.parametrized(used) if name not in indirect]
    if not all(sets):
        yield _skip
    for picked in itertools.product(*choices):
        of_fixtures = {name: (key, value_of(one)) for name, (key, one) in picked}
        marks_picked = [mark for _, (_, one) in picked if isinstance(one, Parameters) for mark in one.marks]
        for combination in itertools.product(*sets):
            given = {name: value for one in combination for name, value in one.given.items()}
            chosen = of_fixtures | {name: value for one in combination for name, value in one.chosen.items()}
            own_marks = [*marks, *(mark for one in combination for mark in one.marks), *marks_picked]
            call_test = partial(fixtures.call, given=given, chosen=chosen, used=used)
            yield partial(_run, function, call_test, own_marks, bind)


def _run(function: Any, call_test: Callable[..., None], marks: list[Mark], bind: Callable[[], tuple[Any, Any]]) -> None:
    expected = expected_failure(marks, function)
    test, instance = bind()
    try:
        call_test(test, instance=instance)
    except (Skipped, LoadError):
        raise
    except BaseException as error:
        if expected is None or not isinstance(error, expected.kwargs.get("raises") or BaseException):
            raise
        return
    if expected is not None and expected.kwargs.get("strict"):
        raise Failed("the test passes, which its mark does not expect")


def _of_class(name: str, kind: Any, fixtures: Fixtures, marks: list[Mark]) -> Iterator[Case]:
    unittest_case = sys.modules.get("unittest.case")
    marks = [*marks_of(kind), *marks]
    if unittest_case is not None and issubclass(kind, unittest_case.TestCase):
        return _of_test_case(kind, fixtures, marks)
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
    fixtures = Fixtures(hooks.of_class(kind) | fixtures_in(members), outer)
    cases: list[Case] = []

    def bind(name: str) -> tuple[Any, Any]:
        instance = kind()
        return getattr(instance, name), instance

    for name, value in members.items():
        if isinstance(value, type) and value not in kind.__mro__:
            cases += _of_class(name, value, fixtures, marks)
        elif name.startswith("test") and isinstance(value, (FunctionType, staticmethod, classmethod)):
            function = getattr(kind, name) if isinstance(value, classmethod) else getattr(value, "__func__", value)
            cases += _of_function(function, fixtures, marks, partial(bind, name))
    return hooks.ending(cases, fixtures)


def _of_test_case(kind: Any, outer: Fixtures, marks: list[Mark]) -> Iterator[Case]:
    """Yield the cases of a class of unittest."""
    members = {name: value for base in reversed(kind.__mro__) for name, value in vars(base).items()}
    names = [name for name in members if name.startswith("test") and callable(getattr(kind, name))]
    names = names or [name for name in ("runTest",) if hasattr(kind, name)]
    if getattr(kind, "__unittest_skip__", False):
        return (_skip for _ in names)
    fixtures = Fixtures(hooks.of_test_case(kind) | fixtures_in(members), outer)

    def bind(name: str) -> tuple[Any, Any]:
        test = kind(name)
        if getattr(test, name).__code__.co_flags & CO_COROUTINE:
            raise LoadError("asynchronous tests can't be run")

        def debug() -> None:
            _debug(test)

        debug.__name__ = name  # for the fixture `request`
        return debug, test

    def case(name: str) -> Case:
        method = getattr(kind, name)
        own_marks = [*marks_of(method), *marks]
        if getattr(method, "__unittest_expecting_failure__", False):
            own_marks.append(Mark("xfail", (), {"strict": True}))
        call_test = partial(fixtures.call, given={}, chosen={}, used=fixtures_used(own_marks))
        return partial(_run, method, call_test, own_marks, partial(bind, name))

    return hooks.ending(map(case, names), fixtures)


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
