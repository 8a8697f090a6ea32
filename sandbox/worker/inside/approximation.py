"""Compare numbers, sequences and mappings within a tolerance, as ``pytest.approx`` does."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from numbers import Number
from typing import Any

_RELATIVE, _ABSOLUTE = 1e-6, 1e-12


class Approximation:
    """What `approx` returns: equal to what is close enough to the expected value."""

    __array_ufunc__ = None
    __array_priority__ = 100

    def __init__(self, expected: Any, rel: Any, abs: Any, nan_ok: bool) -> None:
        self._expected, self._rel, self._abs, self._nan_ok = expected, rel, abs, nan_ok

    def __eq__(self, actual: Any) -> bool:
        expected = self._expected
        if _is_array(expected) or _is_array(actual):
            return self._equals_array(actual)
        if isinstance(expected, Mapping):
            if not isinstance(actual, Mapping) or expected.keys() != actual.keys():
                return False
            return all(self._with(expected[key]) == actual[key] for key in expected)
        if _is_sequence(expected):
            if not hasattr(actual, "__len__") or len(actual) != len(expected):
                return False
            return all(self._with(one) == other for one, other in zip(expected, actual, strict=True))
        return self._is_close(actual)

    def __ne__(self, actual: Any) -> bool:
        return not self == actual

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"approx({self._expected!r})"

    def __bool__(self) -> bool:
        raise AssertionError("approx() is not supported in a boolean context")

    def _with(self, expected: Any) -> Approximation:
        return Approximation(expected, self._rel, self._abs, self._nan_ok)

    def _equals_array(self, actual: Any) -> bool:
        numpy: Any = __import__("numpy")
        one, other = numpy.asarray(self._expected), numpy.asarray(actual)
        if one.shape != other.shape and one.ndim:
            return False
        if not one.ndim:
            return all(self._is_close(value) for value in other.flat)
        return all(self._with(value) == found for value, found in zip(one.flat, other.flat, strict=True))

    def _is_close(self, actual: Any) -> bool:
        expected = self._expected
        if not isinstance(expected, (Number, Decimal)) or isinstance(expected, bool) or isinstance(actual, bool):
            return bool(actual == expected)
        if not isinstance(actual, (Number, Decimal)):
            return False
        if actual == expected:
            return True
        if _is_nan(expected) or _is_nan(actual):
            return self._nan_ok and _is_nan(expected) and _is_nan(actual)
        value: Any = expected
        if math.isinf(abs(value)):
            return False
        return bool(abs(value - actual) <= self._tolerance(value))

    def _tolerance(self, expected: Any) -> Any:
        relative, absolute = self._rel, self._abs
        if relative is None and absolute is not None:
            return absolute
        number = (lambda value: Decimal(str(value))) if isinstance(expected, Decimal) else float
        relative = number(_RELATIVE) if relative is None else relative
        absolute = number(_ABSOLUTE) if absolute is None else absolute
        return max(relative * abs(expected), absolute)


def approx(expected: Any, rel: Any = None, abs: Any = None, nan_ok: bool = False) -> Approximation:
    """Return a value that equals what is within a tolerance of the expected one.

    Args:
        expected: a number, or a sequence, mapping or array of numbers.
        rel: relative tolerance, 1e-6 if neither is given.
        abs: absolute tolerance, 1e-12 if it is not given.
        nan_ok: whether NaN equals NaN.
    """
    return Approximation(expected, rel, abs, nan_ok)


def _is_nan(value: Any) -> bool:
    return bool(value != value)


def _is_sequence(value: Any) -> bool:
    return isinstance(value, (list, tuple)) or (
        hasattr(value, "__getitem__") and hasattr(value, "__len__") and not isinstance(value, (str, bytes))
    )


def _is_array(value: Any) -> bool:
    kind = type(value)
    return kind.__module__ == "numpy" and kind.__name__ == "ndarray"
