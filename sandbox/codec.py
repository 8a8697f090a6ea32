"""Plain data <-> bytes: the only form in which an answer crosses from a solution to its judge.

Plain data is ``None``, ``bool``, ``int`` of any size, ``float``, ``str``, and ``list``, ``tuple``, ``set`` and ``dict`` of
plain data, nested at most `MAX_DEPTH` deep. Types are exact: an instance of a subclass is not plain, wherever it sits.

The format
==========

An encoding is one value. The first byte of a value is its tag; numbers of more bytes are little-endian::

    00..7f   the int 0..127                      90+n   int:   n bytes, two's complement
    80       None                                a0+n   str:   n bytes, UTF-8 (lone surrogates as three bytes)
    81       False                               b0+n   list:  n values
    82       True                                c0+n   tuple: n values
    83       float: 8 bytes, IEEE 754            d0+n   set:   n values, in ascending order of their bytes
                                                 e0+n   dict:  n times a key and its value, in insertion order

where n is 0..13 itself; 14 means that one byte follows with n, at least 14; 15 that eight bytes follow with n, at least 256.
An int takes the fewest bytes that hold it. Set elements and dict keys are not lists, sets or dicts, nor tuples that hold any.
Every other tag, a byte too few and a byte too many are malformed.

What it guarantees
==================

* ``decode(encode(x))`` equals x, with the same type at every level; ``-0.0``, infinities and the bits of a NaN are kept.
* A value has one encoding, and equal sets have equal encodings, so a digest of the bytes identifies the answer.
* What is lost: identity (a list that occurs twice becomes two lists) and the iteration order of sets.
* `encode` and `check` take time and memory linear in the bytes (sets: times a logarithm, for sorting), and none of the three
  functions recurses. At every step each value that is still owed is counted as one byte, so a count can't exceed what can follow it.
* `encode` runs after hostile code in the same interpreter: it calls no method of what it encodes but those of the exact
  plain types, and no builtin that can be replaced. `check` hashes nothing, and builds neither numbers nor containers.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Any

MAX_DEPTH = 200
"""Containers within containers: ``[]`` is one deep."""


class NotPlain(ValueError):
    """The value holds something that may not cross."""


class TooLarge(ValueError):
    """The encoding would exceed the limit: it takes at least `size` bytes."""

    def __init__(self, size: int) -> None:  # ValueError.__new__ has kept the arguments
        self.size = size

    def __str__(self) -> str:
        return f"the encoded value takes at least {self.size} bytes"


class Malformed(ValueError):
    """The bytes are not an encoding."""


_FLOAT, _INT, _STR, _LIST, _TUPLE, _SET, _DICT = 0x83, 0x90, 0xA0, 0xB0, 0xC0, 0xD0, 0xE0
_BYTE_LENGTH, _LONG_LENGTH = 14, 15  # in place of a length: how many bytes it takes
_ONE_BYTE = (*range(128), None, False, True)
_TEXT_CHUNK = 1 << 16

# Bound here, before any task code runs: `encode` must not look them up in `builtins`, which task code may change.
_bool, _bytearray, _bytes, _dict, _float, _int, _iter = bool, bytearray, bytes, dict, float, int, iter
_len, _list, _repr, _set, _str, _tuple, _type, _zip = len, list, repr, set, str, tuple, type, zip
_bit_length, _to_bytes, _utf8, _pairs = int.bit_length, int.to_bytes, str.encode, dict.items
_pack, _unpack_from = Struct("<d").pack, Struct("<d").unpack_from
_cut, _brief = str.__getitem__, slice(60)
_name_of = type.__dict__["__name__"].__get__


def encode(value: object, max_bytes: int) -> bytes:
    """The encoding of plain data. Raises NotPlain, or TooLarge if it takes more than `max_bytes`."""
    out = _bytearray()
    room = max_bytes - 1  # what is left when each value that is still owed takes one byte
    stack: list[tuple[Iterator[Any], list[int] | None]] = []
    items: Iterator[Any] = _iter((value,))
    marks: list[int] | None = None  # within a set: where its elements begin
    while room >= 0:
        for item in items:
            if marks is not None:
                marks.append(_len(out))
            kind = _type(item)
            if kind is _int and 0 <= item < 128:
                out.append(item)
            elif kind is _list or kind is _tuple or kind is _set or kind is _dict:
                if _len(stack) == MAX_DEPTH:
                    raise NotPlain(f"nested deeper than {MAX_DEPTH} levels (or cyclic)")
                head, children = _open(item, kind, room, max_bytes)
                out += head
                room -= _len(head) - 1 + _len(children)
                stack.append((items, marks))
                items, marks = _iter(children), [] if kind is _set else None
                break
            else:
                leaf = _leaf(item, kind, room, max_bytes)
                out += leaf
                room -= _len(leaf) - 1
                if room < 0:
                    break
        else:
            if marks:
                _sort(out, marks)
            if not stack:
                return _bytes(out)
            items, marks = stack.pop()
    raise TooLarge(max_bytes - room)


def _open(value: Any, kind: type, room: int, max_bytes: int) -> tuple[bytes, list[Any]]:
    """Of a container: the bytes before its children, and its children."""
    size = _len(value)
    if size > room:  # before anything is copied
        raise TooLarge(max_bytes - room + size)
    if kind is _dict:
        return _head(_DICT, size), [part for pair in _pairs(value) for part in pair]
    tag = _LIST if kind is _list else _TUPLE if kind is _tuple else _SET
    return _head(tag, size), _list(value)


def _leaf(value: Any, kind: type, room: int, max_bytes: int) -> bytes:
    """The encoding of a value that is no container, made only if `room` can hold it (or nearly)."""
    if kind is _int:
        size = _bit_length(value) >> 3
        if size <= room:
            size = (_bit_length(value if value >= 0 else ~value) >> 3) + 1
            return _head(_INT, size) + _to_bytes(value, size, "little", signed=True)
    elif kind is _str:
        size = _len(value)
        if size <= room:
            text = _utf8(value, "utf-8", "surrogatepass")
            return _head(_STR, _len(text)) + text
    elif kind is _float:
        return b"\x83" + _pack(value)
    elif kind is _bool:
        return b"\x82" if value else b"\x81"
    elif value is None:
        return b"\x80"
    else:
        raise NotPlain(f"an instance of {_type_name(kind)} is not plain data")
    raise TooLarge(max_bytes - room + size)


def _head(tag: int, n: int) -> bytes:
    if n < _BYTE_LENGTH:
        return _bytes((tag | n,))
    if n < 256:
        return _bytes((tag | _BYTE_LENGTH, n))
    return _bytes((tag | _LONG_LENGTH,)) + _to_bytes(n, 8, "little")


def _sort(out: bytearray, marks: list[int]) -> None:
    """Put the elements that begin at `marks` and end with `out` in order."""
    ends = marks[1:]
    ends.append(_len(out))
    parts = [_bytes(out[start:end]) for start, end in _zip(marks, ends)]
    parts.sort()
    out[marks[0] :] = b"".join(parts)


def _type_name(kind: type) -> str:
    """The name of a type that may be hostile, found without running any code of it or of its metaclass."""
    return _repr(_cut(_name_of(kind), _brief))[1:-1]  # the name may be of a lying subclass of str; a slice is not


# What the values in a container must be: anything, hashable, hashable and in order, or hashable in every other place.
_ANY, _HASHABLE, _SORTED, _PAIRED = range(4)


def check(data: bytes, max_bytes: int) -> None:
    """Raise Malformed unless `data` is the encoding of a value, in at most `max_bytes`.

    What only `decode` can see is set elements or keys that are equal (``1`` and ``True``, say).
    """
    if not 0 < len(data) <= max_bytes:
        raise Malformed(f"{len(data)} bytes, not between 1 and {max_bytes}")
    spare = len(data) - 1  # what is left when each value that is still owed takes one byte
    stack: list[tuple[int, int, int, int]] = []
    at, left, mode, before, start = 0, 1, _ANY, 0, 0
    while left or stack:
        if mode == _SORTED:  # one element has just ended (or none has begun)
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
        kind, n = tag & 0xF0, tag & 0x0F
        if n >= _BYTE_LENGTH:
            width = 1 if n == _BYTE_LENGTH else 8
            spare -= width
            if spare < 0:
                raise Malformed("a length is cut short")
            n = _length(data, at, width)
            at += width
        if kind < _LIST:
            if tag == _FLOAT:
                n = 8
            if n > spare:
                raise Malformed("a value is cut short")
            _check_leaf(data, at, tag, n)
            at += n
        else:
            inner = _inner(kind, mode, left, len(stack))
            if kind == _DICT:
                n *= 2
            if n > spare:
                raise Malformed("a container is cut short")
            if kind != _SET and data[at : at + n].isascii():  # nothing but ints below 128: done
                at += n
            else:
                stack.append((left, mode, before, start))
                left, mode, before, start = n, inner, at, at
        spare -= n
    if spare:
        raise Malformed(f"{spare} bytes too many")


def _length(data: bytes, at: int, width: int) -> int:
    n = int.from_bytes(data[at : at + width], "little")
    if n < (_BYTE_LENGTH if width == 1 else 256):
        raise Malformed("a length takes more bytes than it needs")
    return n


def _inner(kind: int, mode: int, left: int, depth: int) -> int:
    """The mode within a container that stands in a container of this mode, `left` places from its end."""
    if depth == MAX_DEPTH:
        raise Malformed(f"nested deeper than {MAX_DEPTH} levels")
    if mode == _ANY or (mode == _PAIRED and left % 2 == 0):
        return _SORTED if kind == _SET else _PAIRED if kind == _DICT else _ANY
    if kind != _TUPLE:
        raise Malformed("a set element or key is not hashable")
    return _HASHABLE


def _check_leaf(data: bytes, at: int, tag: int, n: int) -> None:
    if tag >= _STR:
        _check_text(data, at, at + n)
    elif tag >= _INT:
        if not n:
            raise Malformed("an int has no bytes")
        top = data[at + n - 1]
        if n == 1:
            if top < 128:
                raise Malformed("a small int has a long form")
        elif top in (0, 255) and (data[at + n - 2] ^ top) < 128:
            raise Malformed("an int takes more bytes than it needs")
    elif tag != _FLOAT:
        raise Malformed(f"unknown tag {tag:#x}")


def _check_text(data: bytes, at: int, end: int) -> None:
    """Validate UTF-8 piece by piece, so that a text is never held as a whole."""
    while at < end:
        stop = min(at + _TEXT_CHUNK, end)
        while at + _TEXT_CHUNK - 4 < stop < end and data[stop] & 0xC0 == 0x80:
            stop -= 1  # not between the bytes of one character
        try:
            data[at:stop].decode("utf-8", "surrogatepass")
        except UnicodeDecodeError as error:
            raise Malformed(f"invalid UTF-8: {error.reason}") from None
        at = stop


def decode(data: bytes) -> object:
    """The value whose encoding is `data`. Raises Malformed, also for equal set elements or keys."""
    check(data, len(data))
    stack: list[tuple[int, list[Any], int]] = []
    at, left, kind = 0, 1, _LIST
    items: list[Any] = []
    while left or stack:
        if not left:
            value = _close(kind, items)
            kind, items, left = stack.pop()
            items.append(value)
            continue
        left -= 1
        tag = data[at]
        at += 1
        if tag < _FLOAT:
            items.append(_ONE_BYTE[tag])
            continue
        if tag == _FLOAT:
            items.append(_unpack_from(data, at)[0])
            at += 8
            continue
        n = tag & 0x0F
        if n >= _BYTE_LENGTH:
            width = 1 if n == _BYTE_LENGTH else 8
            n = _length(data, at, width)
            at += width
        if tag < _LIST:
            body = data[at : at + n]
            at += n
            items.append(int.from_bytes(body, "little", signed=True) if tag < _STR else _text(body))
        else:
            stack.append((kind, items, left))
            kind, items, left = tag & 0xF0, [], n
            if kind == _DICT:
                left *= 2
            elif data[at : at + n].isascii():  # nothing but ints below 128
                items.extend(data[at : at + n])
                at += n
                left = 0
    return items[0]


def _text(body: bytes) -> str:
    return body.decode("utf-8", "surrogatepass")


def _close(kind: int, items: list[Any]) -> object:
    """The container of this kind that holds the items."""
    if kind == _LIST:
        return items
    if kind == _TUPLE:
        return tuple(items)
    if kind == _SET:
        elements = set(items)
        if len(elements) != len(items):
            raise Malformed("a set has equal elements")
        return elements
    pairs = dict(zip(items[::2], items[1::2], strict=True))
    if 2 * len(pairs) != len(items):
        raise Malformed("a dict has equal keys")
    return pairs
