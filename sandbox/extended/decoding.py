"""Build extended values from bytes that have been checked: part of `selftaught.sandbox.codec`."""

from __future__ import annotations

import math
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from struct import Struct
from typing import Any

from selftaught.sandbox.codec_parts import NONE, Malformed, read_int, read_length, read_str
from selftaught.sandbox.extended import arrays, kinds

_unpack_complex, _unpack_timedelta = Struct("<dd").unpack, Struct("<iII").unpack
# Not the modules' attributes: task code may have replaced those.
_Counter, _OrderedDict, _defaultdict, _deque = Counter, OrderedDict, defaultdict, deque
_Decimal, _Fraction, _gcd = Decimal, Fraction, math.gcd
_update, _new_dict, _dict_size = dict.update, dict.__new__, dict.__len__
_numerator, _denominator = (Fraction.__dict__[name] for name in ("_numerator", "_denominator"))
_date, _datetime, _time, _timedelta, _timezone = date, datetime, time, timedelta, timezone


def restore(data: bytes, at: int) -> tuple[Any, int]:
    """Return the extended value whose second tag is here and that is no container, and where it ends.

    The bytes have passed `check_extended`.
    """
    tag = data[at]
    kind, at = tag & 0xF0, at + 1
    if kind < kinds.BYTES:
        return _restore_record(data, at, tag)
    n, at = read_length(data, at, len(data), tag)
    if kind == kinds.DECIMAL:
        return _restore_decimal(data, at, n)
    body = data[at : at + n]
    return bytes(body) if kind == kinds.BYTES else bytearray(body), at + n


def restore_alone(data: bytes) -> object:
    """Return the extended value whose encoding, without its first tag, this is."""
    return restore(data, 0)[0]


def _restore_record(data: bytes, at: int, tag: int) -> tuple[Any, int]:
    if tag >= kinds.SCALAR:
        return arrays.restore_numpy(data, at, tag == kinds.ARRAY)
    end = at + kinds.SIZES[tag]
    body = data[at:end]
    if tag == kinds.COMPLEX:
        return complex(*_unpack_complex(body)), end
    if tag == kinds.DATE:
        return _date(body), end  # type: ignore[call-arg, arg-type] # what it pickles
    if tag == kinds.TIMEDELTA:
        return _timedelta(*_unpack_timedelta(body)), end
    if tag == kinds.TIMEZONE:
        return _restore_timezone(data, at)
    if tag == kinds.TIME or tag == kinds.DATETIME:
        zone, last = (None, end + 1) if data[end] == NONE else _restore_timezone(data, end + 2)
        return (_time if tag == kinds.TIME else _datetime)(body, zone), last  # type: ignore[call-arg, arg-type]
    first, at = read_int(data, end, len(data))
    second, at = read_int(data, at, len(data))
    if tag == kinds.RANGE:
        step, at = read_int(data, at, len(data))
        return range(first, second, step), at
    return _fraction(first, second), at


def _restore_timezone(data: bytes, at: int) -> tuple[timezone, int]:
    end = at + kinds.SIZES[kinds.TIMEZONE]
    offset = _timedelta(*_unpack_timedelta(data[at:end]))
    if data[end] == NONE:
        return _timezone(offset), end + 1
    start, last = read_str(data, end, len(data))
    return _timezone(offset, data[start:last].decode("utf-8", "surrogatepass")), last


def _fraction(numerator: int, denominator: int) -> Fraction:
    """Return a Fraction, made without running its class's code."""
    if _gcd(numerator, denominator) != 1:
        raise Malformed("a Fraction is not in lowest terms")
    value: Fraction = object.__new__(_Fraction)
    _numerator.__set__(value, numerator)
    _denominator.__set__(value, denominator)
    return value


def _restore_decimal(data: bytes, at: int, n: int) -> tuple[Decimal, int]:
    form, exponent = data[at], 0
    at += 1
    if form < kinds.INFINITE:
        exponent, at = read_int(data, at, len(data))
    digits = data[at : at + n].decode()
    sign, form = "-" * (form & kinds.NEGATIVE), form & ~kinds.NEGATIVE
    if form == kinds.FINITE:
        return _Decimal(f"{sign}{digits}E{exponent}"), at + n
    return _Decimal(
        sign + {kinds.INFINITE: "Infinity", kinds.QUIET: "NaN", kinds.SIGNALLING: "sNaN"}[form] + digits
    ), at + n


def restore_head(data: bytes, at: int) -> tuple[int, list[Any], int, int]:
    """Read the head of the extended value whose second tag is here.

    Returns:
        The kind of a container, else 0; what to begin its items with; how many follow, and where.
    """
    tag = data[at]
    kind = tag & 0xF0
    if not kinds.FROZENSET <= kind <= kinds.DEFAULT:
        return 0, [], 0, at
    n, at = read_length(data, at + 1, len(data), tag)
    if kind == kinds.DEFAULT:
        return kind, [kinds.FACTORIES[data[at]]], 2 * n, at + 1
    if kind != kinds.DEQUE:
        return kind, [], 2 * n if kind >= kinds.COUNTER else n, at
    if data[at] == NONE:
        return kind, [None], n, at + 1
    maxlen, at = read_int(data, at, len(data))
    return kind, [maxlen], n, at


def close(kind: int, items: list[Any]) -> object:
    """Return the container of this kind with these items, as `restore_head` has begun them."""
    if kind == kinds.DEQUE:
        return _deque(items[1:], items[0])
    if kind == kinds.FROZENSET:
        elements = frozenset(items)
        if len(elements) < len(items):
            raise Malformed("equal elements in a set, or equal keys in a dict")
        return elements
    first = kind == kinds.DEFAULT  # its factory comes before its items
    pairs: Iterator[tuple[Any, Any]] = zip(items[first::2], items[first + 1 :: 2], strict=True)
    whole: dict[Any, Any]
    if kind == kinds.COUNTER:  # its own constructor is Python code
        whole = _new_dict(_Counter)
        _update(whole, pairs)
    else:
        whole = _OrderedDict(pairs) if kind == kinds.ORDERED else _defaultdict(items[0], pairs)
    if _dict_size(whole) * 2 != len(items) - first:
        raise Malformed("equal elements in a set, or equal keys in a dict")
    return whole
