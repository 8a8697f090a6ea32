"""Stand-ins: what tests find under the names of the solution.

Calls, and reading and setting attributes, are relayed. No operator, comparison, conversion or iteration of a stand-in
for an instance is ever answered by the solution: an object of the solution can't decide an assertion.
"""

from __future__ import annotations

import itertools
import sys
import types
import weakref
from collections.abc import Callable
from importlib import import_module
from operator import attrgetter
from typing import Any

from selftaught.sandbox import codec
from selftaught.sandbox.worker.inside.crossing import METHOD, instance_node
from selftaught.sandbox.worker.inside.relay import Chunk, Relay
from selftaught.sandbox.worker.inside.relay_data import Node
from selftaught.sandbox.worker.inside.solution import EXCEPTIONS_OF, IMPORTED, MODULE, Kinds

MOST_ITEMS = 100_000
"""How many items an iterator may yield that is an argument."""
_MOST_BASES = 50
_REFUSED_OF_FUNCTIONS = (
    "__code__ __defaults__ __kwdefaults__ __closure__ __globals__ __annotations__ __wrapped__".split()
)
_COMPARISONS = "lt le eq ne gt ge hash".split()
_OPERATORS = (
    "bool len length_hint iter next reversed contains getitem setitem delitem missing call enter exit aenter aexit "
    "await aiter anext neg pos abs invert int float complex index round trunc floor ceil str repr format bytes fspath "
    "dir copy deepcopy reduce reduce_ex getstate delattr get set delete"
).split()
_ARITHMETIC = "add sub mul matmul truediv floordiv mod divmod pow lshift rshift and xor or".split()
_OF_CLASSES = "len iter contains getitem setitem delitem reversed".split()
_builtins = vars(sys.modules["builtins"])


