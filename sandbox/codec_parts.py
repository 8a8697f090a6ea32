"""What the modules of the codec share: its exceptions, heads of values, and ints and texts as bytes.

The format is in `selftaught.sandbox.codec`.
"""

from __future__ import annotations

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


NONE, EXTENDED, INT, STR, TUPLE = 0x80, 0x84, 0x90, 0xA0, 0xC0
"""Tags that occur within values of the extended kinds too. EXTENDED: another tag follows, of the second table."""
SHORT = 13  # the largest n within a tag; SHORT + 1 says that n is in one byte, SHORT + 2 in eight

# What encoding calls must be found whatever task code has done to `builtins`, and so without looking there.
_bytes, _len = bytes, len
_bit_length, _to_bytes, _utf8 = int.bit_length, int.to_bytes, str.encode


def head(tag: int, n: int) -> bytes:
    """Return the bytes of a tag with its n."""
    if n <= SHORT:
        return _bytes((tag + n,))
    if n < 256:
        return _bytes((tag + SHORT + 1, n))
    return _bytes((tag + SHORT + 2,)) + _to_bytes(n, 8, "little")


def encode_int(value: int) -> bytes:
    """Return the encoding of an int."""
    if 0 <= value < 128:
        return _bytes((value,))
    size = (_bit_length(value if value >= 0 else ~value) >> 3) + 1
    return head(INT, size) + _to_bytes(value, size, "little", signed=True)


def encode_str(value: str) -> bytes:
    """Return the encoding of a str."""
    text = _utf8(value, "utf-8", "surrogatepass")
    return head(STR, _len(text)) + text


def read_length(data: bytes, at: int, end: int, tag: int) -> tuple[int, int]:
    """Return the n of a tag, and where what follows it begins. Bytes from `end` on count as missing."""
    code = tag & 0x0F
    if code <= SHORT:
        return code, at
    width, least = (1, SHORT + 1) if code == SHORT + 1 else (8, 256)
    until = min(at + width, end)
    n = int.from_bytes(data[at:until], "little")
    if n < least:
        raise Malformed("a length is cut short, or takes more bytes than it needs")
    return n, until


def read_byte(data: bytes, at: int, limit: int) -> tuple[int, int]:
    """Return a byte and where the next one is."""
    if at == limit:
        raise Malformed("data ends early")
    return data[at], at + 1


def read_int(data: bytes, at: int, limit: int) -> tuple[int, int]:
    """Check the encoding of an int that begins at `at`. Return the int and where the encoding ends."""
    tag, at = read_byte(data, at, limit)
    if tag < NONE:
        return tag, at
    if tag & 0xF0 != INT:
        raise Malformed("an int was expected")
    n, at = read_length(data, at, limit, tag)
    end = skip(at, limit, n)
    check_int(data, at, n)
    return int.from_bytes(data[at:end], "little", signed=True), end


def read_str(data: bytes, at: int, limit: int) -> tuple[int, int]:
    """Check the encoding of a str that begins at `at`. Return where its text begins and ends."""
    tag, at = read_byte(data, at, limit)
    if tag & 0xF0 != STR:
        raise Malformed("a str was expected")
    n, at = read_length(data, at, limit, tag)
    end = skip(at, limit, n)
    check_text(data, at, end)
    return at, end


def skip(at: int, limit: int, n: int) -> int:
    """Return where n bytes from `at` end."""
    if n > limit - at:
        raise Malformed("data ends early")
    return at + n


def check_int(data: bytes, at: int, n: int) -> None:
    """Raise Malformed unless these n bytes are an int's, and no fewer would do."""
    top = data[at + n - 1]
    if n == 0 or (n == 1 and top < 128) or (n > 1 and top in (0, 255) and data[at + n - 2] ^ top < 128):
        raise Malformed("an int takes more bytes than it needs, or none")


def check_text(data: bytes, at: int, end: int) -> None:
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
