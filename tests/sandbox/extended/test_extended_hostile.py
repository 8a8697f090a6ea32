"""Extended plain data against hostile users: replaced classes, hostile keys, hostile bytes."""

from __future__ import annotations

import builtins
import collections
import datetime as times
import decimal
import fractions
import inspect
import math
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from fractions import Fraction
from typing import Any, NoReturn

import pytest

from selftaught.sandbox.codec import MAX_DEPTH, Malformed, NotPlain, TooLarge
from tests.sandbox.codecs import Codec
from tests.sandbox.extended.values import EXAMPLES, ROOM, same
from tests.sandbox.test_codec_hostile import long_form, peak, refusal


def boom(*_: object, **__: object) -> NoReturn:
    raise SystemExit("hostile code ran")


@contextmanager
def ruined(place: Any, names: list[str]) -> Iterator[None]:
    """Replace attributes of a class by a function that must not be called."""
    saved = {name: vars(place)[name] for name in names if name in vars(place)}
    try:
        for name in names:
            setattr(place, name, boom)
        yield
    finally:
        for name in names:
            if name in saved:
                setattr(place, name, saved[name])
            else:
                delattr(place, name)


SPECIAL = [
    f"__{name}__"
    for name in "eq hash len iter repr str bool getitem contains getattribute reduce_ex reduce copy missing".split()
]


def test_encoding_runs_nothing_of_classes_that_can_be_changed(extended: Codec) -> None:
    values = [Counter("hello"), {Fraction(1, 3): Fraction(1, 1 << 99)}, [Counter({Fraction(2): {Fraction(5)}})]]
    expected = [extended.encode(value, ROOM) for value in values]
    with ruined(Counter, [*SPECIAL, "items", "keys", "elements", "update", "__init__"]):
        found = extended.encode(values[0], ROOM)
        decoded = extended.decode(expected[0])
    assert found == expected[0]
    assert same(decoded, values[0])
    names = ["numerator", "denominator", "_numerator", "_denominator", "as_integer_ratio", *SPECIAL]
    with ruined(Fraction, names):
        found_all = [extended.encode(value, ROOM) for value in values]
    assert found_all == expected


def test_encoding_and_decoding_survive_modules_being_ruined(extended: Codec) -> None:
    expected = extended.encode(EXAMPLES, ROOM)
    places = [collections, decimal, times, fractions, math]
    saved = [dict(vars(place)) for place in places]
    try:
        for place in places:
            vars(place).update((name, boom) for name in [*vars(place)] if name[0] != "_")
        data = extended.encode(EXAMPLES, ROOM)
        value = extended.decode(data)
    finally:
        for place, names in zip(places, saved, strict=True):
            vars(place).update(names)
    assert data == expected
    assert same(value, EXAMPLES)


def test_encoding_survives_every_builtin_being_replaced(extended: Codec) -> None:
    expected, caught = extended.encode(EXAMPLES, ROOM), []
    hopeless = [(b"x" * 99, 5), ([Fraction(1, 3)], 3), (defaultdict(len), ROOM), ([object()], ROOM), (EXAMPLES, 900)]
    names = vars(builtins)
    saved, replaced = dict(names), {name: boom for name in names if not name.startswith("__")}
    try:  # only names that are bound already, down to the end of this statement
        names.update(replaced)
        data = extended.encode(EXAMPLES, ROOM)
        for value, limit in hopeless:
            try:
                extended.encode(value, limit)
            except (TooLarge, NotPlain) as error:
                caught.append(error)
    finally:
        names.update(saved)
    assert data == expected
    assert [type(error) for error in caught] == [TooLarge, TooLarge, NotPlain, NotPlain, TooLarge]


class Key:
    """A key whose methods must not be called while it is encoded."""

    is_armed = False

    def __hash__(self) -> int:
        if self.is_armed:
            boom()
        return 1

    def __eq__(self, other: object) -> bool:
        if self.is_armed:
            boom()
        return self is other


