"""Settings as dataclasses, changed by NAME=VALUE from a command line."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, TypeVar

T = TypeVar("T")
_BOOLEANS = {"true": True, "on": True, "yes": True, "1": True, "false": False, "off": False, "no": False, "0": False}


def changed(settings: T, changes: Iterable[str]) -> T:
    """Return a copy of the settings with some fields changed.

    Args:
        settings: An instance of a dataclass whose fields are of type bool, int, float or str.
        changes: The changes, each as ``NAME=VALUE``; a value is converted to the type of the field.

    Raises:
        ValueError: A name is unknown (the message names the nearest known ones), a value has another type, or the
            dataclass itself refuses it.
    """
    values: dict[str, Any] = {}
    names = [field.name for field in dataclasses.fields(settings)]  # type: ignore[arg-type]  # a dataclass
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals:
            raise ValueError(f"{change!r}: give NAME=VALUE, NAME one of {', '.join(names)}")
        if name not in names:
            raise ValueError(f"{change!r}: there is no setting {name!r}; {_suggestion(name, names)}")
        kind = type(getattr(settings, name))
        try:
            values[name] = _BOOLEANS[text.lower()] if kind is bool else kind(text)
        except (ValueError, KeyError):
            raise ValueError(f"{change!r}: {name} is of type {kind.__name__}") from None
    return dataclasses.replace(settings, **values)  # type: ignore[type-var]


def unknown_names(stored: dict[str, Any], current: dict[str, Any]) -> list[str]:
    """Return the names of stored settings, nested ones included, that the current settings do not have.

    Args:
        stored: Settings as a run folder's config.json has them.
        current: The settings that this version of the program would store.
    """
    found = []
    for name, value in stored.items():
        if name not in current:
            found.append(name)
        elif isinstance(value, dict) and isinstance(current[name], dict):
            found += unknown_names(value, current[name])
    return sorted(found)


def _suggestion(name: str, names: list[str]) -> str:
    """Return the part of an error message that names the nearest known names, and all of them."""
    near = [known for known in names if name in known.split("_")] or get_close_matches(name, names, 3, 0.4)
    question = f"did you mean {' or '.join(near)}? " if near else ""
    return f"{question}NAME is one of {', '.join(names)}"
