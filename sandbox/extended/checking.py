"""Check extended values, byte for byte: part of `selftaught.sandbox.codec`."""

from __future__ import annotations

from struct import Struct

from selftaught.sandbox.codec_parts import (
    EXTENDED,
    MAX_DEPTH,
    NONE,
    Malformed,
    read_byte,
    read_int,
    read_length,
    read_str,
    skip,
)
from selftaught.sandbox.extended import arrays, kinds

_MAX_EXPONENT, _MIN_EXPONENT = 999_999_999_999_999_999, -1_999_999_999_999_999_997  # of a Decimal, on 64 bits
_MAX_DAYS, _MAX_MAXLEN = 999_999_999, (1 << 63) - 1
_unpack_timedelta = Struct("<iII").unpack


def check_extended(data: bytes, at: int, limit: int, is_key: bool, depth: int) -> tuple[int, int, int]:
    """Check an extended value up to the items that it may contain.

    Args:
        data: the bytes.
        at: where its second tag is.
        limit: where it must have ended, but for one byte of each item.
        is_key: it must be hashable.
        depth: how many containers it is within.

    Returns:
        Where it ends or its items begin, how many items there are, and its second tag without n.
    """
    tag, at = read_byte(data, at, limit)
    kind = tag & 0xF0
    if kind < kinds.BYTES:
        return _check_record(data, at, limit, tag, is_key), 0, tag
    if kind > kinds.DECIMAL:
        raise Malformed("unknown tag")
    n, at = read_length(data, at, limit, tag)
    if kind == kinds.DECIMAL:
        return _check_decimal(data, at, limit, n, is_key), 0, kind
    if is_key and kind != kinds.BYTES and kind != kinds.FROZENSET:
        raise Malformed("a set element or a key is not hashable")
    if kind < kinds.FROZENSET:
        return skip(at, limit, n), 0, kind
    if kind == kinds.DEQUE:
        at = _check_maxlen(data, at, limit, n)
    elif kind == kinds.DEFAULT:
        factory, at = read_byte(data, at, limit)
        if factory >= len(kinds.FACTORIES):
            raise Malformed("unknown factory")
    items = n if kind < kinds.COUNTER else 2 * n
    skip(at, limit, items)
    if depth == MAX_DEPTH:
        raise Malformed(f"nested deeper than {MAX_DEPTH} levels")
    return at, items, kind


def is_keyed(kind: int) -> bool:
    """Return True if this second tag is one of a dict's subclasses."""
    return kind >= kinds.COUNTER


def _check_record(data: bytes, at: int, limit: int, tag: int, is_key: bool) -> int:
    if tag == kinds.SCALAR:
        return arrays.check_numpy(data, at, limit, False)
    if tag == kinds.ARRAY:
        if is_key:
            raise Malformed("a set element or a key is not hashable")
        return arrays.check_numpy(data, at, limit, True)
    if tag >= len(kinds.SIZES):
        raise Malformed("unknown tag")
    if tag == kinds.TIMEZONE:
        return _check_timezone(data, at, limit)
    body, at = at, skip(at, limit, kinds.SIZES[tag])
    if tag == kinds.DATE or tag == kinds.DATETIME:
        _check_date(data, body, 0x7F if tag == kinds.DATETIME else 0xFF)
    if tag == kinds.TIME or tag == kinds.DATETIME:
        hour = data[body] & 0x7F if tag == kinds.TIME else data[body + 4]
        _check_time(hour, data[at - 5 : at])
        return _check_zone(data, at, limit)
    if tag == kinds.TIMEDELTA:
        _check_duration(data[body:at])
    elif tag == kinds.RANGE or tag == kinds.FRACTION:
        return _check_ints(data, at, limit, tag)
    return at


def _check_date(data: bytes, at: int, month_bits: int) -> None:
    year, month, day = data[at] << 8 | data[at + 1], data[at + 2] & month_bits, data[at + 3]
    is_leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    days = 28 + is_leap if month == 2 else 30 + (month + (month > 7)) % 2
    if not 1 <= year <= 9999 or not 1 <= month <= 12 or not 1 <= day <= days:
        raise Malformed("a date is out of range")


def _check_time(hour: int, rest: bytes) -> None:
    if hour > 23 or rest[0] > 59 or rest[1] > 59 or int.from_bytes(rest[2:], "big") > 999_999:
        raise Malformed("a time is out of range")


def _check_duration(data: bytes) -> tuple[int, int, int]:
    days, seconds, microseconds = _unpack_timedelta(data)
    if abs(days) > _MAX_DAYS or seconds >= 86_400 or microseconds >= 1_000_000:
        raise Malformed("a timedelta is out of range")
    return days, seconds, microseconds


def _check_zone(data: bytes, at: int, limit: int) -> int:
    """Check a timezone or None."""
    tag, at = read_byte(data, at, limit)
    if tag == NONE:
        return at
    if at == limit or tag != EXTENDED or data[at] != kinds.TIMEZONE:
        raise Malformed("a timezone was expected")
    return _check_timezone(data, at + 1, limit)


def _check_timezone(data: bytes, at: int, limit: int) -> int:
    body, at = at, skip(at, limit, kinds.SIZES[kinds.TIMEZONE])
    days, seconds, microseconds = _check_duration(data[body:at])
    if days not in (0, -1) or (days == -1 and not seconds and not microseconds):
        raise Malformed("an offset is out of range")
    if at < limit and data[at] == NONE:
        return at + 1
    return read_str(data, at, limit)[1]


def _check_ints(data: bytes, at: int, limit: int, tag: int) -> int:
    """Check the ints of a range or a Fraction."""
    last = 0
    for _ in range(3 if tag == kinds.RANGE else 2):
        last, at = read_int(data, at, limit)
    if last == 0 or (tag == kinds.FRACTION and last < 0):
        raise Malformed("the step of a range is 0" if tag == kinds.RANGE else "a denominator is not positive")
    return at


def _check_maxlen(data: bytes, at: int, limit: int, n: int) -> int:
    if at < limit and data[at] == NONE:
        return at + 1
    maxlen, at = read_int(data, at, limit)
    if not n <= maxlen <= _MAX_MAXLEN:
        raise Malformed("a deque has more items than it can have")
    return at


def _check_decimal(data: bytes, at: int, limit: int, n: int, is_key: bool) -> int:
    exponent = 0
    form, at = read_byte(data, at, limit)
    if form > kinds.SIGNALLING + kinds.NEGATIVE:
        raise Malformed("a Decimal has an unknown form")
    form &= ~kinds.NEGATIVE
    if form == kinds.FINITE:
        exponent, at = read_int(data, at, limit)
    digits, end = at, skip(at, limit, n)
    if (n and not data[digits:end].isdigit()) or (n > 1 and data[digits] == ord("0")):
        raise Malformed("a Decimal has other digits than it needs")
    is_zero = n > 0 and data[digits] == ord("0")
    if (form == kinds.FINITE and n == 0) or (form == kinds.INFINITE and n > 0) or (form >= kinds.QUIET and is_zero):
        raise Malformed("a Decimal has other digits than it needs")
    if not _MIN_EXPONENT <= exponent <= _MAX_EXPONENT - (n - 1 if form == kinds.FINITE else 0):
        raise Malformed("an exponent is out of range")
    if form == kinds.SIGNALLING and is_key:
        raise Malformed("a set element or a key is not hashable")
    return end
