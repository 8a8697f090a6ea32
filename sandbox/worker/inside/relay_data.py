"""Values that cross between solution and tests: plain data, and graphs of what is more than that.

Plain data is encoded as it is. Anything else, such as instances of the prelude's classes or objects that refer to each
other, travels as a *graph*: a list of nodes, which is plain data itself. A node is a tuple of a tag and its parts. A
*reference* in it is the index of a node, or a tuple of one scalar. Nothing here recurses::

    v value             a scalar                       i class, names, references   an instance: its attributes
    L list              a list of scalars              u class, references          an instance of a named tuple
    l references        a list                         e class, name                a member of an enumeration
    t references        a tuple                        x class, definitions, args, names, references, text
    s set               a set of scalars                                            an exception
    S f references      a set, a frozenset             a number                     an argument of this call
    d kind, keys, values, factory    a dictionary      k name                       a builtin type
    q maxlen, references             a deque           V kind, references           a view of a dictionary
    y bytes             a bytearray                    I more, references, error    what an iterator yields
    n array             a NumPy array                  others                       known to one side (`Side`)
"""

from __future__ import annotations

import collections
import datetime
import decimal
import fractions
import functools
from collections.abc import Callable, Iterable
from types import NoneType
from typing import Any, Protocol

from selftaught.sandbox import codec
from selftaught.sandbox.extended import kinds
from selftaught.sandbox.worker.inside.instances import set_attributes

Node = tuple[Any, ...]
Graph = list[Node]
MOST_BYTES = 1 << 29
"""The largest request; the supervisor may allow less."""

encode: Callable[[object, int], bytes] = functools.partial(codec.encode, extended=True)
"""Encodes what both processes send."""
decode: Callable[[bytes], Any] = codec.decode

SCALARS = frozenset(
    {
        *(int, float, bool, NoneType, str, bytes, complex, range, decimal.Decimal, fractions.Fraction),
        *(datetime.date, datetime.time, datetime.datetime, datetime.timedelta, datetime.timezone),
    }
)
"""Types without parts that could be changed or shared."""
_DICTS = {
    kind.__name__: kind
    for kind in (dict, collections.OrderedDict, collections.Counter, collections.defaultdict)
}  # fmt: skip
_DICT_TYPES = frozenset(_DICTS.values())
MUTABLE = frozenset({list, set, collections.deque, bytearray, *_DICT_TYPES})
_VIEWS = {type({}.keys()): "keys", type({}.values()): "values", type({}.items()): "items"}
_FACTORIES = {kind.__name__: kind for kind in kinds.FACTORIES if kind is not None}
_type, _id, _map, _len, _tuple = type, id, map, len, tuple
_list, _dict, _set, _frozenset, _deque, _bytearray = list, dict, set, frozenset, collections.deque, bytearray
_all_scalars = SCALARS.issuperset
_MISSING = object()

_FROZEN, _TUPLE, _LEAF, _LIST, _KEYED = range(5)
_HOW: dict[type, int] = {
    **dict.fromkeys(_DICT_TYPES, _KEYED),
    **{list: _LIST, collections.deque: _LIST, tuple: _TUPLE, set: _LEAF, bytearray: _LEAF, frozenset: _FROZEN},
}
"""How to look for mutable objects in an instance of a type."""
_how = _HOW.get


class Shared(Exception):
    """A mutable object occurs twice in the arguments of a call, so they have to travel as a graph."""


def is_array(kind: type) -> bool:
    """Return True if the type is NumPy's array type."""
    return kind.__module__ == "numpy" and kind.__name__ == "ndarray"


