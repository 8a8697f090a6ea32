"""What of the tests' objects crosses to the solution, and what tests get for the solution's (`relay_data.Side`).

All that arrives may be hostile. What is malformed raises an Exception, which ends the case.
"""

from __future__ import annotations

import itertools
import re
import sys
import types
import weakref
from collections.abc import Callable
from importlib import import_module
from operator import attrgetter
from typing import Any

from selftaught.sandbox import codec
from selftaught.sandbox.worker.inside.from_solution import METHOD
from selftaught.sandbox.worker.inside.instances import instance_node
from selftaught.sandbox.worker.inside.relay import Chunk, Relay
from selftaught.sandbox.worker.inside.relay_data import Node
from selftaught.sandbox.worker.inside.solution import EXCEPTIONS_OF, IMPORTED, MODULE, Kinds
from selftaught.sandbox.worker.inside.standins import ClassStandIn, Function, make_class

_MOST_ITEMS = 100_000
"""How many items an iterator may yield that is an argument."""
_MOST_BASES = 50
_builtins: dict[str, Any] = vars(sys.modules["builtins"])


class FromTests:
    """Make stand-ins, and describe objects of the tests to the solution's process (`relay_data.Side`)."""

    def __init__(self, relay: Relay, kinds: Kinds, entry_point: str, prelude: dict[str, type]) -> None:
        self._relay, self._kinds, self._entry_point, self._prelude = relay, kinds, entry_point, prelude
        self._prelude_names = {kind: name for name, kind in prelude.items()}
        self._standins: dict[str, Any] = {}
        self._classes: dict[str, Any] = {}
        self._instances: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
        relay.side = self

    def candidate(self) -> Any:
        """Return the stand-in for the entry point."""
        return (
            self.named(self._entry_point)
            if self._entry_point in self._kinds
            else Function(self._relay, "", "candidate")
        )

    def is_live(self, name: str) -> bool:
        """Return True if a name stands for a value that is to be read whenever it is needed."""
        return name != self._entry_point and self._kind(name)[0] == "v"

    def named(self, name: str) -> Any:
        """Return the stand-in for a global name of the solution."""
        found = self._standins.get(name)
        if found is None:
            kind = self._kind(name)
            if name == self._entry_point and kind[0] not in "ce":
                found = Function(self._relay, "", name)
            elif kind[0] == "v":
                return self._relay.get("", name)
            elif kind[0] == "i":
                found = import_module(kind[1])
                found = getattr(found, kind[2]) if kind[2] else found
            elif kind[0] == "f":
                found = Function(self._relay, name, name)
            else:
                found = self._class("s:" + name, {}, _MOST_BASES)
            self._standins[name] = found
        return found

    def _kind(self, name: str) -> tuple[Any, ...]:
        """Return the kind of a name, of nothing malformed and no module but those that tests may get."""
        kind: tuple[Any, ...] = self._kinds[name]
        if kind[0] == "i":
            _, module, attribute = kind
            own = module in IMPORTED or (not attribute and module == name and name in sys.modules)
            if not own or attribute not in ("", name):
                return ("f",) if attribute else ("v",)
        return kind

    def class_of(self, reference: str, definitions: Any) -> Any:
        """Return the class of a class reference (`solution`), or its stand-in."""
        return self._class(reference, dict(definitions), _MOST_BASES)

    def _class(self, reference: str, definitions: dict[str, Any], depth: int) -> Any:
        found = self._classes.get(reference)
        if found is None:
            found = self._classes[reference] = self._make_class(reference, definitions, depth)
        return found

    def _make_class(self, reference: str, definitions: dict[str, Any], depth: int) -> Any:
        source, _, name = reference.partition(":")
        if source == "b" and name not in ("MemoryError", "SystemError"):
            return _checked_class(_builtins[name])
        if source == "p":
            return self._prelude[name]
        if source == "m":
            module, _, name = name.partition(":")
            if module in EXCEPTIONS_OF and module in sys.modules:
                return _checked_class(attrgetter(name)(sys.modules[module]))
        kind = self._kinds.get(name, ())
        if source == "s" and kind and kind[0] in "ce":
            references, methods = kind[1], kind[2] if kind[0] == "c" else ()
        else:
            references, methods = definitions.get(reference, ("b:Exception",)), ()
        if depth == 0:
            raise codec.Malformed("too many bases")
        bases = [self._base(one, definitions, depth - 1) for one in references]
        failures = [base for base in bases if base is not None and issubclass(base, BaseException)]
        if failures:
            return type(name.rpartition(".")[2], tuple(failures), {"__module__": MODULE, "__str__": _text_of})
        own = [base for base in bases if isinstance(base, ClassStandIn)]
        return make_class(self._relay, name, own, methods)

    def _base(self, reference: str, definitions: dict[str, Any], depth: int) -> Any:
        """Return a base class, or None for one that no stand-in derives from."""
        source, _, name = reference.partition(":")
        if source == "s" or source == "m":
            return self._class(reference, definitions, depth) if source == "s" or reference in definitions else None
        found = self._prelude.get(name) if source == "p" else _builtins.get(name)
        if isinstance(found, type) and issubclass(found, BaseException):
            return self._class(reference, definitions, depth)
        return None

    def exception(self, reference: str, definitions: Any, args: Any, own: dict[str, Any], text: Any) -> BaseException:
        """Return an exception of the solution. Raises an Exception if it is malformed."""
        kind = self.class_of(reference, definitions)
        if not issubclass(kind, BaseException):
            raise codec.Malformed("no class of exceptions")
        made: BaseException
        try:
            made = kind(*args)
        except Exception:
            made = kind.__new__(kind, *args)
        made.__dict__.update(own)
        if text is not None:
            made.__dict__["__text__"] = text
        return made

    def resolve(self, node: Node, value: Callable[[Any], Any]) -> Any:
        """Return the value of a node from the solution's process. Raises an Exception if it is malformed."""
        tag = node[0]
        if tag == "h":
            return self._instance(*node[1:])
        if tag == "g":
            name = node[1]
            return (
                self.named(name)
                if self._kinds.get(name, "v")[0] in ("f", "c", "e")
                else Function(self._relay, name, name)
            )
        if tag == "F":
            return Function(self._relay, int(node[1]), str(node[2]))
        if tag == "p":
            return self._prelude[node[1]]
        if tag == "M":
            return METHOD
        if tag in ("P", "R"):
            return _pattern(node[1], node[2], *node[3:])
        if tag == "I":
            _, more, items, error = node
            return self._relay.iterate(Chunk(items, more, error, value))
        if tag == "N":
            return Chunk(node[2], node[1], node[3], value)
        _, reference, definitions, args, names, values, text = node
        own = dict(zip(names, map(value, values), strict=True))
        return self.exception(reference, definitions, value(args), own, text)

    def _instance(self, handle: int, reference: str, definitions: Any) -> Any:
        found = self._instances.get(handle)
        if found is None:
            kind = self.class_of(reference, definitions)
            if not isinstance(kind, ClassStandIn):
                raise codec.Malformed("no class of the solution")
            found = object.__new__(kind)  # type: ignore[arg-type]
            object.__setattr__(found, "__relay_handle__", int(handle))
            self._instances[handle] = found
        return found

    def prelude_class(self, name: str) -> Any:
        """Return the prelude's class of this name."""
        return self._prelude[name]

    def describe(self, value: Any, refer: Callable[[Any], Any]) -> Node:
        """Return the node of a value of the tests (`relay_data.Side`)."""
        kind = type(value)
        if isinstance(kind, ClassStandIn):
            return "h", value.__relay_handle__
        if kind is Function:
            return self._function(value.__relay_target__)
        if isinstance(value, ClassStandIn):
            return "g", value.__relay_name__
        if value in self._prelude_names if isinstance(value, type) else kind in self._prelude_names:
            name = self._prelude_names[value if isinstance(value, type) else kind]
            if isinstance(value, type):
                return "p", name
            if isinstance(value, BaseException):
                return _exception_node("p:" + name, value, refer)
            return instance_node(name, value, refer)
        if isinstance(value, BaseException):
            return _exception_node(self._reference(kind), value, refer)
        if isinstance(value, type) and value in self._classes.values():
            return "g", self._reference(value).partition(":")[2]
        if hasattr(kind, "__next__") and kind.__module__ in ("builtins", "itertools"):
            items = [*itertools.islice(value, _MOST_ITEMS + 1)]
            if len(items) > _MOST_ITEMS:
                raise codec.NotPlain("an endless iterator can't cross from the tests to the solution")
            return "I", None, [refer(one) for one in items], None
        return _of_library(value)

    def _function(self, target: Any) -> Node:
        if target == "":
            target = self._entry_point
        if type(target) is tuple:
            return "A", *target
        return ("h", target) if type(target) is int else ("g", target)

    def _reference(self, kind: Any) -> str:
        reference: str
        for reference, one in self._classes.items():
            if one is kind:
                return reference
        own: str = kind.__name__
        if _builtins.get(own) is kind:
            return "b:" + own
        _of_library(kind)
        return f"m:{kind.__module__}:{kind.__qualname__}"


