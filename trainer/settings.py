"""Settings as dataclasses, changed by NAME=VALUE from a command line."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any, TypeVar

T = TypeVar("T")
_BOOLEANS = {"true": True, "on": True, "yes": True, "1": True, "false": False, "off": False, "no": False, "0": False}


def changed(settings: T, changes: Iterable[str]) -> T:
    """The settings with some fields set, each as ``NAME=VALUE``. Raises ValueError with the names that there are."""
    values: dict[str, Any] = {}
    names = [field.name for field in dataclasses.fields(settings)]  # type: ignore[arg-type]  # a dataclass
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals or name not in names:
            raise ValueError(f"{change!r} sets nothing: give NAME=VALUE, NAME one of {', '.join(names)}")
        kind = type(getattr(settings, name))
        try:
            values[name] = _BOOLEANS[text.lower()] if kind is bool else kind(text)
        except (ValueError, KeyError):
            raise ValueError(f"{change!r}: {name} is of type {kind.__name__}") from None
    return dataclasses.replace(settings, **values)  # type: ignore[type-var]
