"""Values of the extended kinds, and when two are the same: exactly, at every level."""

from __future__ import annotations

import math
import struct
from collections import Counter, OrderedDict, defaultdict, deque
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any

from hypothesis import strategies as st

from tests.sandbox.codecs import PYTHON_EXTENDED
from tests.sandbox.test_codec_hostile import SCALARS

ROOM = 1 << 24

ZONES = st.none() | st.builds(
    timezone,
    st.timedeltas(timedelta(hours=-24, microseconds=1), timedelta(hours=24, microseconds=-1)),
    st.text(st.characters(exclude_categories=()), max_size=4),
)
TIMES = (
    st.dates()
    | st.timedeltas()
    | st.builds(lambda moment, zone: moment.replace(tzinfo=zone), st.datetimes(allow_imaginary=True), ZONES)
    | st.builds(lambda moment, fold: moment.replace(fold=fold), st.times(), st.integers(0, 1))
    | st.builds(lambda moment, zone: moment.replace(tzinfo=zone), st.times(), ZONES)
    | ZONES
)
NUMBERS = (
    st.decimals(allow_nan=False)
    | st.builds(lambda sign, digits, power: Decimal((sign, tuple(digits), power)), st.integers(0, 1),
                st.lists(st.integers(0, 9)), st.integers(-40, 40))
    | st.sampled_from([Decimal(text) for text in ("NaN", "-NaN12", "Infinity", "-Infinity", "0E+9", "-0.00")])
    | st.fractions()
    | st.complex_numbers()
    | st.builds(range, st.integers(), st.integers(), st.integers().filter(bool))
)  # fmt: skip
LEAVES = SCALARS | st.binary() | TIMES | NUMBERS
HASHABLE = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=4),
    max_leaves=6,
)
FACTORIES = (None, int, float, str, bool, list, tuple, set, dict, bytes, complex, frozenset)


def shuffled(pairs: dict[Any, Any], places: list[int]) -> OrderedDict[Any, Any]:
    """An OrderedDict with another order than the dict below it has."""
    value = OrderedDict(pairs)
    for place in places:
        if value:
            value.move_to_end([*value][place % len(value)], last=place % 2 == 0)
    return value


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    dicts = st.dictionaries(HASHABLE, inner, max_size=4)
    return (
        st.lists(inner)
        | st.lists(inner, max_size=3).map(tuple)
        | dicts
        | dicts.map(Counter)
        | st.builds(shuffled, dicts, st.lists(st.integers(0, 9), max_size=3))
        | st.builds(defaultdict, st.sampled_from(FACTORIES), dicts)
        | st.builds(lambda items, more: deque(items, None if more is None else len(items) + more), st.lists(inner),
                    st.none() | st.integers(0, 300))
    )  # fmt: skip


VALUES = st.recursive(
    LEAVES | st.binary().map(bytearray) | st.just(Decimal("-sNaN7")) | st.sets(HASHABLE) | st.frozensets(HASHABLE),
    containers,
    max_leaves=20,
)

EXAMPLES: list[Any] = [
    b"", b"x" * 300, bytearray(b"abc"), 1j, complex(-0.0, math.nan), frozenset(), frozenset({1, (2, frozenset("ab"))}),
    {frozenset({1, 2}), frozenset({3}), frozenset()}, Counter("hello"), Counter({"gone": 0, (): -1.5}),
    defaultdict(int, {1: 2}), defaultdict(None), *(defaultdict(kind) for kind in FACTORIES), OrderedDict(),
    shuffled({number: [number] for number in range(300)}, [3, 7, 299]), deque(), deque([1, [2]]), deque([1], 5),
    deque([1], 1 << 40), deque(maxlen=0), range(0), range(5, -(10**40), -3), range(5, 5, 2),
    *map(Decimal, ["0", "1.50", "-0E+5", "0.00", "1E-7", "1E+6", "123456.789", "sNaN12", "-NaN", "-Infinity",
                   "9" * 5000, "1E-1999999999999999997", "1E+999999999999999999", "0E+999999999999999999"]),
    Fraction(1, 3), Fraction(-(10**50), 7), Fraction(0), Fraction(-(1 << 63), 3), Fraction(1, 1 << 63),
    datetime(2020, 2, 29, 1, 2, 3, 4), datetime(1, 1, 1, fold=1, tzinfo=UTC), datetime.max, datetime.min,
    time(23, 59, 59, 999_999, timezone(timedelta(hours=-5, microseconds=3), "n\ud800")), time(1, fold=1), time(),
    date.min, date.max, date(1900, 2, 28), timedelta.min, timedelta.max, timedelta(microseconds=-1), UTC,
    timezone(timedelta(0), ""), timezone.min, timezone.max,
    {frozenset({1}): 1, Decimal(1): 2, Fraction(1, 3): 3, range(3): 4, b"x": 5, datetime(2020, 1, 1): 6,
     (1, (b"y",)): 7},
]  # fmt: skip
"""One or more of each extended kind."""


def same(left: Any, right: Any) -> bool:
    """Return True if both have the same types and contents at every level."""
    kind = type(left)
    if kind is not type(right):
        return False
    if kind is float:
        return struct.pack("<d", left) == struct.pack("<d", right)
    if kind is complex:
        return same((left.real, left.imag), (right.real, right.imag))
    if kind is Decimal:
        return bool(left.as_tuple() == right.as_tuple())
    if kind is Fraction:
        return same((left.numerator, left.denominator), (right.numerator, right.denominator))
    if kind is range:
        return same((left.start, left.stop, left.step), (right.start, right.stop, right.step))
    if kind in (list, tuple, deque):
        limits = (left.maxlen, right.maxlen) if kind is deque else (0, 0)
        return limits[0] == limits[1] and len(left) == len(right) and all(map(same, left, right))
    if kind in (set, frozenset):  # an order is needed that both have: that of the encoding
        return PYTHON_EXTENDED.encode(left, ROOM) == PYTHON_EXTENDED.encode(right, ROOM)
    if kind is defaultdict and left.default_factory is not right.default_factory:
        return False
    if kind in (dict, Counter, OrderedDict, defaultdict):
        return same([*left.items()], [*right.items()])
    if kind in (datetime, time):
        return (left.fold, repr(left)) == (right.fold, repr(right)) and same(left.tzinfo, right.tzinfo)
    if kind is timezone:
        return repr(left) == repr(right)
    if kind.__module__ == "numpy":
        return (left.dtype.str, left.shape, left.tobytes()) == (right.dtype.str, right.shape, right.tobytes())
    return bool(left == right)