def checked_kinds(kinds: Any) -> Kinds:
    """Return the kinds of names that a solution's process has sent.

    Raises:
        codec.Malformed: they are none.
    """
    sizes = {"f": 1, "v": 1, "c": 3, "e": 2, "i": 3}
    try:
        for name, kind in kinds.items():
            parts = [one for part in kind for one in (part if type(part) is tuple else [part])]
            if len(kind) != sizes[kind[0]] or {type(name), *map(type, parts)} != {str}:
                raise codec.Malformed("a name of the solution has no kind")
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise codec.Malformed("the solution's process sent no names") from error
    return kinds  # type: ignore[no-any-return]


def is_offered(name: str, kind: tuple[Any, ...]) -> bool:
    """Return True if tests that read a name, and don't define it, get what the solution has by this name.

    They keep their own builtins, and modules: a solution that defines ``all`` or ``math`` would decide what they check.
    """
    if name.startswith("__") or name in _builtins:
        return False
    return name not in sys.stdlib_module_names or kind[0] == "i"


def _checked_class(found: Any) -> Any:
    if not (isinstance(found, type) and issubclass(found, BaseException)):
        raise codec.Malformed("no class of exceptions")
    return found


def _text_of(self: BaseException) -> str:
    """Return what the solution's own ``__str__`` has returned, where it has one."""
    text = self.__dict__.get("__text__")
    if type(text) is str:
        return text
    inherited = next(base for base in type(self).__mro__ if vars(base).get("__str__", _text_of) is not _text_of)
    return str.__str__(inherited.__str__(self))  # type: ignore[call-arg]


