"""Say in a few printable words how an output differs from what is expected.

The output is hostile: it may be a number of millions of digits. Whatever the data, this looks at little of it.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any

from selftaught.sandbox.comparison import Comparison
from selftaught.sandbox.equality import is_array, is_number

_LONGEST = 90
"""Characters of an abbreviated value."""
_LARGEST = 1 << 200
"""Larger integers are not written out: that takes time quadratic in their size."""
_DEEPEST = 20


def difference(output: Any, expected: Any, printed: bool, compare: Comparison) -> str:
    """Return how an output differs from what is expected, as printable text of some 250 characters at most.

    Args:
        output: plain data.
        expected: plain data.
        printed: they are text that a program printed.
        compare: says of parts of them whether these are alike.
    """
    if printed:
        return _text_difference(output, expected, compare)
    place = ""
    for _ in range(_DEEPEST):
        if type(output) is not type(expected) or not isinstance(output, (list, tuple)):
            break
        texts = abbreviated(output), abbreviated(expected)
        if texts[0] != texts[1] and not any(text.endswith("...") for text in texts):
            break
        if len(output) != len(expected):
            return f"{place}expected {len(expected)} items, got {len(output)}"
        pairs = enumerate(zip(output, expected, strict=True))
        found = next((at for at, (one, other) in pairs if not compare(one, other, False)), None)
        if found is None:
            break
        place, output, expected = f"{place[:-2] or 'at '}[{found}]: ", output[found], expected[found]
    return f"{place}expected {abbreviated(expected)}, got {abbreviated(output)}"


def _text_difference(output: str, expected: str, compare: Comparison) -> str:
    """Return the first line that differs, with its number."""
    lines, wanted = output.rstrip().split("\n"), expected.rstrip().split("\n")
    for number, (line, goal) in enumerate(zip(lines, wanted, strict=False), 1):
        if line.rstrip() != goal.rstrip() and not compare(line, goal, True):
            return f"line {number}: expected {_quoted(goal, line)}, got {_quoted(line, goal)}"
    if len(lines) != len(wanted):
        return f"expected {len(wanted)} lines, got {len(lines)}"
    return f"expected {abbreviated(expected)}, got {abbreviated(output)}"


def _quoted(line: str, other: str) -> str:
    """Return a line, or the part of a long one where it begins to differ from the other."""
    if len(line) <= _LONGEST:
        return abbreviated(line)
    shorter = min(len(line), len(other))
    same = next((at for at in range(shorter) if line[at] != other[at]), shorter)
    start = max(0, same - _LONGEST // 2)
    return ("..." if start else "") + abbreviated(line[start : start + _LONGEST])


def abbreviated(value: object) -> str:
    """Return a value as `repr` writes it, printable and cut off where it is long."""
    parts: list[str] = []
    _write(value, parts, _LONGEST, 0)
    text = "".join(parts)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def _write(value: Any, parts: list[str], room: int, depth: int) -> int:
    """Append the parts of a value. Return the room that is left: at 0, what follows is not written."""
    brackets = _BRACKETS.get(type(value))
    if brackets is None or not value or depth == _DEEPEST:
        parts.append(_leaf(value))
        return room - len(parts[-1])
    room -= len(brackets[0])
    parts.append(brackets[0])
    for number, item in enumerate(value):
        if room <= 0:
            return room
        if number:
            parts.append(", ")
            room -= 2
        room = _write(item, parts, room, depth + 1)
        if isinstance(value, dict):
            parts.append(": ")
            room = _write(value[item], parts, room - 2, depth + 1)
    parts.append(",)" if type(value) is tuple and len(value) == 1 else brackets[1])
    return room - 1


_BRACKETS: dict[Any, tuple[str, str]] = {
    list: ("[", "]"),
    tuple: ("(", ")"),
    dict: ("{", "}"),
    set: ("{", "}"),
    frozenset: ("frozenset({", "})"),
    deque: ("deque([", "])"),
    Counter: ("Counter({", "})"),
    OrderedDict: ("OrderedDict({", "})"),
    defaultdict: ("defaultdict({", "})"),
}


def _leaf(value: Any) -> str:
    """Return the text of a value without parts, or an ellipsis for one that is too deep."""
    kind = type(value)
    if kind is int and abs(value) > _LARGEST:
        return f"an int of {value.bit_length()} bits"
    if kind is str or kind is bytes:
        return repr(value[:_LONGEST])
    if value is None or kind in _SMALL or (kind in _BRACKETS and not value):
        return repr(value)
    if kind in _BRACKETS:
        return "..."
    if kind is range:
        return f"range({_leaf(value.start)}, {_leaf(value.stop)}, {_leaf(value.step)})"
    if kind is Fraction:
        return f"{_leaf(value.numerator)}/{_leaf(value.denominator)}"
    if kind is Decimal:
        return str(value)
    if is_array(value):
        return f"an array of {value.dtype} of shape {value.shape}"
    return repr(value.item()) if is_number(value) else f"an instance of {kind.__name__[:60]}"


_SMALL = bool, int, float, complex, date, datetime, time, timedelta, timezone
