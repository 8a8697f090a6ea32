"""The codec in C gives the results of the one in Python for every value and all bytes, and leaves nothing behind."""

from __future__ import annotations

import gc
import itertools
import math
import shutil
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import selftaught.sandbox.codec
from selftaught.sandbox.codec import MAX_DEPTH, Malformed, NotPlain, TooLarge
from tests.sandbox.codecs import PYTHON, Codec, _codec, native
from tests.sandbox.test_codec import same
from tests.sandbox.test_codec_hostile import FOREIGN, HASHABLE, HOLDERS, LEADS, MALFORMED, PLAIN, ROOM, damaged, nested


@pytest.fixture(scope="module")
def ours() -> Codec:
    return native()


def said(function: Callable[..., object], *arguments: object) -> tuple[str, object]:
    """What it returns, or the exception with its text and its size."""
    try:
        return "returned", function(*arguments)
    except (NotPlain, TooLarge, Malformed) as error:
        return type(error).__name__, (str(error), getattr(error, "size", None))


def without_memory(
    function: Callable[..., object], arguments: tuple[Any, ...], attempts: int
) -> Iterator[tuple[BaseException | None, object]]:
    """Call it again and again, each time without memory one allocation later; yield what it raised and returned."""
    testing = pytest.importorskip("_testcapi", reason="an interpreter without its own tests")
    fail, heal = testing.set_nomemory, testing.remove_mem_hooks
    for first in range(1, attempts):
        caught = found = None
        fail(first, first + 1)
        try:
            found = function(*arguments)
        except BaseException as error:
            caught = error
        heal()
        yield caught, found


def agree_on_bytes(ours: Codec, data: bytes, room: int = ROOM) -> None:
    checked, value = said(ours.check, data, room), said(ours.decode, data)
    expected = said(PYTHON.decode, data)
    assert checked == said(PYTHON.check, data, room), data.hex()
    assert value[0] == expected[0], data.hex()
    assert same(value[1], expected[1]), data.hex()


def agree_on_value(ours: Codec, value: object, room: int) -> None:
    assert said(ours.encode, value, room) == said(PYTHON.encode, value, room)


def test_where_there_is_a_compiler_the_codec_in_c_is_in_use() -> None:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    assert selftaught.sandbox.codec.IS_NATIVE
    assert selftaught.sandbox.codec.encode is _codec.encode
    assert selftaught.sandbox.codec.check is _codec.check
    assert selftaught.sandbox.codec.decode is _codec.decode


def test_both_know_the_same_depth(ours: Codec) -> None:
    assert _codec.MAX_DEPTH == MAX_DEPTH


EDGES = [sign * (1 << bits) + by for bits in (0, 6, 7, 8, 15, 31, 32, 62, 63, 64, 65, 103, 104, 112, 2032, 2039, 2040,
2048)
         for sign in (1, -1) for by in (-1, 0, 1)]  # fmt: skip
TEXTS = [lead + character * n for character in "a\x7f\x80\u07ff\u0800\ud7ff\ud800\udfff\ue000\uffff\U00010000\U0010ffff"
         for lead in ("", "x" * 7) for n in (0, 1, 13, 14, 63, 64, 85, 86, 128, 255, 256, 257)]  # fmt: skip
KINDS: list[object] = [
    None, True, False, 0, 127, 0.0, -0.0, math.inf, math.nan, *EDGES, *TEXTS, {*EDGES}, {*TEXTS},
    dict.fromkeys(EDGES, TEXTS), [[0] * 300] * 20,
    *(kind(range(n)) for kind in (list, tuple, set, dict.fromkeys) for n in (0, 1, 13, 14, 200, 255, 256, 257)),
    [[], (), set(), {}, [[()], {((),)}, {(): {(): []}}]], {(1, ("a", -2.5)): {-1, (None, True, "\ud800")}, None: [{}]},
    nested(MAX_DEPTH - 1), nested(MAX_DEPTH), nested(MAX_DEPTH + 1), [nested(MAX_DEPTH), 1, object()],
    [1, object(), nested(MAX_DEPTH)],
]  # fmt: skip
"""One or more of each kind and each form of a length; some are not plain."""


