"""Fixtures of tests that are written for pytest: values that their parameters name."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from inspect import CO_GENERATOR, Parameter, signature
from types import AsyncGeneratorType, CoroutineType, GeneratorType, SimpleNamespace
from typing import Any, NamedTuple

from selftaught.sandbox.worker.inside.failure import LoadError
from selftaught.sandbox.worker.inside.pytest_standin import Fixture, current_relay

_MISSING = object()
_Finish = Callable[[], object]


class Fixtures:
    """The fixtures of a module or class of tests.

    Attributes:
        named: fixtures by name; in a class those of the module too.
    """

    def __init__(self, own: dict[str, Fixture], module: Fixtures | None = None) -> None:
        """Args:
        own: the fixtures that it has itself.
        module: of a class, those of its module.
        """
        self.named: dict[str, Fixture] = {**module.named, **own} if module else own
        self._module = module or self
        self._wide: dict[tuple[str, int], Any] = {}
        self._finish_wide: list[_Finish] = []

    def finish(self) -> None:
        """Finish those that last longer than a test, after the last of their tests."""
        self._wide.clear()
        _finish_all(self._finish_wide)

    def needed(self, names: list[str]) -> list[str]:
        """Return the names of these fixtures and of those that they use or that are always used."""
        found: dict[str, None] = {}
        todo = [name for name, one in self.named.items() if one.autouse] + names
        for name in todo:
            found[name] = None
            if name in self.named:
                todo += [one for one in parameters_of(self.named[name].function) if one not in found]
        return [*found]

    def parametrized(self, names: list[str]) -> list[tuple[str, int]]:
        """Return those of the fixtures that have parameters, and how many."""
        of = ((name, self.named.get(name)) for name in self.needed(names))
        return [(name, len(one.params)) for name, one in of if one is not None and one.params is not None]

    def call(self, function: Callable[..., Any], given: dict[str, Any], chosen: dict[str, int], instance: Any) -> None:
        """Call a test with its fixtures, and finish these.

        Args:
            function: the test.
            given: parameters that are no fixtures.
            chosen: which parameter each parametrised fixture is to have.
            instance: of the class of the test, for fixtures that are methods.
        """
        names = [name for name in parameters_of(function) if name not in given]
        finish: list[_Finish] = []
        values: dict[str, Any] = {}
        try:
            for name in self.needed(names):
                if name not in given:
                    self._value(name, values, chosen, instance, finish)
            check_result(function(**given, **{name: values[name] for name in names}))
        finally:
            _finish_all(finish)

    def _value(
        self, name: str, values: dict[str, Any], chosen: dict[str, int], instance: Any, finish: list[_Finish]
    ) -> Any:
        if name in values:
            return values[name]
        fixture = self.named.get(name)
        if fixture is None:
            values[name] = _builtin(name, finish)
            return values[name]
        which = chosen.get(name, 0)
        owner = self if fixture.scope == "class" else self._module
        if fixture.scope != "function":
            finish = owner._finish_wide
            if (name, which) in owner._wide:
                values[name] = owner._wide[name, which]
                return values[name]
        args = {}
        for one in parameters_of(fixture.function):
            if one == "request":
                parameter = (
                    None
                    if fixture.params is None
                    else getattr(fixture.params[which], "values", (fixture.params[which],))[0]
                )
                args[one] = SimpleNamespace(param=parameter, addfinalizer=finish.append)
            else:
                args[one] = self._value(one, values, chosen, instance, finish)
        made = fixture.function(instance, **args) if _takes_self(fixture.function) else fixture.function(**args)
        values[name] = _begun(made, finish) if fixture.function.__code__.co_flags & CO_GENERATOR else made
        if fixture.scope != "function":
            owner._wide[name, which] = values[name]
        return values[name]


def check_result(result: object) -> None:
    """Raise LoadError if a test has not run: what it has returned would have to be awaited or iterated over."""
    if isinstance(result, (CoroutineType, GeneratorType, AsyncGeneratorType)):
        raise LoadError("asynchronous tests can't be run")


def _begun(generator: Any, finish: list[_Finish]) -> Any:
    value = next(generator)
    finish.append(lambda: next(generator, None))
    return value


def _finish_all(finish: list[_Finish]) -> None:
    while finish:
        finish.pop()()


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
    return found[1:] if _takes_self(function) else found


def _takes_self(function: Any) -> bool:
    code = getattr(function, "__code__", None)
    return code is not None and not hasattr(function, "__self__") and code.co_varnames[:1] == ("self",)


def _builtin(name: str, finish: list[_Finish]) -> Any:
    """Return a fixture that pytest has itself."""
    if name == "capsys":
        return Captured(finish)
    relay = current_relay()
    if name == "monkeypatch" and relay is None:
        return MonkeyPatch(finish)
    if name == "request":
        return SimpleNamespace(param=None, addfinalizer=finish.append)
    if relay is not None:
        relay.refuse(f"the fixture {name} can't be had here")
    raise LoadError(f"there is no fixture {name}")


class Captured:
    """The fixture ``capsys``."""

    def __init__(self, finish: list[_Finish]) -> None:
        self._streams = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = io.StringIO(), io.StringIO()
        finish.append(self._restore)

    def _restore(self) -> None:
        sys.stdout, sys.stderr = self._streams

    def readouterr(self) -> Any:
        """Return what was printed since the last time."""
        texts = []
        for stream in (sys.stdout, sys.stderr):
            texts.append(stream.getvalue() if isinstance(stream, io.StringIO) else "")
            if isinstance(stream, io.StringIO):
                stream.seek(0)
                stream.truncate()
        return _Output(*texts)


class _Output(NamedTuple):
    out: str
    err: str


class MonkeyPatch:
    """The fixture ``monkeypatch``."""

    def __init__(self, finish: list[_Finish]) -> None:
        self._finish = finish

    def setattr(self, target: Any, name: Any, value: Any = _MISSING, raising: bool = True) -> None:
        """Set an attribute; the target may be the path of one."""
        if value is _MISSING:
            path, value = target, name
            owner, _, name = path.rpartition(".")
            target = sys.modules.get(owner) or __import__(owner, fromlist=["_"])
        before = vars(target).get(name, _MISSING)
        if raising and not hasattr(target, name):
            raise AttributeError(f"{target!r} has no attribute {name!r}")
        setattr(target, name, value)
        self._finish.append(lambda: delattr(target, name) if before is _MISSING else setattr(target, name, before))

    def delattr(self, target: Any, name: str, raising: bool = True) -> None:
        """Delete an attribute."""
        if hasattr(target, name) or raising:
            before = getattr(target, name)
            delattr(target, name)
            self._finish.append(lambda: setattr(target, name, before))

    def setitem(self, mapping: Any, key: Any, value: Any) -> None:
        """Set an item."""
        before = mapping.get(key, _MISSING)
        mapping[key] = value
        self._finish.append(lambda: mapping.pop(key, None) if before is _MISSING else mapping.update({key: before}))

    def delitem(self, mapping: Any, key: Any, raising: bool = True) -> None:
        """Delete an item."""
        if key in mapping or raising:
            before = mapping.pop(key)
            self._finish.append(lambda: mapping.update({key: before}))

    def setenv(self, name: str, value: str, prepend: str | None = None) -> None:
        """Set a variable of the environment."""
        self.setitem(os.environ, name, str(value))

    def delenv(self, name: str, raising: bool = True) -> None:
        """Delete a variable of the environment."""
        self.delitem(os.environ, name, raising)
