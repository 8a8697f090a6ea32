"""What a child claims: its report, taken apart. A claim by a process that ran hostile code, so it can spoil only its own case."""

from __future__ import annotations

from sandbox import wire
from sandbox.wire import End, Outcome

_TEXT_ENDS = {
    b"F": End.REJECTED,
    b"a": End.REJECTED,
    b"w": End.WRONG_TYPE,
    b"s": End.SOLUTION_ERROR,
    b"m": End.SOLUTION_ERROR,
    b"p": End.PUZZLE_ERROR,
    b"n": End.PUZZLE_ERROR,
}


class Report:
    """Collects what a child writes. loaded: the puzzle is known to be, before a solution came.
    out_of_memory: the report says that a MemoryError ended the phase."""

    def __init__(self, answer_bytes: int, loaded: bool = False) -> None:
        self._most = answer_bytes
        self._data = bytearray()
        self._loaded = loaded
        self.out_of_memory = False

    def feed(self, data: bytes) -> Outcome | None:
        """The outcome, once the report is complete or can be no report."""
        self._data += data
        if not self._loaded and self._data[:1] == b"P":
            self._loaded = True
            del self._data[:1]
        if len(self._data) < wire.REPORT.size:
            return None
        code, size = wire.REPORT.unpack_from(self._data)
        if size > (self._most if code == b"A" else 4 * wire.TEXT_BYTES):
            return Outcome(End.DIED, "malformed report")
        if len(self._data) < wire.REPORT.size + size:
            return None
        return self._outcome(code, bytes(self._data[wire.REPORT.size : wire.REPORT.size + size]))

    def _outcome(self, code: bytes, payload: bytes) -> Outcome:
        if code == b"A":
            return Outcome(End.ANSWER, payload=payload)
        if code == b"T":
            return Outcome(End.ACCEPTED)
        text = payload.decode("utf-8", "replace")[: wire.TEXT_BYTES]
        if code == b"L":
            return Outcome(End.TOO_LARGE, observed=float(text) if text.isdecimal() and len(text) < 20 else 0.0)
        end = _TEXT_ENDS.get(code)
        if end is None:
            return Outcome(End.DIED, "malformed report")
        self.out_of_memory = code in (b"m", b"n")
        if end is End.PUZZLE_ERROR and self._loaded:  # a solution can't blame the puzzle once that was loaded
            end = End.SOLUTION_ERROR
        return Outcome(end, text)