def test_values_of_every_kind_are_encoded_alike_with_any_room(ours: Codec) -> None:
    for value in KINDS:
        try:
            size = len(PYTHON.encode(value, ROOM))
        except NotPlain:
            size = 1000
        else:
            agree_on_bytes(ours, PYTHON.encode(value, ROOM))
        for room in {
            -(1 << 70),
            -1,
            *range(min(size, 40)),
            *range(0, size, size // 40 + 1),
            *range(size - 15, size + 3),
            1 << 62,
            1 << 70,
        }:
            agree_on_value(ours, value, room)


@pytest.mark.parametrize("value", FOREIGN, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("room", [0, 1, 3, 6, 100])
def test_both_decide_alike_between_not_plain_and_too_large(ours: Codec, value: Any, room: int) -> None:
    agree_on_value(ours, value, room)
    agree_on_value(ours, [value, "long enough"], room)
    agree_on_value(ours, ["long enough", value], room)
    agree_on_value(ours, {"key": [1, value]}, room)


@settings(max_examples=1000)
@given(value=PLAIN, room=st.integers(0, 100))
def test_plain_values_are_encoded_alike(ours: Codec, value: object, room: int) -> None:
    agree_on_value(ours, value, ROOM)
    agree_on_value(ours, value, room)
    agree_on_bytes(ours, PYTHON.encode(value, ROOM))


ODD = st.sampled_from([object(), frozenset({1}), b"bytes", 1j, range(3), ...])
MIXED = st.recursive(
    HASHABLE | ODD,
    lambda inner: (
        st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(HASHABLE | ODD, inner) | st.sets(HASHABLE | ODD)
    ),
    max_leaves=20,
)


@given(value=MIXED, room=st.integers(0, 100))
def test_values_that_are_not_all_plain_are_refused_alike(ours: Codec, value: object, room: int) -> None:
    agree_on_value(ours, value, ROOM)
    agree_on_value(ours, value, room)


@settings(max_examples=3000)
@given(data=damaged() | st.lists(LEADS | HOLDERS).map(bytes) | st.binary())
@example(data=b"\xd2\xc0\xc0")
@example(data=b"\xd3\xc1\x01\x02\x01")
@example(data=b"\xef" + (1 << 63).to_bytes(8, "little"))
@example(data=b"\xef" + ((1 << 63) + 1).to_bytes(8, "little") + bytes(100))
def test_any_bytes_are_taken_alike(ours: Codec, data: bytes) -> None:
    agree_on_bytes(ours, data)


@given(data=damaged(), cut=st.integers(0, 30), more=st.binary(max_size=3))
def test_bytes_cut_short_or_with_more_behind_them_are_taken_alike(
    ours: Codec, data: bytes, cut: int, more: bytes
) -> None:
    agree_on_bytes(ours, data[: max(0, len(data) - cut)])
    agree_on_bytes(ours, data + more)
    agree_on_bytes(ours, data, len(data) - cut)


def test_both_count_the_depth_of_bytes_alike(ours: Codec) -> None:
    for holder, last in itertools.product(
        (b"\xb1", b"\xc1", b"\xe1\x01"), (b"\xb0", b"\xc0", b"\xd0", b"\xd1\x01", b"\xb1\x01", b"\x01")
    ):
        for depth in range(MAX_DEPTH - 2, MAX_DEPTH + 2):
            agree_on_bytes(ours, holder * depth + last)


@pytest.mark.parametrize("data", ["", *MALFORMED])
def test_malformed_bytes_are_refused_in_the_same_words(ours: Codec, data: str) -> None:
    agree_on_bytes(ours, bytes.fromhex(data))


def short_ones() -> Iterator[bytes]:
    """All bytes of at most two; of three, each kind of tag with what may matter behind it."""
    yield from (bytes(data) for size in (1, 2) for data in itertools.product(range(256), repeat=size))
    tags = [kind + n for kind in range(0x80, 0x100, 16) for n in (0, 1, 2, 3, 13, 14, 15)]
    what_follows = [0, 1, 0x0D, 0x0E, 0x41, 0x7F, 0x80, 0x82, 0x83, 0x8F, 0x90, 0x91, 0x9F, 0xA0, 0xA1, 0xB0, 0xB1,
    0xBF, 0xC0, 0xC1, 0xC2,
                    0xD0, 0xD1, 0xDF, 0xE0, 0xE1, 0xED, 0xEF, 0xF0, 0xF4, 0xF5, 0xFE, 0xFF]  # fmt: skip
    yield from (bytes(data) for data in itertools.product(tags, what_follows, what_follows))


def test_short_bytes_are_all_taken_alike(ours: Codec) -> None:
    for data in short_ones():
        agree_on_bytes(ours, data)


def test_texts_are_taken_alike_byte_for_byte(ours: Codec) -> None:
    for character in "\x80\u07ff\u0800\ud7ff\ud800\udfff\ue000\uffff\U00010000\U0010ffff":
        for lead, tail in itertools.product((b"", b"x" * 7, b"x" * 300), (b"", b"y" * 9)):
            right = bytearray(lead + character.encode("utf-8", "surrogatepass") + tail)
            for at, byte in itertools.product(range(len(lead), len(right) - len(tail)), range(256)):
                text = bytes(right[:at] + bytes([byte]) + right[at + 1 :])
                agree_on_bytes(
                    ours,
                    b"\xaf" + len(text).to_bytes(8, "little") + text
                    if len(text) > 255
                    else b"\xae" + bytes([len(text)]) + text,
                )


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="the collector waits for the interpreter's loop")
def test_no_finalizer_runs_while_a_value_is_encoded_or_decoded(ours: Codec) -> None:
    """They are the one way in which the task's code could change a container that is being encoded."""
    value, ran = [{1, (2,)}, {3}, ()], []
    data = ours.encode(value, ROOM)
    old = gc.get_threshold()
    gc.callbacks.append(lambda *_: ran.append(1))
    for step, arguments in ((ours.encode, (value, ROOM)), (ours.decode, (data,))):
        gc.disable()
        waiting: list[object] = [[] for _ in range(100)]  # so many that the next object makes the collector run
        gc.set_threshold(10)
        gc.enable()
        found = step(*arguments)
        during = len(ran)
        gc.set_threshold(*old)
        waiting.append([])
        assert found and not during
    gc.callbacks.pop()


def test_a_value_is_referred_to_no_longer_than_it_is_encoded(ours: Codec) -> None:
    parts: list[Any] = [1 << 100, -2.5, "text" * 100, ("x", -1), "a" + "\ud800" * 300]
    parts += [[*parts], {*parts}, {part: part for part in parts}, (*parts,)]
    counts = [sys.getrefcount(part) for part in parts]
    for _ in range(10):
        ours.encode(parts, ROOM)
        said(ours.encode, [parts, object()], ROOM)
        said(ours.encode, parts, 900)
    assert [sys.getrefcount(part) for part in parts] == counts


@pytest.mark.parametrize("collects", [True, False])
def test_the_garbage_collector_is_left_as_it_was(ours: Codec, collects: bool) -> None:
    (gc.enable if collects else gc.disable)()
    try:
        for hopeless in ([object()], {1: {2}}, "x" * 99):
            said(ours.encode, hopeless, 50)
            assert gc.isenabled() is collects
        for data in (b"\xd2\x01\x82", b"\xb1", b"\xb1\xa1x"):
            said(ours.decode, data)
            assert gc.isenabled() is collects
    finally:
        gc.enable()


class Awkward(NamedTuple):
    """A call with many references when it ends or fails: value or data, and a limit if it is to be encoded."""

    what: object
    room: int | None = None

    def of(self, codec: Codec) -> tuple[Callable[..., object], tuple[object, ...]]:
        return (codec.decode, (self.what,)) if self.room is None else (codec.encode, (self.what, self.room))


AWKWARD = {
    "not plain in a dict": Awkward([{("x" * 300,), -1.5}, {"a": object()}], ROOM),
    "not plain in a set": Awkward([{1, (2, object())}, 1 << 4000], ROOM),
    "too large": Awkward([{*range(1000)}, "x" * 1000, 1 << 4000], 3500),
    "encoded": Awkward([{(i, "x") for i in range(300)}, {"k": "\ud800" * 700}, 1 << 4000], ROOM),
    "equal keys": Awkward(b"\xb2\xa3abc\xe2\x01\xb1\x9e\x0e" + b"\x11" * 14 + b"\x82\x00"),
    "equal elements": Awkward(b"\xe1\xae\xff" + b"k" * 255 + b"\xb2\x9e\x0e" + b"\x11" * 14 + b"\xd2\x01\x82"),
    "decoded": Awkward(PYTHON.encode([{"k": ({1 << 90, "\ud800" * 300}, "é")}, [2.5]] * 30, ROOM)),
    "malformed": Awkward(b"\xb2\xa3abc"),
}


@pytest.mark.parametrize("name", AWKWARD)
def test_nothing_is_left_behind_whether_it_succeeds_or_not(ours: Codec, name: str) -> None:
    function, arguments = AWKWARD[name].of(ours)

    def often(times: int) -> None:
        for _ in range(times):
            said(function, *arguments)

    def there() -> tuple[int, int, int]:
        gc.collect()
        return tracemalloc.get_traced_memory()[0], sys.getrefcount(None), sys.getrefcount(True)

    tracemalloc.start()
    try:
        often(50)
        before = there()
        often(500)
        grown = [now - then for now, then in zip(there(), before, strict=True)]
    finally:
        tracemalloc.stop()
    assert grown[0] < 5_000
    assert max(map(abs, grown[1:])) < 200


@pytest.mark.parametrize("name", AWKWARD)
def test_without_memory_there_is_a_memory_error_wherever_it_runs_out(ours: Codec, name: str) -> None:
    function, arguments = AWKWARD[name].of(ours)
    expected, failures = said(function, *arguments), 0
    for caught, found in without_memory(function, arguments, 300):
        if type(caught) is MemoryError:
            failures += 1
        elif caught is None:
            assert same(found, expected[1])
        else:
            assert type(caught).__name__ == expected[0]
    assert failures > 1
    assert said(function, *arguments)[0] == expected[0]


@pytest.mark.parametrize(
    "call",
    [
        lambda codec: codec.encode(1),
        lambda codec: codec.encode(1, "2"),
        lambda codec: codec.check(bytearray(b"\x01"), 5),
        lambda codec: codec.decode("text"),
        lambda codec: codec.check(b"\x01", None),
    ],
)
def test_arguments_of_other_types_are_refused(ours: Codec, call: Callable[[Any], object]) -> None:
    with pytest.raises(TypeError):
        call(ours)
