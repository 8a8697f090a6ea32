"""What packages in the jail are: their names, and what is made available (`selftaught.sandbox.distributions`)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import TypedDict

NAME = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)")
"""The name of a distribution, perhaps behind white space."""


class Chosen(TypedDict):
    """What is made available in the jail. It travels as JSON.

    Attributes:
        versions: Version of each distribution, named or required, by its name.
        modules: For each named distribution, the modules that are imported before the jail closes.
        entries: Files, and folders with all that is in them: relative place, and path. No place is in another.
        libraries: The shared libraries of the system that they need: path by name.
    """

    versions: dict[str, str]
    modules: dict[str, list[str]]
    entries: list[tuple[str, str]]
    libraries: dict[str, str]


NONE = Chosen(versions={}, modules={}, entries=[], libraries={})
"""Nothing is made available."""
MEMORY_BYTES = 1 << 30
"""What packages may take of a worker's memory, beside that of tasks."""


VARIABLE = "SELFTAUGHT_PACKAGES"
"""The environment variable that names the packages where a program names none: ``numpy,sympy``."""


def from_environment() -> list[str]:
    """Return the names in the environment variable `VARIABLE`."""
    return [name for name in re.split(r"[,\s]+", os.environ.get(VARIABLE, "")) if name]


def normalized(names: Iterable[str]) -> tuple[str, ...]:
    """Return names of distributions in canonical form: sorted, each once.

    Args:
        names: The names.

    Raises:
        ValueError: One is no name of a distribution.
    """
    if isinstance(names, str):
        raise ValueError(f"packages must be a list of names, such as [{names!r}]")
    found = set()
    for name in names:
        if not (isinstance(name, str) and (match := NAME.fullmatch(name.strip()))):
            raise ValueError(f"{name!r} is no name of a package: give the names that pip knows, without versions")
        found.add(canonical(match[1]))
    return tuple(sorted(found))


def canonical(name: str) -> str:
    """Return a name of a distribution as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()
