"""The answer codec against hostile users: exact limits, hostile types, hostile bytes. Adds to test_codec.py."""

from __future__ import annotations

import builtins
import collections
import dis
import enum
import inspect
import os
import random
import subprocess
import sys
import tracemalloc
import types
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import selftaught.sandbox.codec
from selftaught.sandbox.codec import MAX_DEPTH, Malformed, NotPlain, TooLarge
from selftaught.sandbox.extended import arrays
from tests.sandbox.codecs import PYTHON, Codec

ROOM = 1 << 25
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-200, 300)
    | st.integers(0, 5000).map(lambda bits: -(1 << bits))
    | st.floats()
    | st.text(st.characters(exclude_categories=()))
)
HASHABLE = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4).map(tuple), max_leaves=6)
PLAIN = st.recursive(
    SCALARS | st.sets(HASHABLE),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(HASHABLE, inner),
    max_leaves=30,
)


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


def refusal(function: Callable[..., object], *arguments: object) -> str | None:
    try:
        function(*arguments)
    except Malformed as error:
        return str(error)
    return None


def long_form(tag: int, n: int) -> bytes:
    return bytes([tag | 15]) + n.to_bytes(8, "little")


GOLDEN = {
    "2a": 42, "7f": 127, "928000": 128, "91ff": -1, "9180": -128, "927fff": -129, "80": None, "81": False, "82": True,
    "83000000000000f83f": 1.5, "a568656c6c6f": "hello", "a3eda080": "\ud800", "ae0e" + "78" * 14: "x" * 14,
    "af0001000000000000" + "78" * 256: "x" * 256, "b201b102": [1, [2]], "c0": (), "d30102a161": {2, 1, "a"},
    "e2a16201a161c182": {"b": 1, "a": (True,)},
}  # fmt: skip


@pytest.mark.parametrize("data", GOLDEN)
def test_the_format_is_the_one_that_is_written_down(codec: Codec, data: str) -> None:
    assert codec.encode(GOLDEN[data], ROOM).hex() == data


@pytest.mark.parametrize("bits", [7, 8, 15, 16, 63, 64, 103, 104, 2039, 2040, 332_193])
def test_ints_at_every_boundary_come_back_in_the_fewest_bytes(codec: Codec, bits: int) -> None:
    for value in [sign * (1 << bits) + by for sign in (1, -1) for by in (-1, 0, 1)]:
        data = codec.encode(value, ROOM)
        codec.check(data, ROOM)
        assert codec.decode(data) == value


@given(st.sets(HASHABLE))
def test_the_order_of_a_set_does_not_show(codec: Codec, value: set[Any]) -> None:
    other: set[Any] = set()
    for element in reversed([*value]):  # colliding hashes make for another order
        other.add(element)
    assert codec.encode(other, ROOM) == codec.encode(value, ROOM)


def test_sets_have_the_same_bytes_under_every_hash_seed(codec: Codec) -> None:
    code = f"from {codec.encode.__module__} import {codec.encode.__name__} as encode\n"
    code += "print(encode([{str(i) for i in range(99)}, {'b': 1}], 9999).hex())"
    seeds = ({**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)} for seed in "012")
    runs = [subprocess.run([sys.executable, "-c", code], env=env, check=True, capture_output=True) for env in seeds]
    assert len({run.stdout for run in runs}) == 1


def test_as_many_ints_as_the_largest_answer_of_p3_come_back(codec: Codec) -> None:
    chance = random.Random(0)
    value = [chance.getrandbits(chance.randrange(1, 1850)) for _ in range(164_024)] + [1 << 16_385]
    data = codec.encode(value, ROOM)
    assert 18e6 < len(data) < 20e6
    codec.check(data, ROOM)
    assert codec.decode(data) == value


class Number(int):
    pass


class Colour(enum.IntEnum):
    RED = 1


