"""Extended plain data: the codec in C gives the results of the one in Python, whatever it is given."""

from __future__ import annotations

import gc
import itertools
import sys
import tracemalloc
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.sandbox.codecs import PYTHON_EXTENDED, Codec, native_extended
from tests.sandbox.extended.values import EXAMPLES, HASHABLE, ROOM, VALUES, same
from tests.sandbox.test_codec_native import said, without_memory

ODD = st.sampled_from([object(), defaultdict(len), ..., type("Bag", (Counter,), {})(), Fraction])


@pytest.fixture(scope="module")
def ours() -> Codec:
    return native_extended()


def agree_on_bytes(ours: Codec, data: bytes, room: int = ROOM) -> None:
    checked, value = said(ours.check, data, room), said(ours.decode, data)
    expected = said(PYTHON_EXTENDED.decode, data)
    assert checked == said(PYTHON_EXTENDED.check, data, room), data.hex()
    assert value[0] == expected[0], data.hex()
    if value[0] == "returned":  # of two reasons either may be found first
        assert same(value[1], expected[1]), data.hex()
        assert ours.encode(value[1], ROOM) == data


def agree_on_value(ours: Codec, value: object, room: int) -> None:
    assert said(ours.encode, value, room) == said(PYTHON_EXTENDED.encode, value, room)


def test_values_of_every_kind_are_encoded_alike_with_any_room(ours: Codec) -> None:
    for value in EXAMPLES:
        data = PYTHON_EXTENDED.encode(value, ROOM)
        agree_on_bytes(ours, data)
        for room in (-(1 << 70), -1, *range(min(40, len(data) + 2)), *range(len(data) - 15, len(data) + 2), 1 << 70):
            agree_on_value(ours, value, room)
            agree_on_value(ours, [value, "more"], room)


@settings(max_examples=500)
@given(value=VALUES, room=st.integers(0, 100))
def test_plain_values_are_encoded_alike(ours: Codec, value: object, room: int) -> None:
    agree_on_value(ours, value, ROOM)
    agree_on_value(ours, value, room)
    agree_on_bytes(ours, PYTHON_EXTENDED.encode(value, ROOM))


MIXED = st.recursive(
    HASHABLE | ODD,
    lambda inner: (
        st.lists(inner) | st.lists(inner).map(deque) | st.dictionaries(HASHABLE, inner).map(Counter)
        | st.dictionaries(HASHABLE, inner).map(OrderedDict)
    ),
    max_leaves=12,
)  # fmt: skip


@given(value=MIXED, room=st.integers(0, 100))
def test_values_that_are_not_all_plain_are_refused_alike(ours: Codec, value: object, room: int) -> None:
    agree_on_value(ours, value, ROOM)
    agree_on_value(ours, value, room)


BYTES = st.sampled_from([0, 1, 2, 5, 0x31, 0x7F, 0x80, 0x84, 0x91, 0xA1, 0xB1, 0xC1, 0xD1, 0xE1, 0xFF])
SECOND = st.sampled_from([*range(11), *(kind + n for kind in range(0x10, 0xA0, 0x10) for n in (0, 1, 2, 14, 15))])


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    data = bytearray(PYTHON_EXTENDED.encode(draw(VALUES | st.sampled_from(EXAMPLES)), ROOM))
    for _ in range(draw(st.integers(1, 3))):
        at, length = draw(st.integers(0, len(data))), draw(st.integers(0, 3))
        data[at : at + length] = draw(st.binary(max_size=3) | st.lists(BYTES | SECOND, max_size=3).map(bytes))
    return bytes(data)


@settings(max_examples=2000)
@given(data=damaged() | st.lists(BYTES | SECOND).map(lambda rest: bytes([0x84, *rest])))
@example(data=b"\xd2" + b"\x84\x31\x01" * 2)
@example(data=bytes.fromhex("847f0000000000000080"))
@example(data=bytes.fromhex("840702 04"))
@example(data=bytes.fromhex("d2 8482063132 00"))
def test_any_bytes_are_taken_alike(ours: Codec, data: bytes) -> None:
    agree_on_bytes(ours, data)


