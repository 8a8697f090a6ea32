"""Instances of classes of the prelude, which both processes have: they cross as their attributes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from selftaught.sandbox import codec


def instance_node(name: str, value: Any, refer: Callable[[Any], Any]) -> tuple[Any, ...]:
    """Return the node of an instance of a class of the prelude.

    Raises:
        codec.NotPlain: the class derives from a builtin one.
    """
    kind = type(value)
    if hasattr(kind, "__members__"):
        return "e", name, value.name
    if isinstance(value, tuple) and hasattr(kind, "_fields"):
        return "u", name, [refer(one) for one in value]
    if any(base.__module__ == "builtins" for base in kind.__mro__[1:-1]):
        raise codec.NotPlain(f"an instance of {name!r:.60}, which derives from a builtin class, can't cross")
    attributes = attributes_of(value)
    return "i", name, [*attributes], [refer(one) for one in attributes.values()]


def attributes_of(value: Any) -> dict[str, Any]:
    """Return the attributes that an instance has itself, in its dictionary or in slots."""
    found = {}
    for base in type(value).__mro__:
        for name, slot in vars(base).items():
            if _is_slot(slot):
                try:
                    found[name] = slot.__get__(value)
                except AttributeError:
                    pass
    found.update(getattr(value, "__dict__", {}))
    return found


def set_attributes(value: Any, attributes: dict[str, Any]) -> None:
    """Give an instance these attributes and no others.

    Raises:
        codec.Malformed: one would hide a method or a property of its class.
    """
    own = getattr(value, "__dict__", None)
    if own is not None:
        own.clear()
    kind = type(value)
    for name, new in attributes.items():
        usual = next((vars(base)[name] for base in kind.__mro__ if name in vars(base)), None)
        if usual is not None and _is_slot(usual):
            usual.__set__(value, new)
        elif own is None or (hasattr(usual, "__get__") and type(usual).__name__ != "cached_property"):
            raise codec.Malformed(f"an instance has an attribute {name!r:.60} that its class forbids")
        else:
            own[str(name)] = new


_SLOT = type(type("_", (), {"__slots__": "slot"}).__dict__["slot"])


def _is_slot(value: Any) -> bool:
    return type(value) is _SLOT
