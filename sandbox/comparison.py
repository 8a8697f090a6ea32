"""How an output is compared with what is expected, by name."""

from __future__ import annotations

import re

NAMES = ("exact", "lines", "approx", "livecodebench", "apps", "verl", "sandboxfusion", "humaneval+")
_APPROX = re.compile(r"approx\((?:(?:rel|abs)=[0-9.e+-]+(?:, *(?=[ra])|(?=\))))+\)")


def validate(name: str) -> None:
    """Raise ValueError, with the list of names, if there is no comparison of this name."""
    if name not in NAMES and not _APPROX.fullmatch(name):
        raise ValueError(f"no comparison is called {name!r}: choose from {', '.join(NAMES)}, approx(rel=..., abs=...)")
