"""NumPy's arrays and scalars as plain data: part of `selftaught.sandbox.codec`.

A dtype is its `str`, such as ``<f8`` or ``<M8[ns]``: booleans, ints, floats of 2 to 8 bytes, complex numbers of two
floats, texts and bytes of a fixed size, times and durations with a unit.

NumPy is never imported here. To encode needs nothing of the module: the types of its own values are static, and for
those Python itself keeps the name that their C code gave them. To decode needs the module where it is loaded.
"""

from __future__ import annotations

import math
import re
import sys
from typing import Any

from selftaught.sandbox.codec_parts import (
    EXTENDED,
    TUPLE,
    Malformed,
    NotPlain,
    TooLarge,
    encode_int,
    encode_str,
    head,
    read_byte,
    read_int,
    read_length,
    read_str,
    skip,
)
from selftaught.sandbox.extended.kinds import ARRAY, BYTES, SCALAR

_MAX_DIMENSIONS, _MAX_SIZE, _MAX_ITEM = 64, (1 << 63) - 1, (1 << 31) - 1
_SCALARS = frozenset(
    "bool bool_ int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 complex64 complex128 str_ "
    "bytes_ datetime64 timedelta64".split()
)
_DTYPE = re.compile(
    rb"\|(?:b1|[iu]1|S(?P<bytes>0|[1-9][0-9]{0,9}))"
    rb"|[<>](?:[iuf][248]|c8|c16|U(?P<characters>0|[1-9][0-9]{0,9})"
    rb"|[Mm]8\[(?P<many>[1-9][0-9]{0,9})?(?:Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\])"
)

# As in `selftaught.sandbox.codec_parts`: task code may have replaced what is in `builtins`.
_len, _str, _type_flags = len, str.encode, type.__dict__["__flags__"].__get__
_name_of, _module_of = type.__dict__["__name__"].__get__, type.__dict__["__module__"].__get__
_match, _group, _int, _without = _DTYPE.fullmatch, re.Match.group, int, bytes.translate
_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: a class that was made while the program ran
_prefix = bytes((EXTENDED,))
_modules = sys.modules


def name_of(kind: type) -> str | None:
    """Return "ndarray", or the name of a scalar type, if this is exactly one of NumPy's types of plain values."""
    if _type_flags(kind) & _HEAP_TYPE or _module_of(kind) != "numpy":
        return None
    name: str = _name_of(kind)
    return name if name == "ndarray" or name in _SCALARS else None


def encode_numpy(value: Any, name: str, room: int, max_bytes: int) -> bytes:
    """Return the encoding of an array or scalar, made only if its size is of the order of `room`."""
    text = _str(value.dtype.str, "utf-8", "surrogatepass")
    item = _item_size(text)
    if item is None or (name == "ndarray" and not item):
        raise NotPlain("a NumPy value of another dtype than numbers, texts, bytes and times is not plain data")
    if value.nbytes > room:
        raise TooLarge(max_bytes - room + value.nbytes)
    raw: bytes = value.tobytes()
    shape = b""
    if name == "ndarray":
        sizes = value.shape
        shape = head(TUPLE, _len(sizes)) + b"".join([encode_int(size) for size in sizes])
    else:
        raw = raw[:item]  # an empty text has one
    if text == b"|b1" and _without(raw, None, b"\0\1"):
        raise NotPlain("a NumPy bool that is neither 0 nor 1 is not plain data")
    tag = ARRAY if name == "ndarray" else SCALAR
    return _prefix + head(tag, 0) + encode_str(value.dtype.str) + shape + _prefix + head(BYTES, _len(raw)) + raw


def _item_size(dtype: bytes) -> int | None:
    """Return how many bytes an element takes, or None if values of this dtype are not plain."""
    found = _match(dtype)
    if found is None:
        return None
    many, characters, size = _group(found, "many"), _group(found, "characters"), _group(found, "bytes")
    if many is not None and not 1 < _int(many) <= _MAX_ITEM:  # of a unit of time
        return None
    if dtype[1:2] in b"Mm":
        return 8
    length = _int(dtype[2:] if size is None else size) * (1 if characters is None else 4)
    return length if length <= _MAX_ITEM else None


def check_numpy(data: bytes, at: int, limit: int, is_array: bool) -> int:
    """Check an array or a scalar that begins after its tag. Return where it ends."""
    start, at = read_str(data, at, limit)
    text = data[start:at] if at - start <= 32 else b""
    item = _item_size(text)
    if item is None or (is_array and not item) or (not is_array and text[:1] == b">"):
        raise Malformed("unknown dtype")
    size = item
    if is_array:
        sizes, at = _read_shape(data, at, limit)
        size = 0 if 0 in sizes else item * math.prod(sizes)
        if math.prod([size for size in sizes if size]) * item > _MAX_SIZE:
            raise Malformed("an array is too large")
    tag, at = read_byte(data, at, limit)
    if at == limit or tag != EXTENDED or data[at] & 0xF0 != BYTES:
        raise Malformed("bytes were expected")
    n, at = read_length(data, at + 1, limit, data[at])
    end = skip(at, limit, n)
    if n != size:
        raise Malformed("an array has more or fewer bytes than its shape says")
    if text == b"|b1" and data[at:end].translate(None, b"\0\1"):
        raise Malformed("a NumPy bool is neither 0 nor 1")
    return end


def _read_shape(data: bytes, at: int, limit: int) -> tuple[list[int], int]:
    tag, at = read_byte(data, at, limit)
    if tag & 0xF0 != TUPLE:
        raise Malformed("a shape was expected")
    n, at = read_length(data, at, limit, tag)
    if n > _MAX_DIMENSIONS:
        raise Malformed("an array has too many dimensions")
    sizes = []
    for _ in range(n):
        size, at = read_int(data, at, limit)
        if not 0 <= size <= _MAX_SIZE:
            raise Malformed("a shape is out of range")
        sizes.append(size)
    return sizes, at


def restore_numpy(data: bytes, at: int, is_array: bool) -> tuple[object, int]:
    """Return the array or scalar that begins after its tag, and where it ends. The bytes have passed `check_numpy`."""
    end = len(data)
    start, at = read_str(data, at, end)
    text = data[start:at].decode()
    sizes: list[int] = []
    if is_array:
        sizes, at = _read_shape(data, at, end)
    n, at = read_length(data, at + 2, end, data[at + 1])
    raw = data[at : at + n]
    numpy = _modules.get("numpy")
    if numpy is None:
        raise Malformed("it holds a value of NumPy's, which is not loaded here")
    try:
        if not is_array and text[1] in "SU":  # from an array they would come without zeros at their end
            return numpy.str_(raw.decode("utf-32-le", "surrogatepass")) if text[1] == "U" else numpy.bytes_(raw), at + n
        dtype = numpy.dtype(text)
        whole = numpy.ndarray(sizes, dtype, raw)
    except (TypeError, ValueError, OverflowError):
        raise Malformed("this NumPy has no such array") from None
    if dtype.str != text:
        raise Malformed("this NumPy calls the dtype by another name")
    return (whole.copy() if is_array else whole[()]), at + n
