"""The extended kinds of plain data: each comes back exactly, in the one form that is written down."""

from __future__ import annotations

import collections
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Context, Decimal, localcontext
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.sandbox.codec import MAX_DEPTH, Malformed, NotPlain
from tests.sandbox.codecs import PYTHON, Codec
from tests.sandbox.extended.values import EXAMPLES, ROOM, VALUES, same
from tests.sandbox.test_codec import PLAIN
from tests.sandbox.test_codec_hostile import assert_exact_limit

GOLDEN: dict[str, Any] = {
    "8413616263": b"abc", "842161": bytearray(b"a"), "843201c101": frozenset({1, (1,)}), "8442800102": deque([1, 2]),
    "844105b0": deque([[]], 5), "8451a16102": Counter(a=2), "8462a16201a16102": OrderedDict(b=1, a=2),
    "84710b01d101": defaultdict(frozenset, {1: {1}}), "8400000000000000f03f0000000000000080": complex(1, -0.0),
    "840107e4021d": date(2020, 2, 29), "840281020300000480": time(1, 2, 3, 4, fold=1),
    "840307e4021d010203000004840500000000" + "00000000" * 2 + "a155":
        datetime(2020, 2, 29, 1, 2, 3, 4, timezone(timedelta(0), "U")),
    "8404ffffffff0200000003000000": timedelta(-1, 2, 3), "8406000a02": range(0, 10, 2), "840791ff03": Fraction(-1, 3),
    "84830091fe313530": Decimal("1.50"), "848002": Decimal("Infinity"), "8482053132": Decimal("-NaN12"),
}  # fmt: skip


@pytest.mark.parametrize("data", GOLDEN)
def test_the_format_is_the_one_that_is_written_down(extended: Codec, data: str) -> None:
    assert extended.encode(GOLDEN[data], ROOM).hex() == data


def test_every_kind_comes_back_the_same(extended: Codec) -> None:
    for value in [*EXAMPLES, EXAMPLES]:
        data = extended.encode(value, ROOM)
        extended.check(data, ROOM)
        assert same(extended.decode(data), value), value


@given(VALUES)
def test_values_come_back_the_same_with_exact_types_at_every_level(extended: Codec, value: object) -> None:
    data = extended.encode(value, ROOM)
    extended.check(data, ROOM)
    found = extended.decode(data)
    assert same(found, value)
    assert extended.encode(found, ROOM) == data


@given(VALUES)
def test_the_limit_is_exact(extended: Codec, value: object) -> None:
    assert_exact_limit(extended, value)


@given(PLAIN)
def test_plain_data_has_the_encoding_that_it_has_in_strict_mode(extended: Codec, value: object) -> None:
    data = PYTHON.encode(value, ROOM)
    assert extended.encode(value, ROOM) == data
    assert PYTHON.encode(extended.decode(data), ROOM) == data


@pytest.mark.parametrize("value", EXAMPLES, ids=lambda value: type(value).__name__)
def test_strict_mode_refuses_every_extended_value_and_its_encoding(
    codec: Codec, extended: Codec, value: object
) -> None:
    for whole in (value, [value], {"key": value}):
        data = extended.encode(whole, ROOM)
        with pytest.raises(NotPlain):
            codec.encode(whole, ROOM)
        with pytest.raises(Malformed):
            codec.check(data, ROOM)
        with pytest.raises(Malformed):
            codec.decode(data)


class Number(Decimal):
    pass


class Offset(timedelta):
    pass


class Text(str):
    pass


class Zone(tzinfo):
    pass


REFUSED: list[Any] = [
    defaultdict(lambda: 0), defaultdict(sorted), defaultdict(Decimal), Number(1), type("Bag", (Counter,), {})(),
    type("Late", (datetime,), {})(2020, 1, 1), timezone(Offset(hours=1)), timezone(timedelta(0), Text("x")),
    Fraction(2, 4, _normalize=False) if sys.version_info < (3, 12) else Fraction._from_coprime_ints(2, 4),
    object.__new__(Fraction), collections.UserDict(), memoryview(b""), {}.keys(), iter(b""), slice(1), type, ...,
]  # fmt: skip


@pytest.mark.parametrize("value", REFUSED, ids=lambda value: type(value).__name__)
def test_what_only_looks_like_an_extended_kind_is_refused(extended: Codec, value: object) -> None:
    for whole in (value, [value], deque([value]), {1: (value,)}):
        with pytest.raises(NotPlain, match="is not plain data"):
            extended.encode(whole, ROOM)


def test_a_time_with_a_zone_of_another_class_is_refused(extended: Codec) -> None:
    for moment in (datetime(2020, 1, 1, tzinfo=Zone()), time(1, tzinfo=Zone())):
        with pytest.raises(NotPlain, match="tzinfo"):
            extended.encode(moment, ROOM)


def test_a_decimal_has_one_encoding_whatever_the_context(extended: Codec) -> None:
    number = Decimal("1.5E+300")
    expected = extended.encode(number, ROOM)
    with localcontext(Context(prec=1, capitals=0, clamp=1, Emin=-1, Emax=1)):
        assert extended.encode(number, ROOM) == expected
        assert same(extended.decode(expected), number)


@given(st.frozensets(st.integers()))
def test_equal_frozensets_have_equal_encodings(extended: Codec, value: frozenset[int]) -> None:
    other = frozenset(sorted(value, reverse=True))
    assert extended.encode(other, ROOM) == extended.encode(value, ROOM)


@pytest.mark.parametrize("kind", [Counter, OrderedDict, lambda value: defaultdict(None, value), deque, frozenset])
def test_extended_containers_count_in_the_depth(extended: Codec, kind: Any) -> None:
    def nested(depth: int) -> Any:
        value: Any = kind({})
        for _ in range(depth - 1):
            value = kind([value]) if kind in (deque, frozenset) else kind({1: value})
        return value

    data = extended.encode(nested(MAX_DEPTH), ROOM)
    extended.check(data, ROOM)
    assert extended.encode(extended.decode(data), ROOM) == data
    with pytest.raises(NotPlain, match="deeper"):
        extended.encode(nested(MAX_DEPTH + 1), ROOM)
    with pytest.raises(Malformed, match="deeper"):
        extended.check(b"\xb1" + data, ROOM)


def test_attributes_and_identity_are_lost_and_nothing_else(extended: Codec) -> None:
    value = Counter(a=1)
    value.note = "x"  # type: ignore[attr-defined]
    first, second = extended.decode(extended.encode([value, value], ROOM))
    assert vars(first) == {}
    assert first == second == value
    assert first is not second
    assert first["missing"] == 0