@pytest.mark.parametrize("kind", [Counter, OrderedDict, lambda pairs: defaultdict(None, pairs), frozenset, deque])
def test_hostile_keys_are_refused_without_being_hashed(
    extended: Codec, kind: Callable[[Any], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    value = kind({0: 1, (1, Key()): 2, Key(): 3})
    monkeypatch.setattr(Key, "is_armed", True)
    with pytest.raises(NotPlain, match="an instance of Key is not plain data"):
        extended.encode(value, ROOM)


def test_an_ordered_dict_whose_order_was_broken_is_refused(extended: Codec) -> None:
    grown, shrunk, swapped = (OrderedDict(a=1, b=2) for _ in range(3))
    dict.__setitem__(grown, "c", 3)
    dict.__delitem__(shrunk, "a")
    dict.__delitem__(swapped, "a")
    dict.__setitem__(swapped, "c", 3)
    for value in (grown, shrunk, swapped):
        with pytest.raises(NotPlain, match="order"):
            extended.encode([value], ROOM)


@pytest.mark.parametrize("part", ["1", 1.0, True, None])
def test_a_fraction_of_anything_but_ints_is_refused(extended: Codec, part: object) -> None:
    for name in ("_numerator", "_denominator"):
        value = Fraction(3, 2)
        setattr(value, name, part)
        with pytest.raises(NotPlain, match="Fraction"):
            extended.encode(value, ROOM)
    for numbers in ((1, 0), (1, -2), (2, 4), (0, 2), (1 << 90, 2)):
        value = Fraction(3, 2)
        value._numerator, value._denominator = numbers  # type: ignore[attr-defined]
        with pytest.raises(NotPlain, match="Fraction"):
            extended.encode(value, ROOM)


def test_a_profiler_that_the_task_has_left_changes_no_container_that_is_being_encoded(extended: Codec) -> None:
    inner, keys = [range(5)] * 50, {("k", i): range(i) for i in range(50)}
    value = [inner, keys, deque(inner), OrderedDict(keys), 1 << 70]

    def interfere(*_: object) -> None:
        inner.clear()
        keys.clear()
        for part in value[2:4]:
            part.clear()

    sys.setprofile(interfere)
    try:
        data = extended.encode(value, ROOM)
    except NotPlain:  # an OrderedDict that lost its keys
        data = None
    finally:
        sys.setprofile(None)
    if data is not None:
        extended.check(data, ROOM)
        extended.decode(data)


MALFORMED = [
    "84", "840a", "840f00", "8490", "84ff", "8400" + "00" * 15, "84117f00", "8411", "841e0d" + "00" * 13, "841f",
    "8431", "84320201", "8431b0", "d1842161", "d18440", "d1844080", "e1845000", "d184410101b0",
    "8440ff", "844091ff", "844101", "8442010102", "84409900000000000000000001", "844081",
    "84700c", "8470", "8471", "847100", "845101", "84510182" + "00",
    "840100000101", "840127110101", "840107e40001", "840107e40d01", "840107e5021d", "840107e40200",
    "840107e40431", "8402180000000080", "8402003c0000000080", "840200003c00000080",
    "84020000000f424080", "840200000000000081", "8402000000000000", "8402000000000000" + "8406000001",
    "840307e402010000000000000084", "840307e4021f0000000000000080",
    "8404" + "00ca9a3b" + "00" * 8, "84040000000080510100" + "00000000", "840400000000" + "00000000" + "40420f00",
    "8405" + "01000000" + "00" * 8 + "80", "8405" + "ffffffff" + "00" * 8 + "80", "8405" + "00" * 12 + "01",
    "8405" + "00" * 12, "8406000000", "84060001", "840600019100", "8406a0a0a0", "84070100", "840701ff", "84070191ff",
    "848000", "84800000", "8481000061", "848100003a", "84820000 3031", "84810231", "84810430",
    "8481080031", "84810098000064a7b3b6e00d31",  "84820098ffff63a7b3b6e00d3131",
    "84810098020038b198923ee431", "d1848006", "d1c1848006",
    *("84" + long_form(tag, n).hex() for tag in range(0x10, 0x90, 16) for n in (2**60, 2**63, 2**64 - 1)),
]  # fmt: skip


@pytest.mark.parametrize("data", MALFORMED)
def test_malformed_bytes_are_refused(extended: Codec, data: str) -> None:
    assert refusal(extended.check, bytes.fromhex(data), ROOM)
    assert refusal(extended.decode, bytes.fromhex(data))


@pytest.mark.parametrize(
    "data",
    [
        "84320182", "d2018481000031", "8452010082 00", "84620100 8200", "847200010082 00", "84070204", "84070002",
        "d2 83000000000000e03f 84070102",
    ],
)  # fmt: skip
def test_what_the_bytes_do_not_show_is_refused_by_the_decoder(extended: Codec, data: str) -> None:
    assert refusal(extended.check, bytes.fromhex(data), ROOM) is None
    assert refusal(extended.decode, bytes.fromhex(data))


def test_no_function_needs_more_than_a_few_frames(extended: Codec) -> None:
    value: Any = Decimal(1)
    for _ in range(MAX_DEPTH // 2):
        value = Counter({1: deque([value])})
    old = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 20)
    try:
        data = extended.encode(value, ROOM)
        extended.check(data, ROOM)
        found = extended.decode(data)
    finally:
        sys.setrecursionlimit(old)
    assert extended.encode(found, ROOM) == data


@pytest.mark.parametrize("kind", ["bytes", "deque", "Decimal", "Fraction", "frozenset", "OrderedDict"])
def test_what_is_too_large_is_refused_before_it_is_copied(extended: Codec, kind: str) -> None:
    value: Any = {
        "bytes": lambda: b"x" * 1_000_000, "deque": lambda: deque([0] * 1_000_000), "Decimal": lambda: Decimal(10),
        "Fraction": lambda: Fraction(1 << 8_000_000, 3), "frozenset": lambda: frozenset(range(200_000)),
        "OrderedDict": lambda: OrderedDict.fromkeys(range(100_000)),
    }[kind]()  # fmt: skip
    for whole in ([value] * 1000, (value,) * 1000):

        def refuse(whole: object = whole) -> None:
            with pytest.raises(TooLarge):
                extended.encode(whole, 1000)

        assert peak(refuse) < 100_000


def test_a_check_builds_nothing(extended: Codec) -> None:
    for value in (
        b"x" * 500_000,
        deque(range(300, 50_000)),
        Counter({str(i): i for i in range(30_000)}),
        [frozenset({i, str(i)}) for i in range(20_000)],
        [range(i) for i in range(30_000)],
    ):
        data = extended.encode(value, ROOM)
        assert peak(lambda data=data: extended.check(data, ROOM)) < len(data) + 300_000  # type: ignore[misc]


def test_equal_fractions_that_no_honest_process_makes_do_not_cross(extended: Codec) -> None:
    """Else a set of "distinct" fractions could hold 1/2 twice."""
    with pytest.raises(Malformed):
        extended.decode(bytes.fromhex("d2 84070102 84070204"))
