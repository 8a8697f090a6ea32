"""Encode extended values: part of `selftaught.sandbox.codec`.

This calls nothing that task code can replace: methods that are written in C, bound here at the import.
"""

from __future__ import annotations

import decimal
import math
from collections import Counter, OrderedDict, defaultdict, deque
from datetime import date, datetime, time, timedelta, timezone
from fractions import Fraction
from struct import Struct
from typing import Any

from selftaught.sandbox.codec_parts import EXTENDED, NONE, NotPlain, TooLarge, encode_int, encode_str, head
from selftaught.sandbox.extended import arrays, kinds

_prefix, _none = bytes((EXTENDED,)), bytes((NONE,))

# As in `selftaught.sandbox.codec_parts`: task code may have replaced what is in `builtins` or in other modules.
_bytearray, _bytes, _complex, _frozenset, _int = bytearray, bytes, complex, frozenset, int
_len, _list, _range, _str, _type, _id, _enumerate = len, list, range, str, type, id, enumerate
_AttributeError, _KeyError, _RuntimeError = AttributeError, KeyError, RuntimeError
_Counter, _OrderedDict, _defaultdict, _deque = Counter, OrderedDict, defaultdict, deque
_Decimal, _Fraction = decimal.Decimal, Fraction
_date, _datetime, _time, _timedelta, _timezone = date, datetime, time, timedelta, timezone
_dict_size, _pairs, _keys_in_order = dict.__len__, dict.items, OrderedDict.__iter__
_text_of_decimal, _gcd, _bit_length = decimal.Decimal.__str__, math.gcd, int.bit_length
_upper, _cut, _without_zeros, _to_bytes = str.upper, str.partition, str.lstrip, str.encode
_real, _imag = (complex.__dict__[name].__get__ for name in ("real", "imag"))
_start, _stop, _step = (range.__dict__[name].__get__ for name in ("start", "stop", "step"))
_numerator, _denominator = (Fraction.__dict__[name].__get__ for name in ("_numerator", "_denominator"))
_days, _seconds, _microseconds = (timedelta.__dict__[name].__get__ for name in ("days", "seconds", "microseconds"))
_parts_of_date, _parts_of_timezone = date.__dict__["__reduce__"], timezone.__dict__["__getinitargs__"]
_parts_of_time, _parts_of_datetime = time.__dict__["__reduce_ex__"], datetime.__dict__["__reduce_ex__"]
_maxlen, _factory = deque.__dict__["maxlen"].__get__, defaultdict.__dict__["default_factory"].__get__
_pack_complex, _pack_timedelta = Struct("<dd").pack, Struct("<iII").pack


def is_container(kind: type) -> bool:
    """Return True if this is exactly one of the extended containers. (A look-up would hash the type.)"""
    return (
        kind is _Counter or kind is _frozenset or kind is _defaultdict or kind is _deque or kind is _OrderedDict
    )  # fmt: skip


def is_reordered(kind: type) -> bool:
    """Return True if the items of this type need `reorder` once they are encoded."""
    return kind is _OrderedDict


def open_container(value: Any, kind: type, room: int, max_bytes: int) -> tuple[bytes, list[Any]]:
    """Return the head of a container and a copy of its items, made only if `room` has a byte for each."""
    is_dict = kind is _Counter or kind is _OrderedDict or kind is _defaultdict
    size = _dict_size(value) if is_dict else _len(value)
    if size > room:
        raise TooLarge(max_bytes - room + size)
    if not is_dict:
        if kind is _frozenset:
            return _prefix + head(kinds.FROZENSET, size), _list(value)
        maxlen = _maxlen(value)
        return _prefix + head(kinds.DEQUE, size) + (_none if maxlen is None else encode_int(maxlen)), _list(value)
    items = [part for pair in _pairs(value) for part in pair]
    if kind is _defaultdict:
        factory = _factory(value)
        for place, known in _enumerate(kinds.FACTORIES):
            if factory is known:
                return _prefix + head(kinds.DEFAULT, size) + _bytes((place,)), items
        raise NotPlain("a defaultdict with a factory other than None and some builtin types is not plain data")
    return _prefix + head(kinds.COUNTER if kind is _Counter else kinds.ORDERED, size), items


def reorder(out: bytearray, marks: list[int], value: Any, items: list[Any]) -> None:
    """Put the pairs of an OrderedDict into its order.

    They were encoded in the order of the dict below it. An OrderedDict's own iterator hashes the keys, which runs code
    of their types, and so it is called only here: when all of them are known to be plain.
    """
    try:
        keys = _list(_keys_in_order(value))
        places = {_id(key): place for place, key in _enumerate(items[::2])}
        order = [places[_id(key)] for key in keys]
    except (_KeyError, _RuntimeError):
        order = []
    if _len(order) * 2 != _len(items):
        raise NotPlain("an OrderedDict that has lost its order is not plain data")
    ends = [*marks[2::2], _len(out)]
    out[marks[0] :] = b"".join([_bytes(out[marks[2 * place] : ends[place]]) for place in order])


