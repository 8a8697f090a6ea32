"""A solution in its process: load it behind its prelude, find its entry point, and say which names it defines.

What the names are is described by *kinds*, tuples of plain data:

* ``("f",)`` a function, or anything else that can be called; ``("v",)`` anything else
* ``("c", bases, methods)`` a class; ``("e", bases)`` a class of exceptions
* ``("i", module, name)`` something imported from a module of the standard library; no name: the module itself

Bases are *class references*: ``s:Name`` a class of the solution, ``p:Name`` one of the prelude, ``b:ValueError`` a
builtin one, ``m:decimal:InvalidOperation`` one of another module.
"""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Callable
from typing import Any

from selftaught.sandbox.worker.inside.failure import LoadError
from selftaught.sandbox.worker.inside.source import compile_source, new_scope

MODULE = "solution"
"""The module that a solution is, for its tests too."""
Kinds = dict[str, tuple[Any, ...]]
IMPORTED = frozenset(
    (
        "bisect cmath collections copy datetime decimal fractions functools heapq itertools json math numbers operator "
        "random re statistics string time typing numpy"
    ).split()
)
"""Modules of which tests get their own when they read a name that the solution has imported."""
EXCEPTIONS_OF = frozenset(
    (
        "_csv asyncio.exceptions binascii concurrent.futures._base configparser copy csv dataclasses decimal "
        "ipaddress json.decoder numpy.exceptions numpy.linalg queue _queue re re._constants statistics struct "
        "urllib.error xml.etree.ElementTree zlib"
    ).split()
)
"""Modules whose exceptions cross as they are. A test runner gives some of the others a meaning: SkipTest."""
_ENTRY = re.compile(r"(\w+)(\(\))?(?:\.(\w+))?")
_METHODS = types.FunctionType, classmethod, staticmethod
_builtins: dict[str, Any] = vars(sys.modules["builtins"])


class Solution:
    """A loaded solution.

    Attributes:
        scope: namespace of prelude and solution.
        entry: the function to judge.
        prelude: names of the prelude's classes.
    """

    def __init__(self) -> None:
        self.scope: dict[str, Any] = new_scope(MODULE)
        self.entry: Callable[..., Any] = _no_entry
        self.prelude: dict[str, type] = {}
        self._before: dict[str, Any] = {}
        self._others: dict[str, type] = {}

    def load_prelude(self, prelude: bytes) -> None:
        """Run the prelude. Raises what it raises."""
        if prelude:
            exec(compile_source(prelude, "<prelude>"), self.scope)
        self.prelude = classes_in(self.scope, MODULE)
        self._before = self.scope.copy()

    def load(self, sol: bytes, entry_point: str) -> None:
        """Run the solution and find its entry point. Raises what it raises, or LoadError."""
        exec(compile_source(sol, "<solution>"), self.scope)
        if entry_point:
            self.entry = self._find(entry_point)

    def _find(self, entry_point: str) -> Callable[..., Any]:
        match = _ENTRY.fullmatch(entry_point)
        missing = LoadError(f"the solution defines no function {entry_point}")
        if not match:
            raise missing
        name, called, attribute = match.groups()
        found = self.scope.get(name)
        if attribute and isinstance(found, type) and not called:
            own = next((vars(base)[attribute] for base in found.__mro__ if attribute in vars(base)), None)
            called = isinstance(own, types.FunctionType)  # a method needs an instance
        if called and found is not None:
            found = found()
        if attribute and found is not None:
            found = getattr(found, attribute, None)
        if not callable(found) or (not attribute and found is self._before.get(name)):
            raise missing
        return found  # type: ignore[no-any-return]

    def kinds(self) -> Kinds:
        """Return the kind of each name that the solution defines."""
        before = self._before
        return {
            name: self._kind(name, value)
            for name, value in self.scope.items()
            if value is not before.get(name, _no_entry) and not (name.startswith("__") and name.endswith("__"))
        }

    def _kind(self, name: str, value: Any) -> tuple[Any, ...]:
        if isinstance(value, types.ModuleType):
            return "i", value.__name__, ""
        module = getattr(value, "__module__", None)
        if module in IMPORTED and getattr(value, "__name__", "") == name:
            return "i", module, name
        if not isinstance(value, type):
            return ("f",) if callable(value) else ("v",)
        bases = tuple(self.reference(base) for base in value.__bases__)
        if issubclass(value, BaseException):
            return "e", bases
        methods = [
            name
            for base in value.__mro__
            if base.__module__ == MODULE
            for name, own in vars(base).items()
            if isinstance(own, _METHODS) and not name.startswith("__")
        ]
        return "c", bases, tuple(methods)

    def reference(self, kind: Any) -> str:
        """Return the reference to a class."""
        name: str = self.prelude_name(kind)
        if name:
            return "p:" + name
        if kind.__module__ == MODULE:
            return "s:" + self.name_of(kind)
        own: str = kind.__name__
        if _builtins.get(own) is kind:
            return "b:" + own
        return f"m:{kind.__module__}:{kind.__qualname__}"

    def name_of(self, kind: Any) -> str:
        """Return the name by which the solution's class is known: its global name where it has one."""
        name: str = kind.__name__
        if self.scope.get(name) is kind:
            return name
        self._others[kind.__qualname__] = kind
        return str(kind.__qualname__)

    def class_named(self, name: str) -> Any:
        """Return the class that `name_of` has given this name."""
        return self._others.get(name) or self.scope[name]

    def prelude_name(self, kind: type) -> str:
        """Return the name of a class of the prelude, also for the class by which the solution has replaced it."""
        name = kind.__name__
        if name in self.prelude and (self.scope.get(name) is kind or self.prelude[name] is kind):
            return name
        return ""

    def prelude_class(self, name: str) -> Any:
        """Return the class by this name of the prelude, or that by which the solution has replaced it."""
        own = self.prelude[name]
        now = self.scope.get(name)
        return now if isinstance(now, type) else own

    def definitions(self, kind: type) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Return references to a class and its bases, and to the bases of each, but for builtin ones; bases first."""
        referred = [(self.reference(one), one) for one in reversed(kind.__mro__)]
        return tuple(
            (reference, tuple(self.reference(base) for base in one.__bases__))
            for reference, one in referred
            if reference[0] in "sm"
        )


def classes_in(scope: dict[str, Any], module: str) -> dict[str, type]:
    """Return the classes that code of this module has defined in its namespace, by their names."""
    return {
        name: value
        for name, value in scope.items()
        if isinstance(value, type) and value.__module__ == module and value.__name__ == name
    }


def _no_entry(*_: Any, **__: Any) -> Any:
    raise LoadError("the task names no entry point")