Point = collections.namedtuple("Point", "x y")
FOREIGN = [
    Number(1), Colour.RED, Point(1, 2), collections.OrderedDict(), collections.defaultdict(int), collections.Counter(),
    *(type(f"Lying{kind.__name__}", (kind,), {})() for kind in (float, str, list, tuple, set, dict)),
    frozenset(), b"", bytearray(), 1j, range(3), object(), int, len, iter(()), ..., NotImplemented,
]  # fmt: skip


@pytest.mark.parametrize("value", FOREIGN, ids=lambda value: type(value).__name__)
def test_exact_types_are_asked_for_wherever_a_value_sits(codec: Codec, value: Any) -> None:
    holders: list[object] = [value, [value], (1, value), {"key": value}]
    if type(value).__hash__ is not None:
        holders += [{value}, {value: 1}, {(1, (value,))}]
    for holder in holders:
        with pytest.raises(NotPlain, match=rf"^an instance of {type(value).__name__} is not plain data$"):
            codec.encode(holder, ROOM)


def test_hostile_types_are_named_without_running_their_code(codec: Codec) -> None:
    def boom(*_: object) -> NoReturn:
        raise AssertionError("hostile code ran")

    names = ("eq", "hash", "bool", "len", "repr", "str", "iter", "index", "instancecheck", "getattribute", "format")
    traps: dict[str, Any] = {f"__{name}__": boom for name in names}
    meta = type("Meta", (type,), {**traps, "__name__": property(boom), "__class__": property(boom)})
    hostile = meta("Hostile", (), {**traps, "__class__": property(boom)})
    number = meta("Integer", (int,), traps)
    for value in (object.__new__(hostile), hostile, int.__new__(number)):
        with pytest.raises(NotPlain, match=r"^an instance of (Hostile|Meta|Integer) is not plain data$"):
            codec.encode([value], ROOM)


def test_the_names_of_types_become_short_and_printable(codec: Codec) -> None:
    class LyingStr(str):
        __str__ = __repr__ = __getitem__ = __format__ = None  # type: ignore[assignment]

    for name in ("a\n\x1b[31m\u202e", LyingStr("b"), "c" * 1_000_000):
        with pytest.raises(NotPlain) as caught:
            codec.encode(type(name, (), {})(), ROOM)
        message = caught.value.args[0]
        assert type(message) is str
        assert message.isprintable()
        assert len(message) < 300