def encode_leaf(value: Any, kind: type, room: int, max_bytes: int) -> bytes | None:
    """Return the encoding of an extended value that is no container; None if it is not plain.

    It is made only if its size is of the order of `room`.
    """
    if kind is _bytes or kind is _bytearray:
        size = _len(value)
        if size > room:
            raise TooLarge(max_bytes - room + size)
        return _prefix + head(kinds.BYTES if kind is _bytes else kinds.BYTEARRAY, size) + _bytes(value)
    if kind is _complex:
        return _prefix + b"\0" + _pack_complex(_real(value), _imag(value))
    if kind is _Decimal:
        return _encode_decimal(value)
    if kind is _Fraction:
        return _encode_fraction(value, room, max_bytes)
    if kind is _range:
        ends = encode_int(_start(value)) + encode_int(_stop(value)) + encode_int(_step(value))
        return _prefix + _bytes((kinds.RANGE,)) + ends
    name = arrays.name_of(kind)
    return _encode_time(value, kind) if name is None else arrays.encode_numpy(value, name, room, max_bytes)


def _encode_decimal(value: decimal.Decimal) -> bytes:
    text = _upper(_text_of_decimal(value))  # in a context without capitals the exponent's letter is small
    form, exponent = kinds.FINITE, b""
    if text[0] == "-":
        form, text = form + kinds.NEGATIVE, text[1:]
    if text[0] == "I":
        form, digits = form + kinds.INFINITE, ""
    elif text[0] == "N":
        form, digits = form + kinds.QUIET, text[3:]
    elif text[0] == "S":
        form, digits = form + kinds.SIGNALLING, text[4:]
    else:
        number, _, power = _cut(text, "E")
        whole, _, rest = _cut(number, ".")
        exponent = encode_int(_int(power or "0") - _len(rest))
        digits = _without_zeros(whole + rest, "0") or "0"
    return _prefix + head(kinds.DECIMAL, _len(digits)) + _bytes((form,)) + exponent + _to_bytes(digits)


def _encode_fraction(value: Fraction, room: int, max_bytes: int) -> bytes:
    try:
        numerator, denominator = _numerator(value), _denominator(value)
    except _AttributeError:  # it was made without the class
        numerator = denominator = None
    if _type(numerator) is not _int or _type(denominator) is not _int or denominator < 1:
        raise NotPlain("a Fraction of anything but an int and a positive int is not plain data")
    size = (_bit_length(numerator) >> 3) + (_bit_length(denominator) >> 3)
    if size > room:
        raise TooLarge(max_bytes - room + size)
    if _gcd(numerator, denominator) != 1:
        raise NotPlain("a Fraction that is not in lowest terms is not plain data")
    return _prefix + _bytes((kinds.FRACTION,)) + encode_int(numerator) + encode_int(denominator)


def _encode_time(value: Any, kind: type) -> bytes | None:
    """Return the encoding of a value of the module datetime: what its class pickles. None if it is none."""
    if kind is _timedelta:
        return _prefix + _bytes((kinds.TIMEDELTA,)) + _duration(value)
    if kind is _timezone:
        return _zone(value)
    if kind is _date:
        day: bytes = _parts_of_date(value)[1][0]
        return _prefix + _bytes((kinds.DATE,)) + day
    if kind is not _datetime and kind is not _time:
        return None
    state: tuple[Any, ...] = (_parts_of_datetime if kind is _datetime else _parts_of_time)(value, 4)[1]
    zone = _none
    if _len(state) == 2:
        if _type(state[1]) is not _timezone:
            raise NotPlain("a time with another tzinfo than a datetime.timezone is not plain data")
        zone = _zone(state[1])
    moment: bytes = state[0]
    return _prefix + _bytes((kinds.DATETIME if kind is _datetime else kinds.TIME,)) + moment + zone


def _duration(value: timedelta) -> bytes:
    return _pack_timedelta(_days(value), _seconds(value), _microseconds(value))


def _zone(value: timezone) -> bytes:
    parts = _parts_of_timezone(value)
    if _type(parts[0]) is not _timedelta or (_len(parts) == 2 and _type(parts[1]) is not _str):
        raise NotPlain("a timezone with an offset or name of a subclass is not plain data")
    name = encode_str(parts[1]) if _len(parts) == 2 else _none
    return _prefix + _bytes((kinds.TIMEZONE,)) + _duration(parts[0]) + name