def _pattern(pattern: Any, flags: int, string: Any = None, start: int = 0, end: int = 0) -> Any:
    """Return a compiled pattern, or its match at this place of a string."""
    compiled = re.compile(pattern, flags)
    if string is None:
        return compiled
    found = compiled.search(string, start)
    if found is None or found.span() != (start, end):
        found = compiled.fullmatch(string, start, end)
    if found is None:
        raise codec.Malformed("no match")
    return found


def _exception_node(reference: str, error: BaseException, refer: Callable[[Any], Any]) -> Node:
    own = error.__dict__
    return "x", reference, (), refer(error.args), [*own], [refer(one) for one in own.values()], None


def _of_library(value: Any) -> Node:
    """Return the node of a function or class of the standard library.

    Raises:
        codec.NotPlain: it is anything else.
    """
    name = getattr(value, "__qualname__", None)
    if isinstance(name, str):
        module = getattr(value, "__module__", None) or "builtins"
        try:
            if module.partition(".")[0] in sys.stdlib_module_names and attrgetter(name)(sys.modules[module]) is value:
                return "m", module, name
        except (AttributeError, KeyError):
            pass
        what = "the class" if isinstance(value, type) else "the function"
        raise codec.NotPlain(f"{what} {name!r:.60} of the tests can't cross to the solution")
    raise codec.NotPlain(f"an instance of {type(value).__name__!r:.60} can't cross from the tests to the solution")


class SolutionModule(types.ModuleType):
    """The module ``solution`` that tests import."""

    def __init__(self, side: FromTests, relay: Relay, kinds: Kinds) -> None:
        super().__init__(MODULE)
        vars(self).update(__relay__=relay, __side__=side, __kinds__=kinds)
        vars(self)["__all__"] = ()  # what tests read of it has a stand-in in their namespace already

    def __getattr__(self, name: str) -> Any:
        own = vars(self)
        if name in own["__kinds__"]:
            return own["__side__"].named(name)
        raise AttributeError(f"module 'solution' has no attribute {name!r}", name=name, obj=self)

    def __setattr__(self, name: str, value: Any) -> None:
        vars(self)["__relay__"].refuse(f"{name} of the solution can't be set by its tests")
