"""What is written in C says of bytes what its Python twin says: it may know fewer, and never more."""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sandbox import codec
from sandbox.worker.native import library as accelerator
from tests.sandbox.test_codec import ROOM, accepts

SIMPLE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(-(10**400), 10**400) | st.floats() | st.text(st.characters(codec="ascii")),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple),
    max_leaves=30,
)
TAGS = st.sampled_from([0, 127, *range(0x80, 0xD1)]).map(lambda tag: bytes([tag]))
BYTES = st.lists(TAGS | st.binary(max_size=9)).map(b"".join)
"""Bytes among which encodings are not rare."""


@pytest.fixture(scope="module")
def library() -> ctypes.CDLL:
    try:
        return accelerator.load()
    except OSError:
        pytest.skip("without a C compiler Python does it all")


@pytest.fixture(scope="module")
def is_plain(library: ctypes.CDLL) -> Callable[[bytes], bool]:
    """Whether the library takes bytes for an encoding."""
    library.codec_is_plain.argtypes = (ctypes.c_char_p, ctypes.c_uint64)
    return lambda data: bool(library.codec_is_plain(data, len(data)))


@settings(max_examples=1000)
@given(data=BYTES)
@example(data=b"")
@example(data=b"\xbf" + (1 << 63).to_bytes(8, "little"))
@example(data=b"\x9e\x0e" + b"\xff" * 14)
def test_no_bytes_pass_that_are_no_encoding(is_plain: Callable[[bytes], bool], data: bytes) -> None:
    assert not is_plain(data) or accepts(data)


@given(value=SIMPLE, cut=st.integers(0, 20), more=st.binary(max_size=3))
def test_cut_short_or_with_more_behind_it_an_encoding_is_none(is_plain: Callable[[bytes], bool], value: Any, cut: int, more: bytes) -> None:
    data = codec.encode(value, ROOM)
    changed = data[: max(0, len(data) - cut)] + more
    assert not is_plain(changed) or accepts(changed)


def short(value: Any) -> bool:
    """Whether nothing in it is so long, and there is not so much in it, that Python is to look at it."""
    if sum(map(repr(value).count, "[(")) > 64:
        return False
    if isinstance(value, list | tuple):
        return len(value) < 256 and all(map(short, value))
    return not isinstance(value, int | str) or len(codec.encode(value, ROOM)) < 256


@given(value=SIMPLE.filter(short))
def test_simple_answers_pass(is_plain: Callable[[bytes], bool], value: Any) -> None:
    assert is_plain(codec.encode(value, ROOM))


@given(data=st.binary(max_size=300))
@example(data=b"-" * 4096)
def test_a_digest_is_that_of_the_standard_library(library: ctypes.CDLL, data: bytes) -> None:
    digest = ctypes.create_string_buffer(32)
    library.sha256.argtypes, library.sha256.restype = (ctypes.c_char_p, ctypes.c_uint64, ctypes.c_void_p), None
    library.sha256(data, len(data), digest)
    assert digest.raw == hashlib.sha256(data).digest()


def test_nesting_is_bounded(is_plain: Callable[[bytes], bool]) -> None:
    nested: Any = 1
    for _ in range(64):
        nested = [nested]
    assert is_plain(codec.encode(nested, ROOM))
    assert not is_plain(codec.encode([nested], ROOM))
