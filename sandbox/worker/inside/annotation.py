"""Exact type check of a plain answer against the annotation of a puzzle's first parameter.

`int` is not `float` and `bool` is not `int`: ``type(x) is T`` at every level, as in P3.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable
from typing import Any, Union, get_args, get_origin

_EXACT = (int, float, str, bool, list, tuple, set, dict, types.NoneType)
_ANYTHING = (Any, object)
_BARE = {typing.List: list, typing.Tuple: tuple, typing.Set: set, typing.Dict: dict}  # noqa: UP006

_MISSING = object()


class Unsupported(ValueError):
    """The annotation says nothing that an answer can be checked against."""


def mismatch(check: Callable[..., Any], value: object) -> str:
    """Return how an answer differs from the annotation of the puzzle's first parameter, or "" if it does not.

    Evaluating the annotation may raise anything.
    """
    expected = _declared(check)
    if expected is _MISSING or type(value) is expected or matches(value, expected):
        return ""
    name = getattr(expected, "__name__", "") if isinstance(expected, type) else repr(expected)
    return f"the answer is {describe(value)}, not {name}"


def _declared(check: Callable[..., Any]) -> Any:
    """Return the annotation of the first parameter, with text in it evaluated; `_MISSING` if there is none."""
    code = getattr(check, "__code__", None)
    if code is None or not code.co_argcount:
        return _MISSING
    name = code.co_varnames[0]
    found = check.__annotations__.get(name, _MISSING)
    if type(found) is not type and (isinstance(found, str) or "'" in repr(found)):  # text, or text in it: List["int"]
        return typing.get_type_hints(check)[name]
    return found


def matches(value: object, annotation: Any) -> bool:
    """Return True if a plain value has exactly the annotated type.

    Args:
        value: plain data, as `codec.decode` returns it.
        annotation: the evaluated annotation.

    Raises:
        Unsupported: the annotation is of no supported form.
    """
    if annotation in _ANYTHING:
        return True
    if annotation is None or annotation in _EXACT:
        return type(value) is (type(None) if annotation is None else annotation)
    if annotation in _BARE:
        return type(value) is _BARE[annotation]
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Union or origin is types.UnionType:
        return any(matches(value, option) for option in inner)
    if origin is typing.Literal:
        return any(type(value) is type(option) and value == option for option in inner)
    if origin not in (list, tuple, set, dict):
        raise Unsupported(f"the annotation {annotation!r} is not supported")
    if type(value) is not origin:
        return False
    if origin is dict:
        return _all(value, inner[0]) and _all(value.values(), inner[1])  # type: ignore[attr-defined]
    if origin is not tuple or (len(inner) == 2 and inner[1] is Ellipsis):
        return _all(value, inner[0])
    items = typing.cast("tuple[object, ...]", value)
    return len(items) == len(inner) and all(map(matches, items, inner))


def _all(values: Any, annotation: Any) -> bool:
    options = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
    if all(option in _EXACT for option in options):
        return {*map(type, values)} <= {*options}
    return all(matches(value, annotation) for value in values)


def describe(value: object) -> str:
    """Return the type of a plain value in a few words: its own, and those of its elements."""
    name = type(value).__name__
    if isinstance(value, dict):
        return f"{name}[{_kinds(value)}, {_kinds(value.values())}]" if value else name
    if isinstance(value, (list, tuple, set)):
        return f"{name}[{_kinds(value)}]" if value else name
    return name


def _kinds(values: Any) -> str:
    return " | ".join(sorted({kind.__name__ for kind in map(type, values)}))