class Function:
    __slots__ = ("__relay__", "__relay_name__", "__relay_target__")
    __relay__: Relay
    __relay_name__: str
    __relay_target__: Any

    def __init__(self, relay: Relay, target: Any, name: str) -> None:
        for attribute, value in (("", relay), ("_target", target), ("_name", name)):
            object.__setattr__(self, f"__relay{attribute}__", value)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        return self.__relay__.call(self.__relay_target__, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        relay, target = self.__relay__, self.__relay_target__
        if name == "__name__":
            return self.__relay_name__
        if name in _REFUSED_OF_FUNCTIONS or (type(target) is tuple and not name.startswith("__")):
            relay.refuse(f"the attribute {name} of the solution's function {self.__name__} can't be read")
        if name.startswith("__"):
            raise AttributeError(f"'function' object has no attribute {name!r}", name=name, obj=self)
        return _attribute(relay, target, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self.__relay__.refuse(f"attributes of the solution's function {self.__name__} can't be set")

    @property
    def __signature__(self) -> Any:
        self.__relay__.refuse(f"the signature of the solution's function {self.__name__} can't be read")


Function.__doc__ = None


def _attribute(relay: Relay, owner: Any, name: str) -> Any:
    value = relay.get(owner, name)
    return Function(relay, (owner, name), name) if value is METHOD else value


class _MethodOf:
    """A method of a class of the solution, in the stand-in for the class."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, instance: Any, owner: Any) -> Function:
        target = owner.__relay_name__ if instance is None else instance.__relay_handle__
        return Function(owner.__relay__, (target, self._name), self._name)


class _RefusedOf:
    """An operation of an instance that is not answered."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, instance: Any, owner: Any) -> Any:
        if instance is None:
            return self
        return owner.__relay__.refuse(f"{self._name} of the solution's class {owner.__name__} can't be called")


def _comparison(name: str) -> Callable[..., Any]:
    def refuse(self: Any, *_: Any) -> Any:
        kind = type(self)
        kind.__relay__.refuse(f"{name} of the solution's class {kind.__name__} can't be called")

    return refuse


class ClassStandIn(type):
    """The type of stand-ins for classes."""

    __relay__: Relay
    __relay_name__: str

    def __new__(cls, name: str, bases: tuple[type, ...], scope: dict[str, Any], **_: Any) -> Any:
        relay = next((base.__relay__ for base in bases if isinstance(base, ClassStandIn)), None)
        if relay is not None:
            relay.refuse(f"the tests' class {name} can't derive from a class of the solution")
        return type.__new__(cls, name, bases, scope)

    def __call__(cls, /, *args: Any, **kwargs: Any) -> Any:
        return cls.__relay__.call(cls.__relay_name__, args, kwargs)

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__") and name != "__members__":
            raise AttributeError(f"type object {cls.__name__!r} has no attribute {name!r}", name=name, obj=cls)
        return _attribute(cls.__relay__, cls.__relay_name__, name)

    def __setattr__(cls, name: str, value: Any) -> None:
        cls.__relay__.set(cls.__relay_name__, name, value)

    def __delattr__(cls, name: str) -> None:
        cls.__relay__.refuse(f"attributes of the solution's class {cls.__name__} can't be deleted")

    def __bool__(cls) -> bool:
        return True


def _refused_of_class(name: str) -> Callable[..., Any]:
    def refuse(cls: Any, *_: Any) -> Any:
        cls.__relay__.refuse(f"{name} of the solution's class {cls.__name__} can't be called")

    return refuse


for _name in _OF_CLASSES:
    type.__setattr__(ClassStandIn, f"__{_name}__", _refused_of_class(f"__{_name}__"))


class InstanceStandIn(metaclass=ClassStandIn):
    __slots__ = ("__relay_handle__", "__weakref__")
    __relay_handle__: int

    def __getattr__(self, name: str) -> Any:
        kind = type(self)
        if name.startswith("__") and name.endswith("__"):
            kind.__relay__.refuse(f"{name} of the solution's class {kind.__name__} can't be read")
        return _attribute(kind.__relay__, self.__relay_handle__, name)

    def __setattr__(self, name: str, value: Any) -> None:
        type(self).__relay__.set(self.__relay_handle__, name, value)


for _name in (*_COMPARISONS, *_OPERATORS, *(_before + _one for _one in _ARITHMETIC for _before in ("", "r", "i"))):
    _full = f"__{_name}__"
    type.__setattr__(InstanceStandIn, _full, (_comparison if _name in _COMPARISONS else _RefusedOf)(_full))


class FromTests:
    """Make stand-ins, and describe objects of the tests to the solution's process (`relay_data.Side`).

    Attributes:
        entry_point: the name of the function to judge.
        names: the names that the solution defines.
    """

    def __init__(self, relay: Relay, kinds: Kinds, entry_point: str, prelude: dict[str, type]) -> None:
        self._relay, self._kinds, self.entry_point, self._prelude = relay, kinds, entry_point, prelude
        self.names = {name for name in kinds if not (name.startswith("__") and name.endswith("__"))}
        self._prelude_names = {kind: name for name, kind in prelude.items()}
        self._standins: dict[str, Any] = {}
        self._classes: dict[str, Any] = {}
        self._instances: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
        relay.side = self

    def candidate(self) -> Any:
        """Return the stand-in for the entry point."""
        return (
            self.named(self.entry_point) if self.entry_point in self._kinds else Function(self._relay, "", "candidate")
        )

    def public_names(self) -> list[str]:
        """Return the names that ``from solution import *`` gives tests: none by which they may compare."""
        kinds, others = self._kinds, {*_builtins, *vars(sys.modules["pytest"])}
        return [
            name
            for name in self.names
            if name == self.entry_point or (name[0] != "_" and name not in others and kinds[name][0] in ("f", "c", "e"))
        ]

    def is_live(self, name: str) -> bool:
        """Return True if a name stands for a value that is to be read whenever it is needed."""
        return name != self.entry_point and self._kind(name)[0] == "v"

    def named(self, name: str) -> Any:
        """Return the stand-in for a global name of the solution."""
        try:
            return self._named(name)
        except (LookupError, TypeError, ValueError, AttributeError, ImportError) as error:
            self._relay.malformed(type(error).__name__)

    def _named(self, name: str) -> Any:
        found = self._standins.get(name)
        if found is None:
            kind = self._kind(name)
            if name == self.entry_point and kind[0] not in "ce":
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
        if kind[0] != "i" and name in IMPORTED and name in sys.modules and name != self.entry_point:
            return "i", name, ""  # tests mean the module, whatever a solution calls so
        if kind[0] == "i":
            _, module, attribute = kind
            own = module in IMPORTED if attribute else module in IMPORTED or (module == name and name in sys.modules)
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
        return self._make_standin(name, own, methods)

    def _base(self, reference: str, definitions: dict[str, Any], depth: int) -> Any:
        """Return a base class, or None for one that no stand-in derives from."""
        source, _, name = reference.partition(":")
        if source == "s" or source == "m":
            return self._class(reference, definitions, depth) if source == "s" or reference in definitions else None
        found = self._prelude.get(name) if source == "p" else _builtins.get(name)
        if isinstance(found, type) and issubclass(found, BaseException):
            return self._class(reference, definitions, depth)
        return None

    def _make_standin(self, name: str, bases: list[Any], methods: Any) -> Any:
        scope: dict[str, Any] = {method: _MethodOf(method) for method in methods if not method.startswith("__")}
        scope |= {"__slots__": (), "__module__": MODULE, "__relay__": self._relay, "__relay_name__": name}
        return type.__new__(ClassStandIn, name.rpartition(".")[2], tuple(bases) or (InstanceStandIn,), scope)

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
            return ("p", name) if isinstance(value, type) else self._of_prelude(name, value, refer)
        if isinstance(value, BaseException):
            own = value.__dict__
            return "x", self._reference(kind), (), refer(value.args), [*own], [refer(one) for one in own.values()], None
        if isinstance(value, type) and value in self._classes.values():
            return "g", self._reference(value).partition(":")[2]
        if hasattr(kind, "__next__") and kind.__module__ in ("builtins", "itertools"):
            items = [*itertools.islice(value, MOST_ITEMS + 1)]
            if len(items) > MOST_ITEMS:
                raise codec.NotPlain("an endless iterator can't cross from the tests to the solution")
            return "I", None, [refer(one) for one in items], None
        return _of_library(value)

    def _of_prelude(self, name: str, value: Any, refer: Callable[[Any], Any]) -> Node:
        if isinstance(value, BaseException):
            own = value.__dict__
            return "x", "p:" + name, (), refer(value.args), [*own], [refer(one) for one in own.values()], None
        return instance_node(name, value, refer)

    def _function(self, target: Any) -> Node:
        if target == "":
            target = self.entry_point
        if type(target) is tuple:
            return "A", *target
        return ("h", target) if type(target) is int else ("g", target)

    def _reference(self, kind: type) -> str:
        reference: str
        for reference, one in self._classes.items():
            if one is kind:
                return reference
        if _builtins.get(kind.__name__) is kind:
            return "b:" + kind.__name__
        _of_library(kind)
        return f"m:{kind.__module__}:{kind.__qualname__}"


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

    def __init__(self, side: FromTests, relay: Relay) -> None:
        super().__init__(MODULE)
        vars(self).update(__relay__=relay, __side__=side)

    def __getattr__(self, name: str) -> Any:
        side = vars(self)["__side__"]
        if name == "__all__":
            return side.public_names()
        if name in side.names:
            return side.named(name)
        raise AttributeError(f"module 'solution' has no attribute {name!r}", name=name, obj=self)

    def __setattr__(self, name: str, value: Any) -> None:
        vars(self)["__relay__"].refuse(f"{name} of the solution can't be set by its tests")
