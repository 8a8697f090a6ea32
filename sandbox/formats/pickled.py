"""LiveCodeBench's private test cases: base64 of zlib of a pickle of one string.

Unpickling runs code that the pickle names. So nothing is unpickled here: the opcodes are read, and only those that
describe one string are admitted.
"""

from __future__ import annotations

import base64
import binascii
import pickletools
import zlib

from selftaught.sandbox.formats.problem import Malformed

MOST_BYTES = 1 << 29
"""The most bytes of decompressed data."""

_STRING = frozenset({"UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"})
_HARMLESS = frozenset({"PROTO", "FRAME", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"})
"""Opcodes that describe the pickle itself, or number its one string."""


def decode(text: str) -> str:
    """Return the string.

    Raises:
        Malformed: It is something else, or larger than `MOST_BYTES`.
    """
    try:
        packed = base64.b64decode("".join(text.split()), validate=True)
    except (ValueError, binascii.Error):
        raise Malformed("private_test_cases is neither JSON nor base64") from None
    return string_of(_decompress(packed))


def _decompress(packed: bytes) -> bytes:
    inflater = zlib.decompressobj()
    try:
        data = inflater.decompress(packed, MOST_BYTES + 1)
    except zlib.error as error:
        raise Malformed(f"private_test_cases can't be decompressed: {error}") from None
    if len(data) > MOST_BYTES:
        raise Malformed(f"private_test_cases are larger than {MOST_BYTES >> 20} MiB")
    if not inflater.eof or inflater.unused_data:
        raise Malformed("private_test_cases are incomplete, or more follows them")
    return data


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
