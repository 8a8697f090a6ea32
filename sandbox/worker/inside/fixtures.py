"""Fixtures of tests that are written for pytest: values that their parameters name."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from inspect import CO_GENERATOR, Parameter, signature, unwrap
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any

from selftaught.sandbox.worker.inside.builtin_fixtures import Finish, Request, builtin, finish_all
from selftaught.sandbox.worker.inside.failure import LoadError
from selftaught.sandbox.worker.inside.pytest_standin import SCOPES, Failed, Fixture, Parameters

Chosen = tuple[object, Any]
"""A parameter of a fixture: what tells it from the fixture's others, and its value."""


class Fixtures:
    """The fixtures of a module or class of tests.

    Attributes:
        outer: those of the class or module around it.
    """

    def __init__(self, own: dict[str, Fixture], outer: Fixtures | None = None) -> None:
        self.own, self.outer = own, outer
        self.module: Fixtures = outer.module if outer else self
        self.made: dict[object, tuple[Any, BaseException | None]] = {}
        self.finishers: list[Finish] = []

    def finish(self) -> None:
        """Finish those that last longer than a test, after the last of their tests."""
        self.made.clear()
        finish_all(self.finishers)

    def named(self, name: str, overridden: int = 0) -> Fixture | None:
        """Return the fixture of this name that a test here gets, or the one which that overrides, and so on."""
        level: Fixtures | None = self
        while level is not None:
            if name in level.own:
                if not overridden:
                    return level.own[name]
                overridden -= 1
            level = level.outer
        return None

    def needed(self, names: Sequence[str]) -> list[str]:
        """Return the names of these fixtures and of those that they use or that are always used, in pytest's order."""
        found = self.closure([*self._always_used(), *names])
        return sorted(dict.fromkeys(name for name, _ in found), key=self._scope)

    def closure(self, names: Sequence[str], way: Sequence[str] = ()) -> dict[tuple[str, int], Fixture | None]:
        """Return these fixtures and those that they use, by name and number as `named` takes them.

        `way`: the fixtures that are being made. What asks for a name on its way to a value gets the one it overrides.
        """
        found: dict[tuple[str, int], Fixture | None] = {}

        def visit(name: str, way: tuple[str, ...]) -> None:
            pair = name, way.count(name)
            if pair not in found:
                found[pair] = fixture = self.named(*pair)
                for one in parameters_of(fixture.function) if fixture else ():
                    visit(one, (*way, name))

        for name in names:
            visit(name, (*way,))
        return found

    def _always_used(self) -> list[str]:
        outer = self.outer._always_used() if self.outer else []
        return outer + [name for name, one in self.own.items() if one.autouse]

    def _scope(self, name: str) -> int:
        fixture = self.named(name)
        return SCOPES.index(fixture.scope if fixture else "function")

    def parametrized(self, names: Sequence[str]) -> list[tuple[str, list[Chosen]]]:
        """Return the names of those of the fixtures that have parameters, and these."""
        found = ((name, self._parameters_of(name)) for name in self.needed(names))
        return [(name, list(enumerate(parameters))) for name, parameters in found if parameters is not None]

    def _parameters_of(self, name: str) -> list[Any] | None:
        """Return the parameters of the fixture of this name, or of that which it overrides and uses."""
        overridden = 0
        while (fixture := self.named(name, overridden)) is not None:
            if fixture.params is not None or name not in parameters_of(fixture.function):
                return fixture.params
            overridden += 1
        return None

    def call(
        self,
        function: Callable[..., Any],
        given: dict[str, Any],
        chosen: dict[str, Chosen],
        instance: Any,
        used: Sequence[str],
    ) -> None:
        """Call a test with its fixtures, and finish these.

        Args:
            function: the test.
            given: parameters that are no fixtures.
            chosen: which parameter each parametrised fixture is to have.
            instance: of the class of the test, for fixtures that are methods.
            used: fixtures that it uses, its parameters or not.
        """
        names = [name for name in parameters_of(function) if name not in given]
        values = _Values(self, function, given, chosen, instance)
        try:
            for name in self.needed([*used, *names]):
                if name not in given:
                    values.get(name)
            check_result(function(**given, **{name: values.get(name) for name in names}))
        finally:
            finish_all(values.finishers)