def short_ones() -> Iterator[bytes]:
    """All second tags, each with what may matter behind it, alone and as an element of a set."""
    follows = (0, 1, 0x0D, 0x0E, 0x30, 0x39, 0x41, 0x7F, 0x80, 0x84, 0x91, 0xA0, 0xC0, 0xFF)
    for tag, first, second in itertools.product(range(256), follows, follows):
        for size in range(3):
            data = bytes((0x84, tag, first, second)[: 2 + size])
            yield from (data, b"\xd1" + data, b"\xe1" + data + b"\x01")


def test_short_bytes_are_all_taken_alike(ours: Codec) -> None:
    for data in {*short_ones()}:
        agree_on_bytes(ours, data)


SHORT = [data for value in EXAMPLES if len(data := PYTHON_EXTENDED.encode(value, ROOM)) < 40]


def test_every_byte_of_every_kind_is_taken_alike_with_any_value(ours: Codec) -> None:
    for data in SHORT:
        for at, byte in itertools.product(range(len(data)), range(256)):
            agree_on_bytes(ours, data[:at] + bytes([byte]) + data[at + 1 :])


def test_every_truncation_is_taken_alike(ours: Codec) -> None:
    for data in SHORT:
        for end in range(len(data)):
            agree_on_bytes(ours, data[:end])
            agree_on_bytes(ours, b"\xb2" + data[:end] + b"\x01")


AWKWARD: dict[str, tuple[Any, int | None]] = {
    "encoded": (EXAMPLES, ROOM),
    "not plain in a deque": ([deque([b"x", {1: object()}])], ROOM),
    "not plain in a Counter": (Counter(a=[frozenset({1}), object()]), ROOM),
    "factory": ([defaultdict(len, {1: 2}), 1], ROOM),
    "too large": ([frozenset(range(300)), OrderedDict(a=b"x" * 900)], 700),
    "decoded": (PYTHON_EXTENDED.encode(EXAMPLES, ROOM), None),
    "equal elements": (bytes.fromhex("b2 8413616263 84410501 843201 82"), None),
    "equal keys": (bytes.fromhex("844180 8452 01a0 82a0"), None),
    "not in lowest terms": (bytes.fromhex("844205 8471020180 84070204"), None),
}


@pytest.mark.parametrize("name", AWKWARD)
def test_nothing_is_left_behind_whether_it_succeeds_or_not(ours: Codec, name: str) -> None:
    what, room = AWKWARD[name]

    def often(times: int) -> None:
        for _ in range(times):
            said(ours.decode, what) if room is None else said(ours.encode, what, room)

    def there() -> tuple[int, int]:
        gc.collect()
        return tracemalloc.get_traced_memory()[0], sys.getrefcount(None)

    tracemalloc.start()
    try:
        often(300)  # so often that the interpreter has specialised what Python code is called
        before = there()
        often(1000)
        grown = [now - then for now, then in zip(there(), before, strict=True)]
    finally:
        tracemalloc.stop()
    assert grown[0] < 25_000  # free lists grow a little
    if sys.version_info < (3, 12):  # from then on None has no count of its own
        assert abs(grown[1]) < 200


@pytest.mark.parametrize("name", AWKWARD)
def test_without_memory_there_is_a_memory_error_wherever_it_runs_out(ours: Codec, name: str) -> None:
    what, room = AWKWARD[name]
    function, arguments = (ours.decode, (what,)) if room is None else (ours.encode, (what, room))
    expected, failures = said(function, *arguments), 0
    for caught, found in without_memory(function, arguments, 400):
        if type(caught) is MemoryError:
            failures += 1
        elif caught is None:
            assert same(found, expected[1])
        elif type(caught) is not SystemError:  # Python 3.11 raises that if it has no memory for a call
            assert type(caught).__name__ == expected[0]
    assert failures > 1


def test_a_value_is_referred_to_no_longer_than_it_is_encoded(ours: Codec) -> None:
    parts: list[Any] = [b"x", Decimal("1.5"), Fraction(1, 3), deque([1]), Counter(a=b"y"), frozenset({2.5}), object()]
    counts = [sys.getrefcount(part) for part in parts]
    for _ in range(10):
        said(ours.encode, parts, ROOM)
        said(ours.encode, parts[:-1], 20)
        ours.encode(parts[:-1], ROOM)
    assert [sys.getrefcount(part) for part in parts] == counts
