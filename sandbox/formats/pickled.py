"""Test cases as base64 of zlib of a pickle: LiveCodeBench's private ones, a string, and open-instruct's, plain data.

Unpickling runs code that the pickle names. So the opcodes are read first, and only those are admitted that describe one
string, or plain data.
"""

from __future__ import annotations

import base64
import binascii
import pickle
import pickletools
import zlib
from typing import Any

from selftaught.sandbox.formats.problem import Malformed

MOST_BYTES = 1 << 29
"""The most bytes of decompressed data."""

_STRING = frozenset({"UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"})
_HARMLESS = frozenset({"PROTO", "FRAME", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"})
"""Opcodes that describe the pickle itself, or number its one string."""

MOST_VALUES = 1 << 20
"""The most opcodes of plain data. An empty list is one byte of a pickle, and 64 of memory."""
_OF_A_VALUE = 8
"""Bytes that each value counts for, besides the characters of strings."""

_DATA = _STRING | frozenset(
    "NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 LONG4 BINFLOAT MARK EMPTY_LIST APPEND APPENDS EMPTY_DICT "
    "SETITEM SETITEMS GET BINGET LONG_BINGET".split()
)
"""Opcodes of plain data, as JSON has it: none of them names anything that could be called."""


def decode(text: str) -> str:
    """Return the string.

    Raises:
        Malformed: It is something else, or larger than `MOST_BYTES`.
    """
    return string_of(_unpacked(text, "private_test_cases", MOST_BYTES))


def decode_data(text: str, what: str, most_bytes: int) -> Any:
    """Return the data: strings, numbers, booleans, None, and lists and dicts of these.

    Args:
        text: The text.
        what: Names it in the message.
        most_bytes: The most bytes of decompressed data, and of the data when what it refers to is written out.

    Raises:
        Malformed: It is something else, or larger.
    """
    data = data_of(_unpacked(text, what, most_bytes), what)
    _check_size(data, what, most_bytes)
    return data


def _check_size(data: Any, what: str, most: int) -> None:
    """Raise Malformed if plain data is larger than so many bytes, everything counted as often as it occurs.

    A pickle may refer to one string a million times, or to a list in itself.
    """
    left, size = [data], 0
    while left:
        value = left.pop()
        size += _OF_A_VALUE + (len(value) if isinstance(value, str) else 0)
        if isinstance(value, dict):
            left += value.keys()
            left += value.values()
        elif isinstance(value, list):
            left += value
        if size + _OF_A_VALUE * len(left) > most:
            raise Malformed(f"{what} is larger than {most >> 20} MiB")


def _unpacked(text: str, what: str, most: int) -> bytes:
    try:
        packed = base64.b64decode("".join(text.split()), validate=True)
    except (ValueError, binascii.Error):
        raise Malformed(f"{what} is neither JSON nor base64") from None
    inflater = zlib.decompressobj()
    try:
        data = inflater.decompress(packed, most + 1)
    except zlib.error as error:
        raise Malformed(f"{what} can't be decompressed: {error}") from None
    if len(data) > most:
        raise Malformed(f"{what} is larger than {most >> 20} MiB")
    if not inflater.eof or inflater.unused_data:
        raise Malformed(f"{what} is incomplete, or more follows it")
    return data


def data_of(source: bytes, what: str) -> Any:
    """Return the plain data of a pickle.

    Raises:
        Malformed: The pickle has anything else, or is broken.
    """
    try:
        for number, (opcode, argument, position) in enumerate(pickletools.genops(source)):
            if number >= MOST_VALUES:
                raise Malformed(f"{what} has more than {MOST_VALUES:,} values")
            if opcode.name == "STOP" and position is not None and position + 1 != len(source):
                raise Malformed("the pickle ends early")
            if opcode.name not in _DATA and opcode.name not in _HARMLESS and opcode.name != "STOP":
                raise Malformed(f"{what} is more than plain data: opcode {opcode.name} is not admitted")
            if "PUT" in opcode.name and isinstance(argument, int) and argument > len(source):
                raise Malformed("the pickle numbers more than it has")  # each number takes memory
        return pickle.loads(source)
    except Malformed:
        raise
    except Exception as error:  # both raise many kinds for broken pickles
        raise Malformed(f"{what} is no pickle: {type(error).__name__}: {error}") from None


def string_of(pickle: bytes) -> str:
    """Return the one string of a pickle.

    Raises:
        Malformed: The pickle has anything else than one string.
    """
    found: list[str] = []
    try:
        for opcode, argument, position in pickletools.genops(pickle):
            if opcode.name in _STRING and not found and isinstance(argument, str):
                found.append(argument)
            elif opcode.name == "STOP":
                if position is None or position + 1 != len(pickle):
                    raise Malformed("the pickle ends early")
            elif opcode.name not in _HARMLESS:
                raise Malformed(f"the pickle has more than one string: opcode {opcode.name} is not admitted")
    except Malformed:
        raise
    except Exception as error:  # pickletools raises many kinds for broken pickles
        raise Malformed(f"not a pickle: {type(error).__name__}: {error}") from None
    if not found:
        raise Malformed("the pickle has no string")
    return found[0]
