"""Parse a child's report: a claim by a process that ran hostile code, which counts for its own phase only."""

from __future__ import annotations

import struct

from selftaught.sandbox import wire
from selftaught.sandbox.outcome import End, Outcome

_TEXT_ENDS = {
    b"F": End.REJECTED,
    b"a": End.REJECTED,
    b"w": End.WRONG_TYPE,
    b"s": End.SOLUTION_ERROR,
    b"m": End.SOLUTION_ERROR,
    b"p": End.PUZZLE_ERROR,
    b"n": End.PUZZLE_ERROR,
}
_PAYLOAD_CODES = b"A", b"C", b"E"
"""An answer, compiled code, the end of tests."""
_NO_MEMORY_CODES = b"m", b"n"
_SIZE = struct.Struct("<Q")
MESSAGE = b"M"
"""The code of a session's message."""


def read_report(data: bytes | bytearray, max_bytes: int, loaded: bool) -> Outcome | None:
    """Parse a report.

    Args:
        data: what the child has written so far.
        max_bytes: largest answer in bytes.
        loaded: True if the puzzle is known to have loaded before the solution was read. A solution can't blame the
            puzzle then.

    Returns:
        The outcome, also if the data can be no report; None if the report is incomplete.
    """
    if len(data) < wire.REPORT.size:
        return None
    code, size = wire.REPORT.unpack_from(data)
    if size > (max_bytes if code in _PAYLOAD_CODES else 4 * wire.TEXT_BYTES):
        return Outcome(End.DIED, "malformed report")
    if len(data) < wire.REPORT.size + size:
        return None
    payload = bytes(data[wire.REPORT.size : wire.REPORT.size + size])
    if code in _PAYLOAD_CODES:
        return Outcome(End.ANSWER, payload=payload)
    if code == b"T":
        return Outcome(End.ACCEPTED)
    text = payload.decode("utf-8", "replace")[: wire.TEXT_BYTES]
    if code == b"L":
        return Outcome(End.TOO_LARGE, observed=float(text) if text.isdecimal() and len(text) < 20 else 0.0)
    end = _TEXT_ENDS.get(code)
    if end is None:
        return Outcome(End.DIED, "malformed report")
    if end is End.PUZZLE_ERROR and loaded:  # the solution claims it
        end = End.SOLUTION_ERROR
    return Outcome(end, text)


def lacks_memory(code: bytes, payload: bytes) -> bool:
    """Return True if a report says that memory was lacking; that of the end of tests has a code inside."""
    return code in _NO_MEMORY_CODES or (code == b"E" and payload[8:9] in _NO_MEMORY_CODES)


class Report:
    """Collects what a child writes until it is a complete report.

    Attributes:
        begun: True if the child has written anything.
        claims_loaded: True if the report says first that the puzzle has loaded.
        out_of_memory: True if the report, or the message, says that memory was lacking.
    """

    def __init__(self, max_bytes: int, loaded: bool = False, has_messages: bool = False) -> None:
        """Prepare for a phase.

        Args:
            max_bytes: largest answer, or message of a session, in bytes.
            loaded: see `read_report`.
            has_messages: True for a session.
        """
        self._max_bytes, self._loaded, self._has_messages = max_bytes, loaded, has_messages
        self._data = bytearray()
        self.begun = self.claims_loaded = self.out_of_memory = False

    def feed(self, data: bytes) -> Outcome | bytes | None:
        """Add what the child has written.

        Returns:
            The outcome once the report is complete or malformed; a message once it is complete; else None.
        """
        if self._has_messages and not self._data and data[:1] == MESSAGE and len(data) >= wire.REPORT.size:
            (size,) = _SIZE.unpack_from(data, 1)
            if len(data) == wire.REPORT.size + size and size <= self._max_bytes:  # usually it comes at once
                self.begun = True
                self.out_of_memory = data[wire.REPORT.size : wire.REPORT.size + 1] in _NO_MEMORY_CODES
                return data[wire.REPORT.size :]
        self._data += data
        self.begun |= bool(data)
        if self._has_messages and self._data[:1] == MESSAGE:
            return self._take_message()
        if not self._loaded and self._data[:1] == b"P":
            self._loaded = self.claims_loaded = True
            del self._data[:1]
        outcome = read_report(self._data, self._max_bytes, self._loaded)
        if outcome is not None and outcome.end is not End.DIED:
            self.out_of_memory = lacks_memory(bytes(self._data[:1]), outcome.payload)
        return outcome

    def _take_message(self) -> bytes | Outcome | None:
        """Remove and return the message, or an outcome if it is malformed; None if it is incomplete."""
        if len(self._data) < wire.REPORT.size:
            return None
        _, size = wire.REPORT.unpack_from(self._data)
        end = wire.REPORT.size + size
        if size > self._max_bytes or len(self._data) > end:
            return Outcome(End.DIED, "malformed message")
        if len(self._data) < end:
            return None
        message = bytes(self._data[wire.REPORT.size :])
        self._data.clear()
        self.out_of_memory = message[:1] in _NO_MEMORY_CODES
        return message
