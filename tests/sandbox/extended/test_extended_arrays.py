"""NumPy's arrays and scalars as extended plain data. NumPy is there wherever the extra `train` is."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from selftaught.sandbox.codec import Malformed, NotPlain, TooLarge
from tests.sandbox.codecs import PYTHON_EXTENDED, Codec, native_extended
from tests.sandbox.extended.test_extended_native import agree_on_bytes, agree_on_value
from tests.sandbox.extended.values import ROOM
from tests.sandbox.test_codec_hostile import refusal

np: Any = pytest.importorskip("numpy", reason="NumPy is not installed, and so no value of it can be encoded")

DTYPES = (
    "? i1 u1 <i2 >i2 <u4 >u4 <i8 >i8 <u8 <f2 >f4 <f8 >f8 <c8 >c16 <U3 >U3 S4 <M8[ns] >M8[D] <M8[25s] <m8[us]"
).split()
SCALARS = [
    np.bool_(True), np.int8(-1), np.uint64(2**64 - 1), np.float16(1.5), np.float32(-0.0), np.float64("nan"),
    np.complex64(1j), np.complex128(complex(-0.0, float("inf"))), np.str_(""), np.str_("a\0\ud800"), np.bytes_(b""),
    np.bytes_(b"a\0"), np.datetime64("2020-01-01"), np.datetime64("NaT", "s"), np.timedelta64(5, "ns"),
    np.datetime64(7, "25s"),
]  # fmt: skip


def arrays() -> list[Any]:
    made = [np.arange(12, dtype="u1").repeat(16).view("u1")[:192].copy()]
    for name in DTYPES:
        dtype = np.dtype(name)
        flat = np.zeros(6, "?") if name == "?" else np.frombuffer(bytes(range(1, 1 + 6 * dtype.itemsize)), dtype)
        if dtype.kind == "U":
            flat = np.array(["a", "bcd", "", "é", "\U0001f40d", "x"], dtype)
        made += [flat, flat.reshape(2, 3).T, flat[:0], flat.reshape(1, 2, 3)[::-1, ::-1], flat[:1].reshape(()),
                 np.zeros((0, 5), dtype)]  # fmt: skip
    return made


ARRAYS = arrays()


def test_arrays_come_back_with_dtype_shape_and_bytes(extended: Codec) -> None:
    for array in ARRAYS:
        data = extended.encode(array, ROOM)
        extended.check(data, ROOM)
        found = extended.decode(data)
        assert type(found) is np.ndarray
        assert (found.dtype.str, found.shape, found.tobytes()) == (array.dtype.str, array.shape, array.tobytes())
        assert found.flags.writeable and found.flags.owndata
        assert extended.encode(found, ROOM) == data


@pytest.mark.parametrize("scalar", SCALARS, ids=lambda scalar: type(scalar).__name__)
def test_scalars_come_back_with_their_type_and_bits(extended: Codec, scalar: Any) -> None:
    data = extended.encode([scalar], ROOM)
    (found,) = extended.decode(data)
    assert type(found) is type(scalar)
    assert (found.dtype, found.tobytes(), repr(found)) == (scalar.dtype, scalar.tobytes(), repr(scalar))
    assert extended.encode([found], ROOM) == data


def test_a_scalar_an_array_without_dimensions_and_a_number_are_three_things(extended: Codec) -> None:
    found = extended.decode(extended.encode([np.float64(1), np.array(1.0), 1.0], ROOM))
    assert [type(value) for value in found] == [np.float64, np.ndarray, float]


def test_scalars_may_be_keys_and_arrays_may_not(extended: Codec) -> None:
    value = {np.int64(1): 1, np.str_("a"): 2, (np.float32(0.5), 1): 3}
    assert [*map(type, extended.decode(extended.encode(value, ROOM)))] == [np.int64, np.str_, tuple]
    array = extended.encode(np.array(1), ROOM)
    for holder in (b"\xd1", b"\xe1", b"\x84\x31", b"\xd1\xc1"):
        assert refusal(extended.check, holder + array + b"\x01" * (holder == b"\xe1"), ROOM)


@pytest.mark.parametrize(
    "value",
    [np.array([object()]), np.array([(1, 2)], dtype="i4,i4"), np.array([b"x"], dtype="V1"), np.longdouble(1),
     np.array([1], dtype="g"), np.longlong(1), np.ma.array([1]),
     np.dtype("f8"), np.float64, np.random.default_rng(0), np.array([2], "u1").view("?")],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_other_values_of_numpys_are_refused(extended: Codec, value: Any) -> None:
    with pytest.raises(NotPlain, match="is not plain data"):
        extended.encode([value], ROOM)


def test_classes_that_pretend_to_be_numpys_are_refused(extended: Codec) -> None:
    names = {"__module__": "numpy", "dtype": np.dtype("f8"), "shape": (), "nbytes": 0, "tobytes": lambda self: b""}
    for name in ("ndarray", "float64"):
        for base in (object, np.ndarray):
            kind = type(name, (base,), names)
            with pytest.raises(NotPlain):
                extended.encode(base.__new__(kind, *((1,) if base is np.ndarray else ())), ROOM)


def test_an_array_that_is_larger_than_its_memory_is_refused_before_it_is_copied(extended: Codec) -> None:
    with pytest.raises(TooLarge) as caught:
        extended.encode(np.broadcast_to(np.float64(1), (10**6, 10**6)), 1000)
    assert caught.value.size > 10**12


def test_strict_mode_refuses_them(codec: Codec) -> None:
    for value in (np.array(1), np.float64(1)):
        with pytest.raises(NotPlain):
            codec.encode(value, ROOM)
        with pytest.raises(Malformed):
            codec.check(PYTHON_EXTENDED.encode(value, ROOM), ROOM)


def test_both_implementations_agree(extended: Codec) -> None:
    ours = native_extended()
    for value in [*ARRAYS, *SCALARS]:
        data = extended.encode(value, ROOM)
        for room in range(len(data) + 2):
            agree_on_value(ours, value, room)
        for at in range(min(len(data), 24)):
            agree_on_bytes(ours, data[:at])
            for byte in (
                0,
                1,
                0x30,
                0x31,
                0x7C,
                0x3C,
                0x3E,
                0x80,
                0x84,
                0x91,
                0xC0,
                0xFF,
                data[at] ^ 1,
                data[at] + 1 & 255,
            ):
                agree_on_bytes(ours, data[:at] + bytes([byte]) + data[at + 1 :])


def encoding_of(dtype: str, body: bytes = b"", shape: bytes = b"") -> bytes:
    tag = b"\x84\x09" if shape else b"\x84\x08"
    return tag + PYTHON_EXTENDED.encode(dtype, ROOM) + shape + PYTHON_EXTENDED.encode(body, ROOM)


@pytest.mark.parametrize(
    "dtype",
    ["", "f", "f8", "=f8", "<f8 ", "<f16", "<f1", "<i1", "|i2", "|f8", "<b1", "|b2", "|b01", "<c4", "|O", "|O8", "|V8",
     "<U-1", "<U01", "<U536870912", "|S2147483648", "<S1", "|U1", "<M8[", "<M8[]", "<M8]", "<M8[1s]", "<M8[0s]",
     "<M8[01s]", "<M8[2147483648s]", "<M8[s", "<M8[xs]", "<M8[sm]", "<M8[2]", "|M8[s]", "<M4[s]", "<m8[s]x", "<i8,<i8",
     ">f8", "<T16", "<m8", "<M8"],
)  # fmt: skip
def test_unknown_dtypes_are_malformed(extended: Codec, dtype: str) -> None:
    assert refusal(extended.check, encoding_of(dtype, bytes(8)), ROOM)


@pytest.mark.parametrize(
    ("shape", "size"),
    [("c102", 8), ("c2" + "02" * 2, 13), ("b102", 2), ("c191ff", 0), ("c1", 0), ("", 1), ("ce41" + "01" * 65, 1),
     ("c2009800000000000010", 0), ("c29800000000000000109800000000000000 10", 0),
     ("c199" + "00" * 8 + "01", 0)],
)  # fmt: skip
def test_shapes_that_do_not_fit_are_malformed(extended: Codec, shape: str, size: int) -> None:
    data = encoding_of("<f8", bytes(size), bytes.fromhex(shape) or b"\x01")
    assert refusal(extended.check, data, ROOM)
    assert refusal(extended.decode, data)


def test_without_numpy_its_values_are_malformed_and_it_is_not_imported() -> None:
    data = PYTHON_EXTENDED.encode([np.arange(3)], ROOM)
    script = f"""
import sys
from selftaught.sandbox import codec
for decode in (codec.decode, codec.python_decode):
    codec.check(bytes.fromhex({data.hex()!r}), 1000, extended=True)
    try:
        decode(bytes.fromhex({data.hex()!r}))
    except codec.Malformed as error:
        print(error)
    assert "numpy" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "it holds a value of NumPy's, which is not loaded here\n" * 2
