"""What of the solution's objects crosses to its tests: how the solution's process describes them (`relay_data.Side`).

The tags that it sends, beside those of `relay_data`::

    h handle class definitions   an instance         g name   a function or class, by its global name
    F handle name                a function          p name   a class of the prelude
    N more references error      the next items of an iterator
    P pattern flags              a compiled pattern, and
    R pattern flags string start end                     a match
    M                            a method, for which the tests' process makes its own stand-in

and that it receives: ``h handle``, g, p, ``A owner name`` for a method of a handle or class, and ``m module name`` for
a function or class of the standard library.
"""

from __future__ import annotations

import functools
import io
import itertools
import re
import sys
import types
from collections.abc import Callable, Iterator
from importlib import import_module
from operator import attrgetter
from typing import Any

from selftaught.sandbox import codec
from selftaught.sandbox.worker.inside import relay_data
from selftaught.sandbox.worker.inside.instances import instance_node
from selftaught.sandbox.worker.inside.relay_data import Node, flatten
from selftaught.sandbox.worker.inside.solution import MODULE, Solution

FIRST_ITEMS = 64
"""How many items of an iterator cross at once, at first."""
_FUNCTIONS = (
    *(types.FunctionType, types.MethodType, types.BuiltinFunctionType, types.MethodWrapperType),
    *(functools.partial, type(functools.lru_cache(len))),
)
_VIEWS: Any = type({}.keys()), type({}.values()), type({}.items())
_builtins: dict[str, Any] = vars(sys.modules["builtins"])


class Method:
    """Stands for a method in a reply."""


METHOD = Method()


def is_iterator(value: object) -> bool:
    """Return True if a value is a generator or another iterator of no class of the solution."""
    kind = type(value)
    return hasattr(kind, "__next__") and kind.__module__ != MODULE and not isinstance(value, io.IOBase)


def yields(value: object) -> bool:
    """Return True if a result stands for the values that it yields."""
    return is_iterator(value) or isinstance(value, _VIEWS)


class FromSolution:
    """Describe objects of the solution, and keep those that stay in its process.

    Attributes:
        solution: the solution.
        handles: the objects that stay, by their handles.
    """

    def __init__(self, solution: Solution) -> None:
        self.solution = solution
        self.handles: list[Any] = []
        self._handle_of: dict[int, int] = {}
        self._described: dict[type, tuple[Any, ...]] = {}

    def describe(self, value: Any, refer: Callable[[Any], Any]) -> Node:
        """Return the node of a value (`relay_data.Side`)."""
        kind = type(value)
        if kind is Method:
            return ("M",)
        if kind is _Taken:
            return "N", *self._items(value.handle, value.count, refer)
        if isinstance(value, type):
            return self._class(value)
        if isinstance(value, BaseException):
            return self._exception(value, refer)
        name = self.solution.prelude_name(kind)
        if name:
            return instance_node(name, value, refer)
        if is_iterator(value):
            return "I", *self._items(self._handle(value), FIRST_ITEMS, refer)
        if isinstance(value, _FUNCTIONS):
            name = str(getattr(value, "__name__", "function"))
            return ("g", name) if self.solution.scope.get(name) is value else ("F", self._handle(value), name)
        if kind is re.Match:
            return "R", value.re.pattern, value.re.flags, value.string, *value.span()
        if kind is re.Pattern:
            return "P", value.pattern, value.flags
        if kind.__module__ == MODULE:
            described = self._described.get(kind)
            if described is None:
                described = self._described[kind] = self.solution.reference(kind), self.solution.definitions(kind)
            return "h", self._handle(value), *described
        raise codec.NotPlain(f"an instance of {kind.__name__!r:.60} can't cross from the solution to its tests")

    def _handle(self, value: Any) -> int:
        handle = self._handle_of.get(id(value))
        if handle is None:
            handle = self._handle_of[id(value)] = len(self.handles)
            self.handles.append(value)
        return handle

    def _class(self, value: type) -> Node:
        name = self.solution.prelude_name(value)
        if name:
            return "p", name
        if self.solution.scope.get(value.__name__) is value:
            return "g", value.__name__
        raise codec.NotPlain(f"the class {value.__name__!r:.60} can't cross from the solution to its tests")

    def _items(self, handle: int, count: int, refer: Callable[[Any], Any]) -> tuple[Any, ...]:
        """Return the node, without its tag, of the next items of an iterator."""
        items: list[Any] = []
        raised = None
        try:
            for item in itertools.islice(self.handles[handle], count):
                items.append(item)
        except Exception as error:
            error.__traceback__ = None
            raised = error
        mutable = [id(item) for item in items if type(item) in relay_data.MUTABLE]
        if len(mutable) != len(set(mutable)):
            raise codec.NotPlain("an iterator that yields one object twice can't cross from the solution to its tests")
        more = handle if len(items) == count else None
        return more, [refer(item) for item in items], None if raised is None else refer(raised)

    def taken(self, handle: int, count: int) -> Any:
        """Return what stands for the next items of an iterator."""
        return _Taken(handle, count)

    def _exception(self, error: BaseException, refer: Callable[[Any], Any]) -> Node:
        kind, solution = type(error), self.solution
        text = None
        if any(base.__module__ == MODULE and "__str__" in vars(base) for base in kind.__mro__):
            text = str(error)
        args = tuple(one if self._crosses(one) else str(one) for one in error.args)
        if isinstance(error, BaseExceptionGroup):
            args = error.message, error.exceptions  # a tuple is made before what it is in
        own = {name: value for name, value in error.__dict__.items() if self._crosses(value)}
        names, values = [*own], [refer(value) for value in own.values()]
        return "x", solution.reference(kind), solution.definitions(kind), refer(args), names, values, text

    def _crosses(self, value: Any) -> bool:
        if type(value) in relay_data.SCALARS:
            return True
        try:
            relay_data.encode(flatten([value], self, {})[0], relay_data.MOST_BYTES)
        except ValueError:  # NotPlain or TooLarge
            return False
        return True

    def resolve(self, node: Node, value: Callable[[Any], Any]) -> Any:
        """Return the value of a node from the tests' process (`relay_data.Side`)."""
        tag = node[0]
        if tag == "h":
            return self.handles[node[1]]
        if tag == "A":
            return getattr(self.handles[node[1]] if type(node[1]) is int else self.solution.scope[node[1]], node[2])
        if tag == "g":
            return self.solution.scope[node[1]]
        if tag == "p":
            return self.prelude_class(node[1])
        if tag == "m":
            return attrgetter(node[2])(import_module(node[1]))
        if tag == "I":
            return _each(node[2], value)
        kind = self._referred(node[1])
        error = kind.__new__(kind, *value(node[3]))
        error.__dict__.update(zip(node[4], map(value, node[5]), strict=True))
        return error

    def _referred(self, reference: str) -> Any:
        """Return the class of a class reference."""
        source, _, name = reference.partition(":")
        if source == "s":
            return self.solution.class_named(name)
        if source == "p":
            return self.prelude_class(name)
        if source == "b":
            return _builtins[name]
        module, _, name = name.partition(":")
        return attrgetter(name)(import_module(module))

    def prelude_class(self, name: str) -> Any:
        """Return the prelude's class of this name, or the one by which the solution has replaced it."""
        return self.solution.prelude_class(name)


class _Taken:
    """Stands for the next items of an iterator."""

    def __init__(self, handle: int, count: int) -> None:
        self.handle, self.count = handle, count


def _each(references: list[Any], value: Callable[[Any], Any]) -> Iterator[Any]:
    yield from map(value, references)