def mutable_objects(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    """Return the mutable objects in the arguments of a call, always in the same order.

    Raises:
        Shared: one occurs twice.
    """
    found: list[Any] = []
    todo: list[Iterable[Any]] = [args, kwargs.values()] if kwargs else [args]
    for items in todo:
        for item in items:
            kind = _type(item)
            if kind in SCALARS:
                continue
            how = _how(kind)
            if how == _FROZEN or (how is None and not is_array(kind)):
                continue
            if how != _TUPLE:
                found.append(item)
            if how == _LEAF or how is None:
                continue
            inner = item.values() if how == _KEYED else item
            if not _all_scalars(_map(_type, inner)):
                todo.append(inner)
    if _len(found) > 1 and _len({_id(one) for one in found}) != _len(found):
        raise Shared
    return found


class Side(Protocol):
    """What one of the two processes knows about objects that are no builtin containers."""

    def describe(self, value: Any, refer: Callable[[Any], Any]) -> Node:
        """Return the node of a value.

        Args:
            value: of another type than this module knows.
            refer: returns the reference to a part of it.

        Raises:
            codec.NotPlain: it can't cross.
        """

    def resolve(self, node: Node, objects: Callable[[Any], Any]) -> Any:
        """Return the value of a node that `describe` of the other side has made."""

    def prelude_class(self, name: str) -> Any:
        """Return the prelude's class of this name."""


def flatten(roots: list[Any], side: Side, known: dict[int, int], new: int = 1) -> tuple[Graph, list[Any]]:
    """Return the graph of values, and the object of each node.

    Args:
        roots: the values; they become the first nodes.
        side: describes what is no builtin container.
        known: number of each argument of this call by its identity; it is not described again.
        new: how many of the roots may be such an argument; the others are described for what they have become.

    Raises:
        codec.NotPlain: something in it can't cross.
    """
    order = _list(roots)
    index_of = {_id(root): index for index, root in enumerate(roots) if index >= new or _id(root) not in known}

    def refer(value: Any) -> Any:
        if _type(value) in SCALARS:
            return (value,)
        index = index_of.get(_id(value))
        if index is None:
            index = index_of[_id(value)] = _len(order)
            order.append(value)
        return index

    nodes: Graph = []
    for value in order:  # it grows
        number = known.get(_id(value))
        if number is not None and not new <= _len(nodes) < _len(roots):
            nodes.append(("a", number))
        else:
            nodes.append(_node(value, side, refer))
    return nodes, order


def _node(value: Any, side: Side, refer: Callable[[Any], Any]) -> Node:
    kind = _type(value)
    if kind in SCALARS:
        return "v", value
    if kind is _list:
        return ("L", value) if _all_scalars(_map(_type, value)) else ("l", [refer(one) for one in value])
    if kind is _tuple:
        return "t", [refer(one) for one in value]
    if kind is _set or kind is _frozenset:
        if _all_scalars(_map(_type, value)):
            return ("s", value) if kind is _set else ("v", value)
        return "S" if kind is _set else "f", [refer(one) for one in value]
    if kind in _DICT_TYPES:
        factory = getattr(value, "default_factory", None)
        if factory is not None and _FACTORIES.get(getattr(factory, "__name__", "")) is not factory:
            raise codec.NotPlain("a defaultdict whose factory is a function can't cross")
        name = factory.__name__ if factory else None
        return "d", kind.__name__, [refer(one) for one in value], [refer(one) for one in value.values()], name
    if kind is _deque:
        return "q", value.maxlen, [refer(one) for one in value]
    if kind is _bytearray:
        return "y", bytes(value)
    if kind in _VIEWS:
        return "V", _VIEWS[kind], [refer(one) for one in value]
    if is_array(kind):
        return "n", value
    if kind.__module__ == "numpy":
        return "v", value
    if kind is _type and kind is not value and value.__module__ == "builtins":
        return "k", value.__name__
    return side.describe(value, refer)


class Builder:
    """Make the values of a graph.

    The graph may come from hostile code: the caller takes any Exception as a sign that it is malformed.
    """

    def __init__(self, nodes: Graph, side: Side, arguments: list[Any], preset: dict[int, Any]) -> None:
        """Args:
        nodes: the graph.
        side: makes what is no builtin container.
        arguments: what nodes with the tag a stand for.
        preset: objects that certain nodes describe anew: they are changed in place.
        """
        self._nodes, self._side, self._arguments = nodes, side, arguments
        self._made: list[Any] = [_MISSING] * _len(nodes)
        for index, value in preset.items():
            self._made[index] = _checked(value, nodes[index], side)

    def build(self) -> list[Any]:
        """Return the value of each node."""
        nodes, made = self._nodes, self._made
        for index, node in enumerate(nodes):
            if made[index] is _MISSING:
                made[index] = self._shell(node)
        for index in range(_len(nodes)):
            if made[index] is _MISSING:
                self._make_frozen(index)
        late = []
        for index, node in enumerate(nodes):
            if node[0] in ("d", "S"):
                late.append(index)  # the hash of a key may depend on its attributes
            else:
                self._fill(made[index], node)
        for index in late:
            self._fill(made[index], nodes[index])
        return made

    def value(self, reference: Any) -> Any:
        """Return what a reference stands for."""
        return self._made[reference] if _type(reference) is int else reference[0]

    def _shell(self, node: Node) -> Any:
        """Return the value, to be filled later; `_MISSING` if it needs the values of its parts."""
        tag = node[0]
        if tag in ("v", "L", "s", "n"):
            return node[1]
        if tag in ("t", "f", "u", "x", "V"):
            return _MISSING
        if tag == "a":
            return self._arguments[node[1]]
        return self._empty(tag, node)

    def _empty(self, tag: str, node: Node) -> Any:
        if tag == "l":
            return []
        if tag == "d":
            made: Any = _DICTS[node[1]]()
            if node[4] is not None:
                made.default_factory = _FACTORIES[node[4]]
            return made
        if tag == "S":
            return set()
        if tag == "q":
            return collections.deque(maxlen=node[1])
        if tag == "y":
            return bytearray(node[1])
        if tag == "k":
            return _builtin_type(node[1])
        if tag == "i":
            return object.__new__(self._side.prelude_class(node[1]))
        if tag == "e":
            return self._side.prelude_class(node[1]).__members__[node[2]]
        return self._side.resolve(node, self.value)

    def _make_frozen(self, start: int) -> None:
        """Make a value that can't be changed later, and first such parts of it."""
        todo, begun = [start], set()
        while todo:
            index = todo[-1]
            node = self._nodes[index]
            missing = [one for one in _parts(node) if _type(one) is int and self._made[one] is _MISSING]
            if not missing:
                if self._made[index] is _MISSING:
                    self._made[index] = self._frozen(node)
                todo.pop()
            elif index in begun:
                raise codec.Malformed("a tuple contains itself")
            else:
                begun.add(index)
                todo += missing

    def _frozen(self, node: Node) -> Any:
        tag = node[0]
        if tag == "x":
            return self._side.resolve(node, self.value)
        parts = [self.value(one) for one in _parts(node)]
        if tag == "t":
            return _tuple(parts)
        if tag == "f":
            return _frozenset(parts)
        if tag == "u":
            return _tuple.__new__(self._side.prelude_class(node[1]), parts)
        if node[1] == "values":
            return _dict(enumerate(parts)).values()
        return _dict.fromkeys(parts).keys() if node[1] == "keys" else _dict(parts).items()

    def _fill(self, made: Any, node: Node) -> None:
        tag, value = node[0], self.value
        if tag == "l":
            made[:] = [value(one) for one in node[1]]
        elif tag == "d":
            made.clear()
            for key, one in zip(node[2], node[3], strict=True):
                made[value(key)] = value(one)
        elif tag == "S":
            made.clear()
            made.update([value(one) for one in node[1]])
        elif tag == "q":
            made.clear()
            made.extend([value(one) for one in node[2]])
        elif tag == "i":
            set_attributes(made, _dict(zip(node[2], [value(one) for one in node[3]], strict=True)))
        elif tag in _OF_SCALARS and made is not node[1]:
            self._fill_scalars(made, node)

    def _fill_scalars(self, made: Any, node: Node) -> None:
        tag, new = node[0], node[1]
        if tag in ("L", "y"):
            made[:] = new
        elif tag == "s":
            made.clear()
            made.update(new)
        elif tag == "n":
            made[...] = new


_OF_SCALARS = frozenset("Lsny")
_PRESET = {"l": list, "L": list, "s": set, "S": set, "q": collections.deque, "y": bytearray}


def _checked(value: Any, node: Node, side: Side) -> Any:
    """Return a value that a node is to describe anew.

    Raises:
        codec.Malformed: they are of different types.
    """
    tag, kind = node[0], _type(value)
    if tag == "i":
        fits = side.prelude_class(node[1]) is kind
    elif tag == "n":
        fits = is_array(kind)
    else:
        fits = kind is (_DICTS[node[1]] if tag == "d" else _PRESET[tag])
    if not fits:
        raise codec.Malformed("an argument has become another type")
    return value


def _parts(node: Node) -> list[Any]:
    """Return the references in a node that is to be frozen."""
    tag = node[0]
    if tag in ("t", "f"):
        return node[1]  # type: ignore[no-any-return]
    if tag in ("u", "V"):
        return node[2]  # type: ignore[no-any-return]
    return [node[3], *node[5]] if tag == "x" else []


def _builtin_type(name: str) -> type:
    import builtins

    found = vars(builtins)[name]
    if not isinstance(found, type):
        raise codec.Malformed("no builtin type")
    return found
