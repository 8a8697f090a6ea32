"""The answer codec: what crosses is exactly what was there, and nothing else crosses."""

from __future__ import annotations

import builtins
import math
import struct
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.sandbox.codec import MAX_DEPTH, Malformed, NotPlain, TooLarge
from tests.sandbox.codecs import PYTHON, Codec

ROOM = 1 << 24
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.integers(min_value=-(10**400), max_value=10**400)
    | st.floats() | st.text(st.characters(codec=None, exclude_categories=()))
)  # fmt: skip
HASHABLE = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4).map(tuple), max_leaves=8)
PLAIN = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.sets(HASHABLE, max_size=6)
        | st.dictionaries(HASHABLE, inner, max_size=6)
    ),
    max_leaves=30,
)


def same(left: Any, right: Any) -> bool:
    if type(left) is not type(right):
        return False
    if type(left) is float:
        return struct.pack("<d", left) == struct.pack("<d", right)
    if type(left) in (list, tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if type(left) is set:
        return PYTHON.encode(left, ROOM) == PYTHON.encode(right, ROOM)
    if type(left) is dict:
        return same(list(left), list(right)) and same(list(left.values()), list(right.values()))
    return bool(left == right)


def accepts(data: bytes, codec: Codec = PYTHON) -> bool:
    try:
        codec.check(data, ROOM)
    except Malformed:
        return False
    return True


@given(PLAIN)
def test_plain_data_comes_back_the_same_with_exact_types(codec: Codec, value: object) -> None:
    data = codec.encode(value, ROOM)
    codec.check(data, ROOM)
    assert same(codec.decode(data), value)


@given(PLAIN)
def test_a_value_has_one_encoding(codec: Codec, value: object) -> None:
    data = codec.encode(value, ROOM)
    assert codec.encode(codec.decode(data), ROOM) == data


@given(st.binary(max_size=60))
def test_random_bytes_are_malformed_or_the_encoding_of_a_value(codec: Codec, data: bytes) -> None:
    try:
        value = codec.decode(data)
    except Malformed:
        return
    assert accepts(data, codec)
    assert codec.encode(value, ROOM) == data


@given(PLAIN, st.data())
def test_a_mutated_encoding_raises_nothing_but_malformed(codec: Codec, value: object, data: st.DataObject) -> None:
    encoded = bytearray(codec.encode(value, ROOM))
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] = data.draw(st.integers(0, 255))
    for mutant in (bytes(encoded), bytes(encoded[:at]), bytes(encoded) + b"\x00"):
        try:
            codec.decode(mutant)
        except Malformed:
            continue
        assert accepts(mutant, codec)


@given(st.lists(st.integers(), unique=True))
def test_equal_sets_have_equal_encodings_whatever_their_history(codec: Codec, elements: list[int]) -> None:
    grown, shrunk = set(elements), {*elements[::-1], *range(100)} - ({*range(100)} - {*elements})
    assert codec.encode(grown, ROOM) == codec.encode(shrunk, ROOM)


@given(PLAIN, st.integers(0, 200))
def test_no_encoding_is_larger_than_allowed(codec: Codec, value: object, room: int) -> None:
    try:
        data = codec.encode(value, room)
    except TooLarge as error:
        assert error.size > room
        assert len(codec.encode(value, ROOM)) > room
    else:
        assert len(data) <= room


class Liar(int):
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = int.__hash__


class Meta(type):
    @property
    def __name__(cls) -> str:  # type: ignore[override]
        raise RuntimeError("code of the metaclass was run")


class Hidden(metaclass=Meta):
    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return int


@pytest.mark.parametrize(
    "value", [Liar(1), Hidden(), b"x", 1j, frozenset(), object(), int, len, {Liar(1): 1}, [Liar(1)], {Liar(2)},
    iter([])]
)  # fmt: skip
def test_what_is_not_plain_is_refused(codec: Codec, value: object) -> None:
    with pytest.raises(NotPlain):
        codec.encode(value, ROOM)


def test_cycles_and_deep_nesting_are_refused_and_the_cap_is_exact(codec: Codec) -> None:
    cycle: list[object] = []
    cycle.append(cycle)
    with pytest.raises(NotPlain, match="deeper"):
        codec.encode(cycle, ROOM)
    value: object = 1
    for _ in range(MAX_DEPTH):
        value = [value]
    assert codec.decode(codec.encode(value, ROOM)) == value
    with pytest.raises(NotPlain):
        codec.encode([value], ROOM)
    assert not accepts(b"\xb1" * (MAX_DEPTH + 1) + b"\x01", codec)


def test_a_small_graph_that_unfolds_exponentially_stops_at_the_limit(codec: Codec) -> None:
    value: object = [0]
    for _ in range(100):
        value = [value, value]
    with pytest.raises(TooLarge):
        codec.encode(value, 100_000)


@pytest.mark.parametrize(
    "value",
    [-0.0, math.inf, -math.inf, math.nan, 10**8843, -(2**70_000), "\ud800", "a\0b", True, 1, 1.0],
    ids=lambda value: type(value).__name__,
)
def test_the_awkward_values_survive(codec: Codec, value: object) -> None:
    assert same(codec.decode(codec.encode([value], ROOM)), [value])


def test_an_answer_of_19_megabytes_passes(codec: Codec) -> None:
    answer = [(1 << (k % 16_386)) - 1 for k in range(24_000)]
    data = codec.encode(answer, 32 << 20)
    assert len(data) > 19_000_000
    codec.check(data, 32 << 20)
    assert codec.decode(data) == answer


def test_giant_counts_are_refused_at_once(codec: Codec) -> None:
    for head in (b"\xbf", b"\xaf", b"\xdf", b"\xef", b"\x9f"):
        assert not accepts(head + (2**60).to_bytes(8, "little"), codec)


def test_equal_keys_and_elements_are_malformed(codec: Codec) -> None:
    for data in (b"\xd2\x01\x82", b"\xe2\x01\x00\x82\x00"):
        with pytest.raises(Malformed):
            codec.decode(data)


def test_encoding_does_not_depend_on_what_task_code_may_replace(codec: Codec) -> None:
    script = f"""
import builtins
from {codec.encode.__module__} import {codec.encode.__name__} as encode
show = print
for name in "len type list bytes bytearray iter zip int str repr isinstance set dict tuple".split():
    setattr(builtins, name, lambda *a, **k: 1 / 0)
show(encode([1, "x", 2.5, (True, None), {{3}}, {{"k": 10**30}}], 1000).hex())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    value = [1, "x", 2.5, (True, None), {3}, {"k": 10**30}]
    assert done.stdout.strip() == codec.encode(value, 1000).hex()
    assert builtins.len is len
