"""Pickles that are one string are read; no other is, and none is ever executed."""

from __future__ import annotations

import base64
import os
import pickle
import pickletools
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.sandbox.formats import pickled
from selftaught.sandbox.formats.problem import Malformed


def packed(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data)).decode()


@given(st.text(), st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_a_string_comes_back_from_every_protocol(text: str, protocol: int) -> None:
    assert pickled.string_of(pickle.dumps(text, protocol)) == text
    assert pickled.decode(packed(pickle.dumps(text, protocol))) == text


def test_a_long_string_comes_back() -> None:
    text = "[1, 2]" * 100_000
    assert pickled.string_of(pickle.dumps(text, 4)) == text
    assert pickled.string_of(pickletools.optimize(pickle.dumps(text, 4))) == text


class Calls:
    """Its pickle calls a function when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


HOSTILE = {
    "bytes": pickle.dumps(b"text"),
    "a number": pickle.dumps(1),
    "a list": pickle.dumps(["a"]),
    "a tuple": pickle.dumps(("a", "b")),
    "a global": pickle.dumps(os.mkdir),
    "a global of protocol 0": b"cos\nsystem\n.",
    "a call of protocol 0": b"cos\nsystem\n(S'true'\ntR.",
    "an instance of protocol 0": b"(S'true'\nios\nsystem\n.",
    "a stack global": b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
    "an extension": b"\x80\x02\x82\x01.",
    "a persistent id": b"Pname\n.",
    "an old string": b"S'text'\n.",
    "two strings": b"\x80\x04\x8c\x01a\x8c\x01b.",
    "a popped string": b"\x80\x04\x8c\x01a0\x8c\x01b.",
    "no string": b"\x80\x04.",
    "no end": b"\x80\x04\x8c\x01a",
    "more behind the end": pickle.dumps("a") + b"cos\nsystem\n.",
    "a length beyond the end": b"X\xff\xff\xff\x7fabc.",
    "nothing": b"",
    "noise": bytes(range(256)),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        pickled.string_of(data)


def test_what_a_pickle_calls_is_never_called(tmp_path: Path) -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(Malformed):
            pickled.decode(packed(pickle.dumps(Calls(tmp_path / "made"), protocol)))
    assert not (tmp_path / "made").exists()


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_or_a_string(data: bytes) -> None:
    try:
        assert isinstance(pickled.string_of(data), str)
    except Malformed:
        pass


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("not base64!", "base64"),
        (base64.b64encode(b"not zlib").decode(), "decompressed"),
        (base64.b64encode(zlib.compress(pickle.dumps("text"))[:-3]).decode(), "incomplete"),
        (base64.b64encode(zlib.compress(pickle.dumps("text")) + b"more").decode(), "more follows"),
    ],
)
def test_what_is_no_such_text_is_refused(text: str, reason: str) -> None:
    with pytest.raises(Malformed, match=reason):
        pickled.decode(text)


def test_a_zlib_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickled, "MOST_BYTES", 1 << 20)
    pickled.decode(packed(pickle.dumps("a" * ((1 << 20) - 100))))
    with pytest.raises(Malformed, match="larger than 1 MiB"):
        pickled.decode(packed(pickle.dumps("a" * (1 << 24))))


DATA = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(DATA, st.integers(2, pickle.HIGHEST_PROTOCOL))
def test_plain_data_comes_back_from_every_protocol_in_use(data: Any, protocol: int) -> None:
    assert pickled.decode_data(packed(pickle.dumps(data, protocol)), "tests", 1 << 20) == data


@pytest.mark.parametrize(
    "hostile",
    [
        pickle.dumps([print]),
        pickle.dumps([("a", "b")]),
        pickle.dumps({1j}),
        pickle.dumps(["a"])[:-3],
        pickle.dumps(["a"]) + b"more",
        b"\x80\x04]r\xff\xff\xff\x7f.",  # a number whose table would take 16 GiB
        b"\x80\x04h\x05.",
        b"no pickle",
    ],
)
def test_what_is_more_than_plain_data_is_refused(hostile: bytes) -> None:
    with pytest.raises(Malformed):
        pickled.decode_data(packed(hostile), "tests", 1 << 20)


def test_no_code_in_the_pickle_of_data_is_executed(tmp_path: Path) -> None:
    with pytest.raises(Malformed, match="more than plain data"):
        pickled.decode_data(packed(pickle.dumps([Calls(tmp_path / "made")])), "tests", 1 << 20)
    assert not (tmp_path / "made").exists()


def test_data_is_never_larger_than_allowed() -> None:
    with pytest.raises(Malformed, match="larger than 1 MiB"):
        pickled.decode_data(packed(b"\0" * (1 << 21)), "tests", 1 << 20)


def test_a_pickle_of_more_values_than_memory_has_room_for_is_refused_before_they_are_made() -> None:
    many = b"\x80\x04](" + b"]" * (pickled.MOST_VALUES + 1) + b"e."
    with pytest.raises(Malformed, match="more than 1,048,576 values"):
        pickled.decode_data(packed(many), "tests", 64 << 20)


LINE = "x" * 10_000


@pytest.mark.parametrize(
    "data",
    [[LINE] * 1000, [{"input": LINE, "output": LINE}] * 1000, [[LINE] * 100] * 100, {"a": [{"b": [LINE] * 1000}]}],
)
def test_what_is_referred_to_again_and_again_counts_each_time(data: Any) -> None:
    with pytest.raises(Malformed, match="larger than 1 MiB"):
        pickled.decode_data(packed(pickle.dumps(data)), "tests", 1 << 20)


def test_a_list_in_itself_is_refused() -> None:
    endless: list[Any] = []
    endless += [endless, endless]
    with pytest.raises(Malformed, match="larger than 1 MiB"):
        pickled.decode_data(packed(pickle.dumps(endless)), "tests", 1 << 20)
