"""Compare what a solution returned or printed with what is expected, by the name of a comparison.

=================  =====================================================================================================
``exact``          equal, as Python's ``==`` has it
``lines``          text: equal but for blanks at the ends of lines and empty lines at the end; all else as ``exact``
``approx``         numbers within a tolerance, at any depth; all else as ``exact``
``livecodebench``  as that judge compares, and so are the following (`selftaught.sandbox.published`)
``apps``
``verl``
``sandboxfusion``
``humaneval+``
=================  =====================================================================================================

``approx(rel=1e-9, abs=0)`` and ``humaneval+(atol=0)`` take arguments, with these defaults.

All are pure functions of plain data (`selftaught.sandbox.codec`) and accept data identical to what is expected, where
NaN equals NaN. They run in a jailed process and bound no data: a hostile output costs that process its time.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from selftaught.sandbox import published
from selftaught.sandbox.equality import Tolerance, close, equal

Comparison = Callable[[Any, Any, bool], bool]
"""Takes an output, what is expected, and whether they are text that a program printed."""

_CALL = re.compile(r"([a-z0-9+]+)(?:\((.*)\))?")
_ARGUMENT = re.compile(r"\s*([a-z]+)\s*=\s*([-+.0-9a-z]+)\s*")


def validate(name: str) -> None:
    """Raise ValueError, which names the comparisons that there are, if this is none."""
    named(name)


def compare(name: str, output: object, expected: object, printed: bool = False) -> bool:
    """Return True if the output is what is expected.

    Args:
        name: a comparison.
        output: plain data.
        expected: plain data.
        printed: they are text that a program printed, not the result of a function: judges compare those in other ways.

    Raises:
        ValueError: there is no such comparison.
    """
    return named(name)(output, expected, printed)


@functools.lru_cache(maxsize=64)
def named(name: str) -> Comparison:
    """Return the comparison of this name.

    Raises:
        ValueError: there is none.
    """
    found = _CALL.fullmatch(name)
    if found is None or found[1] not in _MAKERS:
        raise ValueError(f"{name!r} is no comparison: there are {', '.join(NAMES)}")
    make, defaults = _MAKERS[found[1]]
    return make(**_arguments(name, found[2] or "", defaults))


def _arguments(name: str, text: str, defaults: Mapping[str, float]) -> dict[str, float]:
    arguments = dict(defaults)
    for part in text.split(",") if text.strip() else ():
        found = _ARGUMENT.fullmatch(part)
        try:
            key, value = (found[1], float(found[2])) if found else ("", math.nan)
        except ValueError:
            key, value = "", math.nan
        if key not in defaults or not 0 <= value < math.inf:
            known = ", ".join(f"{one}=number" for one in defaults) or "none"
            raise ValueError(f"{name!r}: the arguments of this comparison are {known}")
        arguments[key] = value
    return arguments


def _exact(output: Any, expected: Any, printed: bool) -> bool:
    return equal(output, expected)


def _lines(output: Any, expected: Any, printed: bool) -> bool:
    if isinstance(output, str) and isinstance(expected, str):
        return output == expected or text_lines(output) == text_lines(expected)
    return equal(output, expected)


def text_lines(text: str) -> list[str]:
    """Return the lines of a text without blanks at their ends, up to the last that has more than blanks."""
    return [line.rstrip() for line in text.rstrip().split("\n")]


def _approx(rel: float, abs: float) -> Comparison:
    near = Tolerance(rel, abs).near

    def approx(output: Any, expected: Any, printed: bool) -> bool:
        if not printed:
            return equal(output, expected) or close(output, expected, near)
        lines, wanted = (list(map(str.split, text_lines(text))) for text in (output, expected))
        return list(map(len, lines)) == list(map(len, wanted)) and all(
            _near_words(word, other, near)
            for line, goal in zip(lines, wanted, strict=True)
            for word, other in zip(line, goal, strict=True)
        )

    return approx


def _near_words(word: str, wanted: str, near: Callable[[Any, Any], bool]) -> bool:
    if word == wanted:
        return True
    try:
        return near(Decimal(word), Decimal(wanted))
    except ArithmeticError:  # not a number
        return False


def _humaneval_plus(atol: float) -> Comparison:
    def humaneval_plus(output: Any, expected: Any, printed: bool) -> bool:
        return _lines(output, expected, printed) if printed else published.humaneval_plus(output, expected, atol)

    return humaneval_plus


_MAKERS: dict[str, tuple[Callable[..., Comparison], Mapping[str, float]]] = {
    "exact": (lambda: _exact, {}),
    "lines": (lambda: _lines, {}),
    "approx": (_approx, {"rel": 1e-9, "abs": 0.0}),
    "livecodebench": (lambda: published.livecodebench, {}),
    "apps": (lambda: published.apps, {}),
    "verl": (lambda: published.verl, {}),
    "sandboxfusion": (lambda: published.sandboxfusion, {}),
    "humaneval+": (_humaneval_plus, {"atol": 0.0}),
}
NAMES = tuple(_MAKERS)
"""The comparisons, without arguments."""
