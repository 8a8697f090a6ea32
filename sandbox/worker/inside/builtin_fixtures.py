"""Fixtures that pytest has itself: ``capsys``, ``monkeypatch``, ``request``."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, NamedTuple

from selftaught.sandbox.worker.inside.failure import LoadError
from selftaught.sandbox.worker.inside.pytest_standin import StandIn, current_relay

_MISSING = object()
Finish = Callable[[], object]


def finish_all(finishers: list[Finish]) -> None:
    """Call them, the last first, and forget them."""
    while finishers:
        finishers.pop()()


def builtin(name: str, finishers: list[Finish]) -> Any:
    """Return a fixture that pytest has itself, and register its end. Raises LoadError if there is none of this name."""
    if name == "capsys":
        return Captured(finishers)
    if name == "monkeypatch":
        if (relay := current_relay()) is not None:
            relay.refuse("the fixture monkeypatch can't be had here")
        return MonkeyPatch(finishers)
    raise LoadError(f"the stand-in of pytest has no fixture {name}")


class Request(StandIn):
    """The fixture ``request``: about the test, and the parameter of the fixture that asks, if it has one."""

    def __init__(
        self,
        get: Callable[[str], Any],
        finishers: list[Finish],
        function: Any,
        instance: Any,
        parameter: tuple[Any, ...],
    ) -> None:
        self.getfixturevalue, self.addfinalizer = get, finishers.append
        self.function, self.instance, self.cls = function, instance, type(instance) if instance is not None else None
        self.node = SimpleNamespace(name=function.__name__, originalname=function.__name__)
        if parameter:
            (self.param,) = parameter

    def __getattr__(self, name: str) -> Any:
        if name == "param":  # tests ask for it with `getattr` and a default
            raise AttributeError("the fixture has no parameter")
        return super().__getattr__(name)


class Captured(StandIn):
    """The fixture ``capsys``."""

    def __init__(self, finishers: list[Finish]) -> None:
        self._streams = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = io.StringIO(), io.StringIO()
        finishers.append(self._restore)

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

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """Print to the streams that there were before."""
        captured = sys.stdout, sys.stderr
        self._restore()
        try:
            yield
        finally:
            sys.stdout, sys.stderr = captured


class _Output(NamedTuple):
    out: str
    err: str


class MonkeyPatch(StandIn):
    """The fixture ``monkeypatch``."""

    def __init__(self, finishers: list[Finish]) -> None:
        self._undo: list[Finish] = []
        finishers.append(self.undo)

    def undo(self) -> None:
        """Put back what was changed."""
        finish_all(self._undo)

    @contextmanager
    def context(self) -> Iterator[MonkeyPatch]:
        """Put back at the end what is changed in the context."""
        ends: list[Finish] = []
        try:
            yield MonkeyPatch(ends)
        finally:
            finish_all(ends)

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
        self._undo.append(lambda: delattr(target, name) if before is _MISSING else setattr(target, name, before))

    def delattr(self, target: Any, name: str, raising: bool = True) -> None:
        """Delete an attribute."""
        if hasattr(target, name) or raising:
            before = getattr(target, name)
            delattr(target, name)
            self._undo.append(lambda: setattr(target, name, before))

    def setitem(self, mapping: Any, key: Any, value: Any) -> None:
        """Set an item."""
        before = mapping.get(key, _MISSING)
        mapping[key] = value
        self._undo.append(lambda: mapping.pop(key, None) if before is _MISSING else mapping.update({key: before}))

    def delitem(self, mapping: Any, key: Any, raising: bool = True) -> None:
        """Delete an item."""
        if key in mapping or raising:
            before = mapping.pop(key)
            self._undo.append(lambda: mapping.update({key: before}))

    def setenv(self, name: str, value: str, prepend: str | None = None) -> None:
        """Set a variable of the environment."""
        if prepend and name in os.environ:
            value = str(value) + prepend + os.environ[name]
        self.setitem(os.environ, name, str(value))

    def delenv(self, name: str, raising: bool = True) -> None:
        """Delete a variable of the environment."""
        self.delitem(os.environ, name, raising)
