"""Judge a solution by cases: its output for each input is compared with what is expected, outside of its process.

Equal bytes are equal output, whatever the comparison. Any other output goes to a process that compares, or that runs
the task's checker (`Phase.CHECK`). It gets input, output and what is expected, and answers K, a code, a score and a
text.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace

from selftaught.sandbox import codec, judging, wire
from selftaught.sandbox.job import Job
from selftaught.sandbox.judging import Cases
from selftaught.sandbox.outcome import End, Outcome, Phase
from selftaught.sandbox.task import Limits
from selftaught.sandbox.worker.codes import Codes
from selftaught.sandbox.worker.session import Open, Request, Run, Session, unknown_seed
from selftaught.sandbox.worker.solution import FORGED, REFUSALS, Solution, malformed, refused, text_of

_CHECKED = struct.Struct("<ccd")
_CHECK_ENDS = {b"T": End.ACCEPTED, b"F": End.REJECTED, b"p": End.TESTS_ERROR}
_COMPILE_FROM = 2
"""A program with so many cases is compiled once for all."""


class Checks:
    """The process that compares outputs with what is expected, started at the first that is not equal."""

    def __init__(self, open_session: Open, job: Job, limits: Limits, cases: Cases) -> None:
        self._open, self._job, self._limits, self._cases = open_session, job, limits, cases
        self._session: Session | None = None

    def check(self, given: bytes, output: bytes, expected: bytes) -> Outcome:
        """Return the outcome of comparing an output; arguments are encodings.

        Args:
            given: the input of the case.
            output: what the solution made of it.
            expected: what is expected.
        """
        session = self._session
        if session is None:
            session = self._session = self._start()
            if isinstance(first := session.start(), Outcome):
                return self._end(first)
        session.begin()
        reply = session.send(judging.encode_parts(given, output, expected))
        if isinstance(reply, Outcome):
            return self._end(reply)
        outcome = session.lap()
        if reply[:1] != b"K" or len(reply) < _CHECKED.size or reply[1:2] not in _CHECK_ENDS:
            outcome.end, outcome.detail = End.DIED, "malformed message"
            return self._end(outcome)
        _, code, score = _CHECKED.unpack_from(reply)
        outcome.end, outcome.detail = _CHECK_ENDS[code], text_of(reply[_CHECKED.size :])
        outcome.observed = score if outcome.end is End.REJECTED and 0.0 <= score < 1.0 else 0.0
        return outcome

    def _start(self) -> Session:
        source, payload = self._cases.checker.encode(*wire.TEXT), judging.encode((self._cases.compare,))
        parts = len(self._cases.cases) + 1
        return self._open(Request(Phase.CHECK, source, payload, self._limits, unknown_seed(), parts=parts))

    def _end(self, outcome: Outcome) -> Outcome:
        """Close the process, whose outcome this is."""
        self.close()
        if outcome.end in (End.PUZZLE_ERROR, End.SOLUTION_ERROR):
            outcome.end = End.TESTS_ERROR
        elif outcome.end in FORGED:
            outcome.end, outcome.detail = End.DIED, "malformed report"
        outcome.phase, outcome.payload = Phase.CHECK, b""
        return outcome

    def close(self) -> None:
        """End the process, if there is one."""
        if self._session is not None:
            self._session.close()
            self._session = None


class _Judgement:
    """What both kinds of cases share: the loop over the cases."""

    def __init__(
        self, open_session: Open, run: Run, job: Job, limits: Limits, codes: Codes, pause: Callable[[], None]
    ) -> None:
        """Prepare the judgement.

        Args:
            open_session: opens a session.
            run: runs a phase to its end.
            job: a job of kind `Kind.CASES` or `Kind.STDIO`.
            limits: limits of each case.
            codes: code of programs.
            pause: called between cases; may raise Preempted.
        """
        self._open, self._run, self._job, self._limits, self._codes = open_session, run, job, limits, codes
        self._pause = pause
        self._cases = judging.unpack_cases(job.sat)
        self._checks = Checks(open_session, job, limits, self._cases)

    def execute(self) -> list[Outcome]:
        """Run the cases up to the first that fails, or all. Return their outcomes, and `End.TOTAL`."""
        outcomes = []
        try:
            for number, (given, expected) in enumerate(self._cases.cases):
                self._pause()
                outcome = self._judge(given, expected)
                outcome.case, outcome.payload = number, b""
                outcomes.append(outcome)
                if self._job.is_expired(outcome) or (outcome.end is not End.ACCEPTED and not self._cases.all_cases):
                    break
        finally:
            self._checks.close()
            peak = self._close()
        outcomes[-1].peak_memory_bytes = max(outcomes[-1].peak_memory_bytes, peak)
        return [*outcomes, Outcome(End.TOTAL, observed=len(self._cases.cases))]

    def _judge(self, given: bytes, expected: bytes) -> Outcome:
        """Return the outcome of a case."""
        raise NotImplementedError

    def _close(self) -> int:
        return 0

    def _compare(self, outcome: Outcome, given: bytes, output: bytes, expected: bytes) -> Outcome:
        """Compare an output. `outcome` is that of its process; what comparing used is added to it."""
        checked = self._checks.check(given, output, expected)
        checked.cpu_seconds += outcome.cpu_seconds
        checked.wall_seconds += outcome.wall_seconds
        checked.peak_memory_bytes = max(checked.peak_memory_bytes, outcome.peak_memory_bytes)
        return checked


class FunctionCases(_Judgement):
    """Calls of a function. One process makes them all; if it ends, the next case gets another."""

    _unloadable: Outcome | None = None

    def __init__(
        self, open_session: Open, run: Run, job: Job, limits: Limits, codes: Codes, pause: Callable[[], None]
    ) -> None:
        super().__init__(open_session, run, job, limits, codes, pause)
        self._solution = Solution(open_session, job, self._cases, limits, parts=len(self._cases.cases) + 1)

    def _judge(self, given: bytes, expected: bytes) -> Outcome:
        solution = self._solution
        if self._unloadable is not None:
            return replace(self._unloadable)
        session = solution.ready()
        if isinstance(session, Outcome):
            self._unloadable = Outcome(session.end, session.detail, session.observed, engine=session.engine)
            return session
        session.begin()
        reply = session.send(b"C" + given)
        if isinstance(reply, Outcome):
            return solution.end(reply)
        if reply[:1] in REFUSALS:
            return refused(session.lap(), reply)
        if reply[:1] != b"V":
            return solution.end(malformed(session.lap()))
        return self._judge_value(session.lap(), given, reply[1:], expected)

    def _judge_value(self, outcome: Outcome, given: bytes, output: bytes, expected: bytes) -> Outcome:
        try:
            codec.check(output, self._limits.answer_bytes, extended=True)
        except codec.Malformed as error:
            outcome.end, outcome.detail = End.DIED, f"malformed answer: {error}"
            return self._solution.end(outcome)
        if output == expected and not self._cases.checker:
            return outcome
        return self._compare(outcome, given, output, expected)

    def _close(self) -> int:
        return self._solution.close()


class StdioCases(_Judgement):
    """Runs of a program, each in a process as good as new."""

    _code: bytes | None = None

    def _judge(self, given: bytes, expected: bytes) -> Outcome:
        if self._code is None:
            is_worth_it = len(self._cases.cases) >= _COMPILE_FROM
            self._code = self._codes.of_program(self._job.sol, self._limits) if is_worth_it else b""
        program, source = (self._code, self._job.sol) if self._code else (self._job.sol, b"")
        request = Request(Phase.RUN, program, given, self._limits, self._job.seed, source)
        outcome = self._run(request)
        outcome.phase = Phase.RUN
        if outcome.end in FORGED:
            outcome.end, outcome.detail = End.DIED, "a program has nothing to report"
        if outcome.end is not End.EXITED:
            return outcome
        stdout, stderr, cut = wire.unpack_output(outcome.payload)
        code, outcome.observed = int(outcome.observed), 0.0
        if cut:
            outcome.end, outcome.observed = End.OUTPUT, float(self._limits.output_bytes)
        elif code:
            outcome.end, outcome.detail = End.SOLUTION_ERROR, _explain_exit(code, stderr)
        elif stdout == expected and not self._cases.checker:
            outcome.end = End.ACCEPTED
        else:
            texts = (part.decode("utf-8", "replace") for part in (given, stdout, expected))
            return self._compare(outcome, *map(judging.encode, texts))
        return outcome


def _explain_exit(code: int, stderr: bytes) -> str:
    """Return the exit code, or the signal, and the last line of standard error."""
    last = stderr.decode("utf-8", "replace").rstrip().rpartition("\n")[2]
    how = f"exit code {code}" if code > 0 else f"signal {-code}"
    return f"{last[:500]} ({how})" if last else how
