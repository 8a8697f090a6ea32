"""The second tags of extended values, and what belongs to them. The format is in `selftaught.sandbox.codec`."""

from __future__ import annotations

COMPLEX, DATE, TIME, DATETIME, TIMEDELTA, TIMEZONE, RANGE, FRACTION, SCALAR, ARRAY = range(10)
BYTES, BYTEARRAY, FROZENSET, DEQUE, COUNTER, ORDERED, DEFAULT, DECIMAL = range(0x10, 0x90, 0x10)
SIZES = (16, 4, 6, 10, 12, 12, 0, 0)
"""Bytes of the fixed part of each kind from COMPLEX to FRACTION."""
FACTORIES = (None, int, float, str, bool, list, tuple, set, dict, bytes, complex, frozenset)
"""What a defaultdict may have, in the order of their numbers."""
FINITE, INFINITE, QUIET, SIGNALLING = range(0, 8, 2)
"""Forms of a Decimal."""
NEGATIVE = 1
"""Added to a Decimal's form."""
