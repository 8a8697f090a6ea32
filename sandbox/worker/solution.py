"""The process of a solution that is judged by tests or cases (`Phase.SERVE`): start it, and say why it ended.

Whatever that process reports is a claim of hostile code. None of it can be what only a judging process reports, and it
can't put the blame on the task.
"""

from __future__ import annotations

from selftaught.sandbox import codec, judging, wire
from selftaught.sandbox.job import Job
from selftaught.sandbox.judging import Cases, Tests
from selftaught.sandbox.outcome import End, Outcome, Phase
from selftaught.sandbox.task import Limits
from selftaught.sandbox.worker.session import Open, Request, Session

FORGED = (End.ANSWER, End.ACCEPTED, End.REJECTED)
"""Ends that only another phase can report."""
REFUSALS = {b"S": End.SOLUTION_ERROR, b"w": End.WRONG_TYPE, b"L": End.TOO_LARGE, b"m": End.SOLUTION_ERROR}
"""Codes of replies that are no result: the call raised, the result can't cross or is too large, or memory was lacking,
which the kernel's figures do not confirm.
"""


class Solution:
    """A solution and its process; if that ends, another can be started.

    Attributes:
        session: the process, ready for a call; None if there is none.
        names: encoding of the names that the solution defines, once it has loaded.
    """

    def __init__(self, open_session: Open, job: Job, task: Tests | Cases, limits: Limits, parts: int = 1) -> None:
        """Prepare the process; `ready` starts it.

        Args:
            open_session: opens a session.
            job: has the solution.
            task: has the prelude and the entry point.
            limits: limits of the process.
            parts: see `Request`.
        """
        self._open, self._job, self._task, self._limits, self._parts = open_session, job, task, limits, parts
        self.session: Session | None = None
        self.names = b""

    def ready(self) -> Session | Outcome:
        """Return the process, started if there is none; its outcome if it does not get ready."""
        if self.session is not None:
            return self.session
        self.session, self.names = self._open(self._request(self._task.entry_point, self._job.sol)), b""
        first = self.session.start()
        if isinstance(first, bytes):
            if not is_encoding(first, b"R", self._limits):
                return self.end(malformed(self.lap()))
            self.names = first[1:]
            return self.session
        return self.end(first)

    def lap(self) -> Outcome:
        """Return what `Session.lap` does; if there is no process, that it has used nothing."""
        return self.session.lap() if self.session else Outcome(End.ACCEPTED, phase=Phase.SERVE)

    def end(self, outcome: Outcome) -> Outcome:
        """Close the process, whose outcome this is. Return the outcome, corrected."""
        self.close()
        if outcome.end in FORGED:
            outcome.end, outcome.detail = End.DIED, "it reported what only other phases can report"
        elif outcome.end is End.PUZZLE_ERROR:
            outcome.end = End.TESTS_ERROR if self._prelude_fails() else End.SOLUTION_ERROR
        outcome.payload = b""
        return outcome

    def close(self) -> int:
        """End the process, if there is one. Return what `Session.close` does."""
        session, self.session = self.session, None
        return session.close() if session else 0

    def _prelude_fails(self) -> bool:
        """Return True if the prelude does not load without a solution either, which can forge that report."""
        if self.names or not self._task.prelude:
            return False
        session = self._open(self._request("", b""))
        alone = session.start()
        session.close()
        return isinstance(alone, Outcome) and alone.end is End.PUZZLE_ERROR

    def _request(self, entry_point: str, sol: bytes) -> Request:
        prelude = self._task.prelude.encode(*wire.TEXT)
        payload = judging.encode((entry_point, sol.decode(*wire.TEXT)))
        return Request(Phase.SERVE, prelude, payload, self._limits, self._job.seed, parts=self._parts)


def refused(outcome: Outcome, reply: bytes) -> Outcome:
    """Return the outcome of a call whose reply is one of `REFUSALS`."""
    outcome.end, text = REFUSALS[reply[:1]], text_of(reply[1:])
    if outcome.end is End.TOO_LARGE:
        outcome.observed = size_of(text)
    else:
        outcome.detail = text
    return outcome


def malformed(outcome: Outcome) -> Outcome:
    """Return the outcome of a process that has sent what makes no sense; the argument says what it has used."""
    outcome.end, outcome.detail = End.DIED, "malformed message"
    return outcome


def text_of(data: bytes) -> str:
    """Return a text for a verdict's message."""
    return data.decode("utf-8", "replace")[: wire.TEXT_BYTES]


def size_of(text: str) -> float:
    """Return the size in a reply that something is too large; 0.0 if it is none."""
    return float(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0.0


def is_encoding(message: bytes, code: bytes, limits: Limits) -> bool:
    """Return True if a message is this code and the encoding of a value."""
    try:
        codec.check(message[1:], limits.answer_bytes + limits.output_bytes, extended=True)
    except codec.Malformed:
        return False
    return message[:1] == code
