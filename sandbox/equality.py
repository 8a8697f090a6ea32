"""Compare two values of plain data (`selftaught.sandbox.codec`): equal, or equal within a tolerance.

`equal` is Python's ``==``, but that NaN equals NaN, so identical data is equal. Both functions take time linear in the
data, but for the sorting of sets. NumPy's types are known only where a task has loaded NumPy: nothing here imports it.
"""

from __future__ import annotations

import math
import sys
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal
from fractions import Fraction
from typing import Any

_NAN, _DECIMAL_NAN, _COMPLEX, _SET, _DICT, _ARRAY = (object() for _ in range(6))
"""What stands in a canonical form for what ``==`` can't compare: no plain data contains these objects."""
_DECIMALS = Context(prec=60, Emin=MIN_EMIN, Emax=MAX_EMAX, traps=[])
_MOST_BITS = 1 << 14
"""Largest size of a fraction's parts that takes part in exact arithmetic, which isn't linear."""


def equal(left: object, right: object) -> bool:
    """Return True if ``left == right``, where NaN equals NaN, and arrays are equal if they are element by element."""
    if "numpy" not in sys.modules:  # an array broadcasts, and its truth is ambiguous
        try:
            if left == right:
                return True
        except ArithmeticError:  # a signalling NaN
            pass
    return bool(_canonical(left) == _canonical(right))


def _canonical(value: Any) -> Any:
    """Return a copy whose ``==`` is `equal`."""
    kind = type(value)
    if kind is int or kind is str or kind is bool or value is None:
        return value
    if kind is float:
        return value if value == value else _NAN
    if kind is list or kind is tuple or kind is deque:
        return kind([_canonical(item) for item in value])
    if isinstance(value, dict):
        return _canonical_dict(value)
    if kind is set or kind is frozenset:
        return _SET, frozenset([_canonical(item) for item in value]), len(value)
    return _canonical_number(value)


def _canonical_dict(value: dict[Any, Any]) -> Any:
    pairs = [(_canonical(key), _canonical(one)) for key, one in value.items()]
    whole = dict(pairs)
    if len(whole) < len(value):  # several keys are NaN
        return _DICT, pairs
    return Counter(whole) if type(value) is Counter else OrderedDict(pairs) if type(value) is OrderedDict else whole


def _canonical_number(value: Any) -> Any:
    if type(value) is complex and value != value:
        return _COMPLEX, _canonical(value.real), _canonical(value.imag)
    if type(value) is Decimal and value.is_nan():
        return _DECIMAL_NAN
    if is_array(value):
        return _ARRAY, value.shape, _canonical(value.tolist())
    if _is_scalar(value) and value != value:
        return _NAN
    return value


def is_array(value: object) -> bool:
    """Return True for an array of NumPy."""
    numpy: Any = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.ndarray)


def _is_scalar(value: object) -> bool:
    numpy: Any = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.generic)


def is_number(value: object) -> bool:
    """Return True for a number, which a bool is not."""
    if type(value) in (int, float, complex, Decimal, Fraction):
        return True
    return _is_scalar(value) and isinstance(value, sys.modules["numpy"].number)


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far a number may be from the expected one: the larger of `absolute` and `relative` times the expected one."""

    relative: float = 1e-9
    absolute: float = 0.0

    def near(self, output: Any, expected: Any) -> bool:
        """Return True if both numbers are equal, or finite and near enough to each other."""
        if equal(output, expected):
            return True
        output, expected = (one.item() if _is_scalar(one) else one for one in (output, expected))
        try:
            if isinstance(output, complex) or isinstance(expected, complex):
                return self._allows(abs(complex(output) - complex(expected)), abs(complex(expected)))
            if isinstance(output, Decimal) and isinstance(expected, Decimal):
                return self._near_decimals(output, expected)
            if _is_exact(output) and _is_exact(expected):
                limit = max(Fraction(self.relative) * abs(expected), Fraction(self.absolute))
                return bool(abs(output - expected) <= limit)
            return self._allows(abs(float(output) - float(expected)), abs(float(expected)))
        except (OverflowError, ValueError):  # too large for a float; a signalling NaN
            return False

    def _allows(self, difference: float, size: float) -> bool:
        return math.isfinite(size) and difference <= max(self.relative * size, self.absolute)

    def _near_decimals(self, output: Decimal, expected: Decimal) -> bool:
        if not (output.is_finite() and expected.is_finite()):
            return False
        size = expected.copy_abs()
        limit = _DECIMALS.max(_DECIMALS.multiply(Decimal(self.relative), size), Decimal(self.absolute))
        return _DECIMALS.subtract(output, expected).copy_abs() <= limit


def _is_exact(value: object) -> bool:
    if isinstance(value, Fraction):
        return max(value.numerator.bit_length(), value.denominator.bit_length()) <= _MOST_BITS
    return isinstance(value, int)


def close(output: Any, expected: Any, near: Callable[[Any, Any], bool]) -> bool:
    """Return True if both have the same structure, with numbers in it that are near and all else equal.

    Args:
        output: plain data.
        expected: plain data.
        near: says whether a number of the output is near enough to the expected one.
    """
    if is_number(output) and is_number(expected):
        return near(output, expected)
    kind = type(expected)
    if isinstance(expected, dict) and isinstance(output, dict):
        if type(output) is kind is OrderedDict and not equal(list(output), list(expected)):
            return False
        return len(output) == len(expected) and all(
            key in output and close(output[key], value, near) for key, value in expected.items()
        )
    if is_array(output) and is_array(expected):
        return bool(output.shape == expected.shape) and close(output.tolist(), expected.tolist(), near)
    if type(output) is kind and kind in (list, tuple, deque):
        return len(output) == len(expected) and all(
            close(one, other, near) for one, other in zip(output, expected, strict=True)
        )
    if isinstance(output, (set, frozenset)) and isinstance(expected, (set, frozenset)):
        return equal(output, expected) or _close_sets(output, expected, near)
    return equal(output, expected)


def _close_sets(output: Any, expected: Any, near: Callable[[Any, Any], bool]) -> bool:
    """Pair the elements in ascending order: for numbers, no other pairs are nearer."""
    try:
        return close(sorted(output), sorted(expected), near)
    except (TypeError, ArithmeticError):  # no order
        return False
