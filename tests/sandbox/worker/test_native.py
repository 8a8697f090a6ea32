"""What is written in C: it says of bytes what Python says, knows the same numbers, and puts a processor's flags back."""

from __future__ import annotations

import ctypes
import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sandbox import codec
from sandbox.worker.native import shared
from sandbox.worker.native.library import load, load_checked
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
        return load()
    except OSError:
        pytest.skip("without a C compiler the fork engine does it all")


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


def test_the_header_is_what_is_described() -> None:
    """If not: python -m sandbox.worker.native.shared > sandbox/worker/native/shared.h"""
    assert Path(shared.__file__).with_name("shared.h").read_text() == shared.header()


def test_a_library_that_was_built_from_another_description_is_refused(monkeypatch: pytest.MonkeyPatch, library: ctypes.CDLL) -> None:
    assert load_checked() is library
    monkeypatch.setattr(shared, "MOST_REGIONS", 127)
    monkeypatch.setitem(shared._NUMBERS, "MOST_REGIONS", 127)
    with pytest.raises(OSError, match="another version"):
        load_checked()


FLAG = """
import ctypes, mmap
from sandbox.worker.native.library import load

page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(bytes.fromhex("579dc3 9c58c3"))  # push rdi; popfq; ret, and pushfq; pop rax; ret
at = ctypes.addressof(ctypes.c_char.from_buffer(page))
give, take = ctypes.CFUNCTYPE(None, ctypes.c_long)(at), ctypes.CFUNCTYPE(ctypes.c_long)(at + 3)
library = load()
library.runner_room.restype, library.runner_wait.argtypes = ctypes.c_size_t, (ctypes.c_void_p, ctypes.c_uint64)
size = library.runner_room()
room = ctypes.create_string_buffer(size + 64)
start = ctypes.addressof(room)
start += -start % 64
give(take() | 1 << 21)
before = take() >> 21 & 1
library.runner_wait(start, size)
print(before, take() >> 21 & 1)
"""


def test_a_flag_that_only_user_code_can_change_is_put_back(library: ctypes.CDLL) -> None:
    """RFLAGS.ID, which PTRACE_SETREGS leaves as it is."""
    done = subprocess.run([sys.executable, "-c", FLAG], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["1", "0"]
