"""Stand-ins: what tests find under the names of the solution.

Calls, and reading and setting attributes, are relayed. No operator, comparison, conversion or iteration of a stand-in
for an instance is ever answered by the solution: an object of the solution can't decide an assertion.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from selftaught.sandbox.worker.inside.from_solution import METHOD
from selftaught.sandbox.worker.inside.relay import Relay
from selftaught.sandbox.worker.inside.solution import MODULE

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


def make_class(relay: Relay, name: str, bases: list[Any], methods: Any) -> Any:
    """Return a stand-in for a class.

    Args:
        relay: the connection to the solution.
        name: of the class there.
        bases: the stand-ins that it derives from.
        methods: names of its methods.
    """
    scope: dict[str, Any] = {method: _MethodOf(method) for method in methods if not method.startswith("__")}
    scope |= {"__slots__": (), "__module__": MODULE, "__relay__": relay, "__relay_name__": name}
    return type.__new__(ClassStandIn, name.rpartition(".")[2], tuple(bases) or (InstanceStandIn,), scope)
