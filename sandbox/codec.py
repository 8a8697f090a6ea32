"""Plain data <-> bytes: the only form in which an answer crosses from a solution to its puzzle.

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

* ``decode(encode(x))`` equals x with the same type at every level; ``-0.0`` and the bits of a NaN are kept.
* A value has one encoding and equal sets have equal encodings, so a digest of the bytes identifies an answer.
* Lost are identity (a list that occurs twice becomes two lists) and the iteration order of sets.
* Time and memory are linear in the bytes (to encode a set takes a logarithm more, to sort it), and nothing
  recurses. Every value still owed is counted as a byte, so no count can exceed what may follow it.
* `encode` runs after hostile code in the same interpreter: it calls only methods of the exact plain types,
  and nothing that can be replaced in `builtins`. `check` hashes nothing and builds no numbers or containers.

`encode`, `check` and `decode` are written twice: in C (sandbox/worker/native), used where it was built, and here as
`python_encode`, `python_check` and `python_decode`, which are the specification. Both give the same results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from struct import Struct
from typing import Any

MAX_DEPTH = 200  # containers within containers; [] is one deep


class NotPlain(ValueError):
    """The value is not plain data, or contains something that is not."""


class TooLarge(ValueError):
    """The encoding would exceed its limit: it takes at least `size` bytes."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __str__(self) -> str:
        return f"the encoding takes at least {self.size} bytes"


class Malformed(ValueError):
    """The bytes are not an encoding."""


_FLOAT, _INT, _STR, _LIST, _TUPLE, _SET, _DICT = 0x83, 0x90, 0xA0, 0xB0, 0xC0, 0xD0, 0xE0
_SHORT = 13  # the largest n within a tag; _SHORT + 1 says that n is in one byte, _SHORT + 2 in eight
_TAG_ALONE = (*range(128), None, False, True)

# `python_encode` must find these whatever task code has done to `builtins`, and so without looking there.
_bool, _bytearray, _bytes, _dict, _float, _int, _iter = bool, bytearray, bytes, dict, float, int, iter
_len, _list, _repr, _set, _str, _tuple, _type, _zip = len, list, repr, set, str, tuple, type, zip
_bit_length, _to_bytes, _utf8, _pairs = int.bit_length, int.to_bytes, str.encode, dict.items
_pack, _unpack = Struct("<d").pack, Struct("<d").unpack
_name_of, _slice_of, _shortened = type.__dict__["__name__"].__get__, str.__getitem__, slice(60)


def python_encode(value: object, max_bytes: int) -> bytes:
    """Encode plain data.

    Args:
        value: plain data.
        max_bytes: largest size of the encoding.

    Returns:
        The encoding.

    Raises:
        NotPlain: the value is not plain data, or is nested too deeply.
        TooLarge: the encoding takes more than `max_bytes`.
    """
    room = max_bytes - 1  # what is left when each value still to come takes one byte
    out = _bytearray()
    stack: list[tuple[Iterator[Any], list[int] | None]] = []
    items: Iterator[Any] = _iter((value,))
    marks: list[int] | None = None  # in a set: where its elements begin
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
    """Return the head of a container and a copy of its items, made only if `room` has a byte for each."""
    size = _len(value)
    if size > room:
        raise TooLarge(max_bytes - room + size)
    if kind is _dict:
        return _head(_DICT, size), [part for pair in _pairs(value) for part in pair]
    return _head(_LIST if kind is _list else _TUPLE if kind is _tuple else _SET, size), _list(value)


def _leaf(value: Any, kind: type, room: int, max_bytes: int) -> bytes:
    """Return the encoding of what is no container, made only if its size is of the order of `room`."""
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
    else:  # its name, found without running code of its type or metaclass; a slice of a lying str is a str
        name = _repr(_slice_of(_name_of(kind), _shortened))[1:-1]
        raise NotPlain(f"an instance of {name} is not plain data")
    raise TooLarge(max_bytes - room + size)


def _head(tag: int, n: int) -> bytes:
    if n <= _SHORT:
        return _bytes((tag + n,))
    if n < 256:
        return _bytes((tag + _SHORT + 1, n))
    return _bytes((tag + _SHORT + 2,)) + _to_bytes(n, 8, "little")


def _sort(out: bytearray, marks: list[int]) -> None:
    """Sort the elements that begin at `marks`; the last one ends `out`."""
    ends = [*marks[1:], _len(out)]
    parts = [_bytes(out[start:end]) for start, end in _zip(marks, ends)]
    parts.sort()
    out[marks[0] :] = b"".join(parts)


