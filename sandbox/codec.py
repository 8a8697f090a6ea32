"""Plain data <-> bytes: the only form in which a value crosses from a solution to what judges it.

Plain data is ``None``, ``bool``, ``int`` of any size, ``float``, ``str``, and ``list``, ``tuple``, ``set``,
``dict`` of plain data, at most `MAX_DEPTH` deep. Types are exact: an instance of a subclass is not plain.

The format: an encoding is one value, and the first byte of a value is its tag::

    00..7f  the int 0..127                     90+n  int:   n bytes, two's complement, little-endian
    80      None                               a0+n  str:   n bytes, UTF-8, a lone surrogate as three bytes
    81      False                              b0+n  list:  n values
    82      True                               c0+n  tuple: n values
    83      float: 8 bytes, IEEE 754,          d0+n  set:   n values, in ascending order of their bytes
            little-endian                      e0+n  dict:  n times a key and its value, in insertion order

n is 0..13 itself; 14 says that n, at least 14, is in the next byte; 15 that n, at least 256, is in the next
eight, little-endian. An int takes the fewest bytes possible. A set element or a dict key is no list, set
or dict, and no tuple that contains one. Any other tag, a byte too few and a byte too many are malformed.

With ``extended=True`` plain data has more kinds, and tag 84 says that the tag of one of those follows::

    00  complex: two floats of 8 bytes         08  NumPy scalar: dtype (a str) and bytes (tags 84 10+n)
    01  date: 4 bytes                          09  NumPy array: dtype, shape (a tuple of ints) and bytes
    02  time: 6 bytes, a timezone or None      10+n  bytes:       n bytes
    03  datetime: 10, a timezone or None       20+n  bytearray:   n bytes
    04  timedelta: days, seconds and           30+n  frozenset:   like set
        microseconds, 4 bytes each             40+n  deque:       maxlen (None or an int), n values
    05  timezone: 12 bytes as a timedelta,     50+n  Counter:     like dict
        its name (a str) or None               60+n  OrderedDict: like dict, in its own order
    06  range: three ints                      70+n  defaultdict: its factory (a byte), then like dict
    07  Fraction: two ints, lowest terms       80+n  Decimal: form (a byte), exponent (an int), n digits in ASCII

The bytes of dates and times are what their classes pickle. A factory is one of `kinds.FACTORIES`. A Decimal's form is 0
for a number, 2 infinity, 4 NaN, 6 signalling NaN, and 1 more if it is negative; only a number has an exponent. What a
NumPy dtype may be is in `extended.arrays`. A set element or a dict key is no bytearray, deque, dict of any kind,
NumPy array or signalling NaN either. Attributes that were set on a Counter or OrderedDict are lost.

* ``decode(encode(x))`` equals x with the same type at every level; ``-0.0`` and the bits of a NaN are kept.
* A value has one encoding and equal sets have equal encodings, so a digest of the bytes identifies an answer.
* Lost are identity (a list that occurs twice becomes two lists) and the iteration order of sets.
* Time and memory are linear in the bytes (to encode a set takes a logarithm more, to sort it, and a Fraction the
  time to find a common divisor), and nothing recurses. Every value still owed is counted as a byte, so no count can
  exceed what may follow it.
* `check` hashes nothing and builds no containers. It leaves to `decode`, which refuses them: set elements or keys that
  are equal, such as ``1`` and ``True``; a Fraction that is not in lowest terms; what this NumPy has not.
* `encode` runs after hostile code in the same interpreter: it calls only methods of the exact plain types, written in
  C, and nothing that can be replaced in `builtins` or other modules. (An OrderedDict with Fractions as keys calls
  their ``__hash__``.)

`encode`, `check` and `decode` are written twice: in C (sandbox/worker/native), used where it was built, and here as
`python_encode`, `python_check` and `python_decode`, which are the specification. Both give the same results. For
rarer values of the extended kinds C calls the functions of `sandbox/extended/` to encode and build them.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Any, Protocol

from selftaught.sandbox.codec_parts import (
    EXTENDED,
    INT,
    MAX_DEPTH,
    STR,
    TUPLE,
    Malformed,
    NotPlain,
    TooLarge,
    check_int,
    check_text,
    encode_int,
    encode_str,
    head,
    read_length,
)
from selftaught.sandbox.extended.checking import check_extended, is_keyed
from selftaught.sandbox.extended.decoding import close, restore, restore_alone, restore_head
from selftaught.sandbox.extended.encoding import encode_leaf, is_container, is_reordered, open_container, reorder
from selftaught.sandbox.extended.kinds import FROZENSET

__all__ = [
    "IS_NATIVE", "MAX_DEPTH", "Malformed", "NotPlain", "TooLarge", "check", "decode", "encode", "python_check",
    "python_decode", "python_encode",
]  # fmt: skip

_FLOAT, _LIST, _SET, _DICT = 0x83, 0xB0, 0xD0, 0xE0
_TAG_ALONE = (*range(128), None, False, True)

# `python_encode` must find these whatever task code has done to `builtins`, and so without looking there.
_bool, _bytearray, _bytes, _dict, _float, _frozenset = bool, bytearray, bytes, dict, float, frozenset
_int, _iter = int, iter
_len, _list, _repr, _set, _str, _tuple, _type, _zip = len, list, repr, set, str, tuple, type, zip
_bit_length, _pairs = int.bit_length, dict.items
_pack, _unpack = Struct("<d").pack, Struct("<d").unpack
_name_of, _slice_of, _shortened = type.__dict__["__name__"].__get__, str.__getitem__, slice(60)


def python_encode(value: object, max_bytes: int, extended: bool = False) -> bytes:
    """Encode plain data.

    Args:
        value: plain data.
        max_bytes: largest size of the encoding.
        extended: take values of the extended kinds too.

    Returns:
        The encoding.

    Raises:
        NotPlain: the value is not plain data, or is nested too deeply.
        TooLarge: the encoding takes more than `max_bytes`.
    """
    room = max_bytes - 1  # what is left when each value still to come takes one byte
    out = _bytearray()
    stack: list[tuple[Iterator[Any], list[int] | None, tuple[Any, list[Any]] | None]] = []
    items: Iterator[Any] = _iter((value,))
    marks: list[int] | None = None  # in a set or an OrderedDict: where its items begin
    ordered: tuple[Any, list[Any]] | None = None  # an OrderedDict and its items
    while room >= 0:
        for item in items:
            if marks is not None:
                marks.append(_len(out))
            kind = _type(item)
            if kind is _int and 0 <= item < 128:
                out.append(item)
            elif kind is _list or kind is _tuple or kind is _set or kind is _dict or (extended and is_container(kind)):
                if _len(stack) == MAX_DEPTH:
                    raise NotPlain(f"nested deeper than {MAX_DEPTH} levels (or cyclic)")
                start, children = _open(item, kind, room, max_bytes)
                out += start
                room -= _len(start) - 1 + _len(children)
                stack.append((items, marks, ordered))
                ordered = (item, children) if extended and is_reordered(kind) else None
                items, marks = _iter(children), [] if ordered or kind is _set or kind is _frozenset else None
                break
            else:
                leaf = _leaf(item, kind, room, max_bytes, extended)
                out += leaf
                room -= _len(leaf) - 1
                if room < 0:
                    break
        else:
            if marks:
                if ordered:
                    reorder(out, marks, *ordered)
                else:
                    _sort(out, marks)
            if not stack:
                return _bytes(out)
            items, marks, ordered = stack.pop()
    raise TooLarge(max_bytes - room)


def _open(value: Any, kind: type, room: int, max_bytes: int) -> tuple[bytes, list[Any]]:
    """Return the head of a container and a copy of its items, made only if `room` has a byte for each."""
    if kind is not _dict and kind is not _list and kind is not _tuple and kind is not _set:
        return open_container(value, kind, room, max_bytes)
    size = _len(value)
    if size > room:
        raise TooLarge(max_bytes - room + size)
    if kind is _dict:
        return head(_DICT, size), [part for pair in _pairs(value) for part in pair]
    return head(_LIST if kind is _list else TUPLE if kind is _tuple else _SET, size), _list(value)


def _leaf(value: Any, kind: type, room: int, max_bytes: int, extended: bool) -> bytes:
    """Return the encoding of what is no container, made only if its size is of the order of `room`."""
    if kind is _int:
        size = _bit_length(value) >> 3
        if size <= room:
            return encode_int(value)
    elif kind is _str:
        size = _len(value)
        if size <= room:
            return encode_str(value)
    elif kind is _float:
        return b"\x83" + _pack(value)
    elif kind is _bool:
        return b"\x82" if value else b"\x81"
    elif value is None:
        return b"\x80"
    else:
        leaf = encode_leaf(value, kind, room, max_bytes) if extended else None
        if leaf is not None:
            return leaf
        # its name, found without running code of its type or metaclass; a slice of a lying str is a str
        name = _repr(_slice_of(_name_of(kind), _shortened))[1:-1]
        raise NotPlain(f"an instance of {name} is not plain data")
    raise TooLarge(max_bytes - room + size)


def _sort(out: bytearray, marks: list[int]) -> None:
    """Sort the elements that begin at `marks`; the last one ends `out`."""
    ends = [*marks[1:], _len(out)]
    parts = [_bytes(out[start:end]) for start, end in _zip(marks, ends)]
    parts.sort()
    out[marks[0] :] = b"".join(parts)


# What a container may contain: anything, hashables, hashables in order, or anything with hashables as keys.
_ANY, _HASHABLE, _SORTED, _KEYED = range(4)


def python_check(data: bytes, max_bytes: int, extended: bool = False) -> None:
    """Check that data is the encoding of a value.

    What is left to `decode` is what the bytes alone don't show: see this module's docstring.

    Args:
        data: the bytes to check.
        max_bytes: largest size.
        extended: take values of the extended kinds too.

    Raises:
        Malformed: it is not, or is larger.
    """
    if not data:
        raise Malformed("there are no bytes")
    if len(data) > max_bytes:
        raise Malformed(f"{len(data)} bytes are more than is allowed")
    spare = len(data) - 1  # what is left when each value still to come takes one byte
    stack: list[tuple[int, int, int, int]] = []
    at, left, mode, before, start = 0, 1, _ANY, 0, 0
    while left or stack:
        if mode == _SORTED:  # between elements: the last one is data[start:at]
            if data[before:start] > data[start:at]:
                raise Malformed("a set is out of order")
            before, start = start, at
        if not left:
            left, mode, before, start = stack.pop()
            continue
        left -= 1
        tag = data[at]
        at += 1
        if tag < _FLOAT:
            continue
        if extended and tag == EXTENDED:
            is_key = not _takes_any(mode, left)
            end, n, kind = check_extended(data, at, at + spare, is_key, len(stack))
            spare -= end - at + n
            at = end
            if not n:
                continue
            inner = _SORTED if kind == FROZENSET else _KEYED if is_keyed(kind) else _ANY
        else:
            kind = tag & 0xF0
            n, end = (8, at) if tag == _FLOAT else read_length(data, at, len(data), tag)
            spare -= end - at
            at = end
            n = 2 * n if kind == _DICT else n  # now: at least so many bytes follow
            spare -= n
            if spare < 0:
                raise Malformed("data ends early")
            if kind < _LIST:
                if kind != STR or not data[at : at + n].isascii():
                    _check_leaf(data, at, tag, n)
                at += n
                continue
            inner = _inner(kind, mode, left, len(stack))
        if not n or (inner != _SORTED and data[at : at + n].isascii()):  # nothing but ints below 128: done
            at += n
        else:
            stack.append((left, mode, before, start))
            left, mode, before, start = n, inner, at, at
    if spare:
        raise Malformed("there are bytes after the value")


def _takes_any(mode: int, left: int) -> bool:
    """Return True if the value in a container of this mode with so many after it need not be hashable."""
    return mode == _ANY or (mode == _KEYED and left % 2 == 0)


def _inner(kind: int, mode: int, left: int, depth: int) -> int:
    """Return the mode of a container within one of `mode`, with `left` values after it."""
    if kind > _DICT:
        raise Malformed("unknown tag")
    if depth == MAX_DEPTH:
        raise Malformed(f"nested deeper than {MAX_DEPTH} levels")
    if _takes_any(mode, left):
        return _SORTED if kind == _SET else _KEYED if kind == _DICT else _ANY
    if kind != TUPLE:
        raise Malformed("a set element or a key is not hashable")
    return _HASHABLE


def _check_leaf(data: bytes, at: int, tag: int, n: int) -> None:
    if tag >= STR:
        check_text(data, at, at + n)
    elif tag >= INT:
        check_int(data, at, n)
    elif tag != _FLOAT:
        raise Malformed("unknown tag")


def python_decode(data: bytes, extended: bool = True) -> object:
    """Decode an encoding.

    Args:
        data: the encoding, in full.
        extended: take values of the extended kinds too.

    Returns:
        The value.

    Raises:
        Malformed: `data` is not the encoding of a value.
    """
    python_check(data, len(data), extended)
    stack: list[tuple[int, int, list[Any]]] = []
    at, left, kind = 0, 1, _LIST
    items: list[Any] = []
    while left or stack:
        if not left:
            value = _close(kind, items)
            left, kind, items = stack.pop()
            items.append(value)
            continue
        left -= 1
        tag = data[at]
        at += 1
        if tag < _FLOAT:
            items.append(_TAG_ALONE[tag])
            continue
        if tag == EXTENDED:
            inner, first, n, at = restore_head(data, at)
            if inner:
                stack.append((left, kind, items))
                left, kind, items = n, inner, first
            else:
                value, at = restore(data, at)
                items.append(value)
            continue
        n, at = (8, at) if tag == _FLOAT else read_length(data, at, len(data), tag)
        if tag >= _LIST:
            stack.append((left, kind, items))
            left, kind, items = n, tag & 0xF0, []
            if kind == _DICT:
                left *= 2
            elif data[at : at + n].isascii():  # nothing but ints below 128
                left, items = 0, list(data[at : at + n])
                at += n
            continue
        body = data[at : at + n]
        at += n
        if tag >= STR:
            items.append(body.decode("utf-8", "surrogatepass"))
        else:
            items.append(_unpack(body)[0] if tag == _FLOAT else int.from_bytes(body, "little", signed=True))
    return items[0]


def _close(kind: int, items: list[Any]) -> object:
    """Return the container of this kind with these items."""
    if kind == _LIST:
        return items
    try:
        if kind < _LIST:
            return close(kind, items)
        if kind == TUPLE:
            return tuple(items)
        whole = set(items) if kind == _SET else dict(zip(items[::2], items[1::2], strict=True))
    except TypeError:  # only a value of NumPy's can turn out to be so
        raise Malformed("a set element or a key is not hashable") from None
    if len(whole) * (1 if kind == _SET else 2) != len(items):
        raise Malformed("equal elements in a set, or equal keys in a dict")
    return whole


class _Encode(Protocol):
    def __call__(self, value: object, max_bytes: int, /, extended: bool = False) -> bytes: ...


class _Check(Protocol):
    def __call__(self, data: bytes, max_bytes: int, /, extended: bool = False) -> None: ...


class _Decode(Protocol):
    def __call__(self, data: bytes, /, extended: bool = True) -> object: ...


encode: _Encode = python_encode
check: _Check = python_check
decode: _Decode = python_decode
try:
    from selftaught.sandbox import _codec
except ImportError:  # no compiler at installation, or another machine's build
    IS_NATIVE = False
else:
    IS_NATIVE = True
    _codec.use_these(NotPlain, TooLarge, Malformed, encode_leaf, restore_alone)
    encode, check, decode = _codec.encode, _codec.check, _codec.decode