def assert_exact_limit(codec: Codec, value: object) -> None:
    size = len(codec.encode(value, ROOM))
    assert len(codec.encode(value, size)) == size
    for limit in {size - 1, size // 2, 0}:
        if limit < size:
            with pytest.raises(TooLarge) as caught:
                codec.encode(value, limit)
            assert limit < caught.value.size <= size


@given(PLAIN)
def test_the_limit_is_exact(codec: Codec, value: object) -> None:
    assert_exact_limit(codec, value)


def peak(function: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def doubled(value: object, kind: Callable[[list[object]], object]) -> object:
    for _ in range(150):
        value = kind([value, value])
    return value


TOO_LARGE: dict[str, Callable[[], object]] = {
    "lists": lambda: doubled("x", list),
    "tuples": lambda: doubled((), tuple),
    "dicts": lambda: doubled(1, lambda pair: dict(enumerate(pair))),
    "wide": lambda: [["x" * 1000] * 1000] * 1000,
    "long": lambda: [0] * 1_000_000,
    "set": lambda: {*range(1_000_000)},
    "str": lambda: "x" * 1_000_000,
    "int": lambda: 1 << 100_000_000,
    "negative int": lambda: -1 << 100_000_000,
}


@pytest.mark.parametrize("name", TOO_LARGE)
def test_what_is_too_large_is_given_up_in_little_memory(codec: Codec, name: str) -> None:
    value, caught = TOO_LARGE[name](), []

    def attempt() -> None:
        with pytest.raises(TooLarge) as error:
            codec.encode(value, 20_000)
        caught.append(error.value)

    assert peak(attempt) < 300_000
    assert caught[0].size > 20_000
    assert str(caught[0].size) in str(caught[0])


def test_no_function_needs_more_than_a_few_frames(codec: Codec) -> None:
    old, value = sys.getrecursionlimit(), nested(MAX_DEPTH)
    sys.setrecursionlimit(len(inspect.stack(0)) + 20)
    try:
        data = codec.encode(value, ROOM)
        codec.check(data, ROOM)
        found = codec.decode(data)
    finally:
        sys.setrecursionlimit(old)
    assert found == value


def test_encoding_survives_every_builtin_being_replaced(codec: Codec) -> None:
    def boom(*_: object, **__: object) -> NoReturn:
        raise SystemExit("a replaced builtin was used")

    value = [1, -5, 10**50, 2.5, "a\ud800", None, True, {3, 1, (2,)}, {"k": [()] * 300}]
    expected, caught = codec.encode(value, ROOM), []
    foreign, deep = [Number(1)], nested(MAX_DEPTH + 1)
    names = vars(builtins)
    saved, ruined = dict(names), {name: boom for name in names if not name.startswith("__")}
    try:  # only names that are bound already, down to the end of this statement
        names.update(ruined)
        data = codec.encode(value, ROOM)
        for hopeless, limit in ((value, 5), (10**50, 5), ("x" * 99, 5), (foreign, 100), (deep, 1000)):
            try:
                codec.encode(hopeless, limit)
            except (TooLarge, NotPlain) as error:
                caught.append(error)
    finally:
        names.update(saved)
    assert data == expected
    assert [type(error) for error in caught] == [TooLarge] * 3 + [NotPlain] * 2


def test_encoding_looks_nothing_up_in_builtins() -> None:
    def loaded(code: types.CodeType) -> Iterator[str]:
        for step in dis.get_instructions(code):
            if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                yield step.argval
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                yield from loaded(constant)

    pending, seen = [(vars(selftaught.sandbox.codec), "python_encode")], set()
    pending += [(vars(arrays), "name_of"), (vars(arrays), "encode_numpy")]  # through their module
    while pending:
        names, name = pending.pop()
        found = names[name]  # KeyError: a name that is looked up in builtins
        if isinstance(found, types.FunctionType) and found not in seen:
            seen.add(found)
            pending += [(found.__globals__, inner) for inner in loaded(found.__code__)]
    assert len(seen) > 15


MALFORMED = [
    "", *(f"{tag:x}{rest}" for tag in (*range(0x84, 0x90), *range(0xF0, 0x100)) for rest in ("", "00" * 8, "0e" * 24)),
    "0000", "8080", "83", "8300000000000000", "90", "9100", "917f", "92ff", "920000", "92ffff", "927f00", "9280ff",
    "9e", "9e0d" + "01" * 13, "9fff00000000000000" + "01" * 255, "9f00", "a16161", "a1", "a1ff", "a180", "a2c080",
    "a3eda0", "a4f4908080", "b1", "b300000000", "be0d" + "00" * 13, "c2b1", "e1", "e100", "d20201", "d2a16101",
    "d1b0", "d1d0", "d1e0", "d1c1b0", "d1c1c1d0", "e1b000", "e1c1b000", "e20000d000",
    *(long_form(tag, n).hex() for tag in range(0x90, 0x100, 16) for n in (2**60, 2**63, 2**64 - 1)),
]  # fmt: skip


@pytest.mark.parametrize("data", MALFORMED)
def test_malformed_bytes_are_refused(codec: Codec, data: str) -> None:
    assert refusal(codec.check, bytes.fromhex(data), ROOM)
    assert refusal(codec.decode, bytes.fromhex(data))


@pytest.mark.parametrize(
    "data", ["d20182", "d20183000000000000f03f", "d20101", "e201000100", "e201008200", "d2c101c182"]
)
def test_equal_elements_and_keys_are_refused_when_they_meet(codec: Codec, data: str) -> None:
    assert refusal(codec.check, bytes.fromhex(data), ROOM) is None
    assert "equal" in str(refusal(codec.decode, bytes.fromhex(data)))


def test_bytes_over_the_limit_or_nested_too_deeply_are_refused(codec: Codec) -> None:
    assert refusal(codec.check, b"\xa1x", 2) is None
    assert refusal(codec.check, b"\xa1x", 1)
    assert refusal(codec.check, b"\xb1" * (MAX_DEPTH - 1) + b"\xb0", ROOM) is None
    for data in (b"\xb1" * MAX_DEPTH + b"\xb0", b"\xb1" * MAX_DEPTH + b"\xd0", b"\xc1" * 10**6 + b"\x00"):
        assert refusal(codec.check, data, ROOM)
        assert refusal(codec.decode, data)


LEADS = st.sampled_from([0, 1, 5, 0x61, 0x7F, *range(0x80, 0x84), *range(0x90, 0x94), *range(0xA0, 0xA4), 0xFF])
HOLDERS = st.sampled_from([kind + n for kind in (0xB0, 0xC0, 0xD0, 0xE0) for n in (0, 1, 2, 3, 14)])


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    data = bytearray(PYTHON.encode(draw(PLAIN), ROOM))
    for _ in range(draw(st.integers(1, 3))):
        at, length = draw(st.integers(0, len(data))), draw(st.integers(0, 3))
        data[at : at + length] = draw(st.binary(max_size=3) | st.lists(LEADS | HOLDERS, max_size=3).map(bytes))
    return bytes(data)


@given(damaged() | st.lists(LEADS | HOLDERS).map(bytes) | st.binary())
@example(b"\xd2\x01\x82")
def test_any_bytes_are_refused_or_are_the_encoding_of_what_they_decode_to(codec: Codec, data: bytes) -> None:
    said = refusal(codec.check, data, ROOM)
    try:
        value = codec.decode(data)
    except Malformed as error:
        assert said is not None or "equal" in str(error)
    else:
        assert said is None
        assert codec.encode(value, ROOM) == data


@given(PLAIN, st.data())
def test_every_truncation_is_refused(codec: Codec, value: object, choice: st.DataObject) -> None:
    data = codec.encode(value, ROOM)
    cut = data[: choice.draw(st.integers(0, len(data) - 1))]
    assert refusal(codec.check, cut, ROOM)
    assert refusal(codec.decode, cut)


def test_text_is_judged_alike_wherever_a_piece_of_it_ends(codec: Codec) -> None:
    for shift in range(8):
        for character in ("\u00e9", "\ud800", "\U0001f40d"):
            text = "x" * shift + character * 70_000
            data = codec.encode(text, ROOM)
            codec.check(data, ROOM)
            assert codec.decode(data) == text
            spoilt = data[:65_545] + b"\xff" + data[65_546:]
            assert refusal(codec.check, spoilt, ROOM)
            assert refusal(codec.check, long_form(0xA0, len(data) - 10) + data[9:-1], ROOM)


def test_colliding_hashes_cost_a_check_nothing(codec: Codec) -> None:
    elements = sorted(codec.encode(i * sys.hash_info.modulus, 100) for i in range(1, 100_001))
    codec.check(long_form(0xD0, len(elements)) + b"".join(elements), ROOM)  # to build this set would take minutes
    codec.check(long_form(0xE0, len(elements)) + b"\x00".join(elements) + b"\x00", ROOM)


def test_a_check_builds_nothing(codec: Codec) -> None:
    for data in (
        codec.encode([-1 - i for i in range(50_000)], ROOM),
        codec.encode({str(i) for i in range(30_000)}, ROOM),
        codec.encode({str(i): i for i in range(30_000)}, ROOM),
        codec.encode("x" * 500_000 + "\U0001f40d", ROOM),
        codec.encode("\ud800" * 200_000, ROOM),
        codec.encode(1 << 800_000, ROOM),
    ):
        assert peak(lambda data=data: codec.check(data, ROOM)) < len(data) + 300_000  # type: ignore[misc]
