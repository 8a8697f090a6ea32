"""What a child claims: its report, taken apart. A claim by a process that ran hostile code, so it can spoil only its own case."""

from __future__ import annotations

from selftaught.sandbox import wire
from selftaught.sandbox.wire import End, Outcome

_TEXT_ENDS = {
    b"F": End.REJECTED,
    b"a": End.REJECTED,
    b"w": End.WRONG_TYPE,
    b"s": End.SOLUTION_ERROR,
    b"m": End.SOLUTION_ERROR,
    b"p": End.PUZZLE_ERROR,
    b"n": End.PUZZLE_ERROR,
}


def read_report(data: bytes | bytearray, most: int, loaded: bool) -> Outcome | None:
    """The outcome, if the report is complete or can be none. most: bytes of an answer. loaded: the puzzle is known to be, before a solution came."""
    if len(data) < wire.REPORT.size:
        return None
    code, size = wire.REPORT.unpack_from(data)
    if size > (most if code == b"A" else 4 * wire.TEXT_BYTES):
        return Outcome(End.DIED, "malformed report")
    if len(data) < wire.REPORT.size + size:
        return None
    payload = bytes(data[wire.REPORT.size : wire.REPORT.size + size])
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
    if end is End.PUZZLE_ERROR and loaded:  # a solution can't blame the puzzle once that was loaded
        end = End.SOLUTION_ERROR
    return Outcome(end, text)


class Report:
    """Collects what a child writes; arguments as of `read_report`.

    begun: something was written. claims_loaded: it began by telling that the puzzle is. out_of_memory: the report says that a MemoryError ended the phase.
    """

    def __init__(self, most: int, loaded: bool = False) -> None:
        self._most, self._loaded = most, loaded
        self._data = bytearray()
        self.begun = self.claims_loaded = self.out_of_memory = False

    def feed(self, data: bytes) -> Outcome | None:
        """The outcome, once the report is complete or can be no report."""
        self._data += data
        self.begun |= bool(data)
        if not self._loaded and self._data[:1] == b"P":
            self._loaded = self.claims_loaded = True
            del self._data[:1]
        outcome = read_report(self._data, self._most, self._loaded)
        self.out_of_memory = (
            outcome is not None and outcome.end is not End.DIED and bytes(self._data[:1]) in (b"m", b"n")
        )
        return outcome