# What a container may contain: anything, hashables, hashables in order, or anything with hashables as keys.
_ANY, _HASHABLE, _SORTED, _KEYED = range(4)


def python_check(data: bytes, max_bytes: int) -> None:
    """Check that data is the encoding of a value.

    One thing is left to `decode`: set elements or keys that are equal, such as ``1`` and ``True``.

    Args:
        data: the bytes to check.
        max_bytes: largest size.

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
        kind, n = tag & 0xF0, tag & 0x0F
        if n > _SHORT:
            n, width = _length(data, at, n)
            at += width
            spare -= width
        n = 8 if tag == _FLOAT else 2 * n if kind == _DICT else n  # now: at least so many bytes follow
        spare -= n
        if spare < 0:
            raise Malformed("data ends early")
        if kind < _LIST:
            if kind != _STR or not data[at : at + n].isascii():
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


def _length(data: bytes, at: int, code: int) -> tuple[int, int]:
    """Return the n that is outside of its tag, and how many bytes it takes."""
    width, least = (1, _SHORT + 1) if code == _SHORT + 1 else (8, 256)
    n = int.from_bytes(data[at : at + width], "little")
    if n < least:
        raise Malformed("a length is cut short, or takes more bytes than it needs")
    return n, width


def _inner(kind: int, mode: int, left: int, depth: int) -> int:
    """Return the mode of a container within one of `mode`, with `left` values after it."""
    if kind > _DICT:
        raise Malformed("unknown tag")
    if depth == MAX_DEPTH:
        raise Malformed(f"nested deeper than {MAX_DEPTH} levels")
    if mode == _ANY or (mode == _KEYED and left % 2 == 0):
        return _SORTED if kind == _SET else _KEYED if kind == _DICT else _ANY
    if kind != _TUPLE:
        raise Malformed("a set element or a key is not hashable")
    return _HASHABLE


def _check_leaf(data: bytes, at: int, tag: int, n: int) -> None:
    if tag >= _STR:
        _check_text(data, at, at + n)
    elif tag >= _INT:
        top = data[at + n - 1]
        if n == 0 or (n == 1 and top < 128) or (n > 1 and top in (0, 255) and data[at + n - 2] ^ top < 128):
            raise Malformed("an int takes more bytes than it needs, or none")
    elif tag != _FLOAT:
        raise Malformed("unknown tag")


def _check_text(data: bytes, at: int, end: int) -> None:
    """Refuse what is not UTF-8, piece by piece: no copy of a long text is built."""
    while at < end:
        stop = limit = min(at + 65_536, end)
        while stop < end and stop > limit - 4 and data[stop] & 0xC0 == 0x80:
            stop -= 1  # this byte continues a character
        try:
            data[at:stop].decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            raise Malformed("a str is not UTF-8") from None
        at = stop


def python_decode(data: bytes) -> object:
    """Decode an encoding.

    Args:
        data: the encoding, in full.

    Returns:
        The value.

    Raises:
        Malformed: `data` is not the encoding of a value.
    """
    python_check(data, len(data))
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
        n = 8 if tag == _FLOAT else tag & 0x0F
        if n > _SHORT:
            n, width = _length(data, at, n)
            at += width
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
        if tag >= _STR:
            items.append(body.decode("utf-8", "surrogatepass"))
        else:
            items.append(_unpack(body)[0] if tag == _FLOAT else int.from_bytes(body, "little", signed=True))
    return items[0]


def _close(kind: int, items: list[Any]) -> object:
    """Return the container of this kind with these items."""
    if kind < _SET:
        return items if kind == _LIST else tuple(items)
    whole = set(items) if kind == _SET else dict(zip(items[::2], items[1::2], strict=True))
    if len(whole) * (1 if kind == _SET else 2) != len(items):
        raise Malformed("equal elements in a set, or equal keys in a dict")
    return whole


encode: Callable[[object, int], bytes] = python_encode
check: Callable[[bytes, int], None] = python_check
decode: Callable[[bytes], object] = python_decode
try:
    from selftaught.sandbox import _codec
except ImportError:  # no compiler at installation, or another machine's build
    IS_NATIVE = False
else:
    IS_NATIVE = True
    _codec.raise_these(NotPlain, TooLarge, Malformed)
    encode, check, decode = _codec.encode, _codec.check, _codec.decode