class _Values:
    """The values of fixtures in one test."""

    def __init__(
        self,
        fixtures: Fixtures,
        function: Callable[..., Any],
        given: dict[str, Any],
        chosen: dict[str, Chosen],
        instance: Any,
    ) -> None:
        self._fixtures, self._function, self._chosen, self._instance = fixtures, function, chosen, instance
        self._made: dict[object, Any] = {(name, 0): value for name, value in given.items()}
        self._way: list[str] = []  # names of fixtures that are being made
        self.finishers: list[Finish] = []

    def get(self, name: str) -> Any:
        """Return the value of the fixture of this name, or of the one which that overrides, on the way to its value."""
        overridden = self._way.count(name)
        if (name, overridden) in self._made:
            return self._made[name, overridden]
        fixture = self._fixtures.named(name, overridden)
        if fixture is None:
            value = self._request(None, self.finishers) if name == "request" else builtin(name, self.finishers)
        elif fixture.scope == "function":
            value = self._make(fixture, name, self.finishers)
        else:
            owner = self._fixtures if fixture.scope == "class" else self._fixtures.module
            closure = dict.fromkeys(one for one, _ in self._fixtures.closure([name], self._way))
            key = fixture, *(self._chosen[one][0] for one in closure if one in self._chosen)
            if key not in owner.made:
                owner.made[key] = self._try(fixture, name, owner.finishers)
            value, error = owner.made[key]
            if error is not None:
                raise error
        self._made[name, overridden] = value
        return value

    def _try(self, fixture: Fixture, name: str, finishers: list[Finish]) -> tuple[Any, BaseException | None]:
        """Return a value, or the error that each test is to get that uses the fixture."""
        try:
            return self._make(fixture, name, finishers), None
        except BaseException as error:
            return None, error

    def _make(self, fixture: Fixture, name: str, finishers: list[Finish]) -> Any:
        self._way.append(name)
        try:
            arguments = {
                one: self._request(name, finishers) if one == "request" else self.get(one)
                for one in parameters_of(fixture.function)
            }
            function = fixture.function
            made = function(self._instance, **arguments) if _takes_self(function) else function(**arguments)
            return _begun(made, finishers) if function.__code__.co_flags & CO_GENERATOR else made
        finally:
            self._way.pop()

    def _request(self, name: str | None, finishers: list[Finish]) -> Request:
        parameter = self._chosen[name][1:] if name in self._chosen else ()
        return Request(self.get, finishers, self._function, self._instance, parameter)


def fixtures_in(members: dict[str, Any]) -> dict[str, Fixture]:
    """Return the fixtures among these, by their names, in alphabetical order, as pytest looks for them."""
    return {one.name: one for _, one in sorted(members.items()) if isinstance(one, Fixture)}


def check_result(result: object) -> None:
    """Raise LoadError if a test has not run: what it has returned would have to be awaited or iterated over."""
    if isinstance(result, (CoroutineType, GeneratorType, AsyncGeneratorType)):
        raise LoadError("asynchronous tests can't be run")


def _begun(generator: Any, finishers: list[Finish]) -> Any:
    value = next(generator)

    def finish() -> None:
        for _ in generator:
            raise Failed("a fixture yields more than once")

    finishers.append(finish)
    return value


def value_of(parameter: Any) -> Any:
    """Return the value of a fixture's parameter, which may be one of ``param``."""
    return parameter.values[0] if isinstance(parameter, Parameters) else parameter


def parameters_of(function: Any) -> list[str]:
    """Return the names of the parameters that a fixture or a test must be given."""
    code = getattr(function, "__code__", None)
    if (
        code is not None
        and not code.co_argcount
        and not code.co_kwonlyargcount
        and not hasattr(function, "__wrapped__")
    ):
        return []
    kinds = Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY
    found = [
        one.name
        for one in signature(function).parameters.values()
        if one.kind in kinds and one.default is Parameter.empty
    ]
    return found[_takes_self(function) + _patched(function) :]


def _patched(function: Any) -> int:
    """Return how many arguments ``unittest.mock.patch`` gives the function, the first ones."""
    default = getattr(sys.modules.get("unittest.mock"), "DEFAULT", None)
    patches = getattr(function, "patchings", ()) if default is not None else ()
    return sum(not one.attribute_name and one.new is default for one in patches)


def _takes_self(function: Any) -> bool:
    code = getattr(unwrap(function), "__code__", None)  # as `signature` looks through decorators
    return code is not None and not hasattr(function, "__self__") and code.co_varnames[:1] == ("self",)
