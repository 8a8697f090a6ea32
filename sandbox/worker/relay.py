"""Relay calls between tests and the solution, which run in two jailed processes.

The tests call stand-ins. Each call becomes a message, which is checked and passed to the solution's process, and so is
the answer on its way back. The tests decide; the solution's process sees arguments and nothing else.

Messages, each with a code in front: the solution's process first sends R and the names that it defines. Tests whose
code is not kept first send C and their code, and are answered by nothing. The tests send X, the number of the case and
a request; the answer is the solution's message, or nothing if its process has ended. With `all_cases` they send F, the
number of a case and why it failed. The tests end with a report (E): how many cases there are, the number of the one
that failed, a code, and why.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from selftaught.sandbox import judging, wire
from selftaught.sandbox.job import Job
from selftaught.sandbox.outcome import NO_CASE, End, Outcome, Phase
from selftaught.sandbox.task import Limits
from selftaught.sandbox.worker.codes import Codes
from selftaught.sandbox.worker.session import MOST_CASES, Open, Relayed, Request, Session, unknown_seed
from selftaught.sandbox.worker.solution import FORGED, Solution, is_encoding, malformed, refused, size_of, text_of

_CASE, _END = struct.Struct("<I"), struct.Struct("<IIc")
_ENDS = {
    b"T": End.ACCEPTED,
    b"a": End.REJECTED,
    b"w": End.WRONG_TYPE,
    b"p": End.TESTS_ERROR,
    b"s": End.SOLUTION_ERROR,
    b"n": End.REJECTED,  # a lack of memory that the kernel's figures do not confirm
    b"m": End.REJECTED,  # the same, of the solution
    b"L": End.TOO_LARGE,
    b"-": End.DIED,  # the solution's process has ended: its outcome is known
}
_ENDS_CASE = b"L", b"m"
"""Refusals of the solution that end the case. The tests themselves get the other one, w: it names what can't cross."""

Used = dict[int, tuple[float, float]]
"""CPU time and elapsed time in seconds that cases have used, by number of the case."""


class Relay:
    """The judgement of one solution by tests."""

    def __init__(self, open_session: Open, job: Job, limits: Limits, codes: Codes, pause: Callable[[], None]) -> None:
        """Prepare the judgement.

        Args:
            open_session: opens a session.
            job: a job of kind `Kind.TESTS`.
            limits: its limits.
            codes: code of tests that were seen before.
            pause: called between cases; may raise Preempted.
        """
        self._pause = pause
        self._open, self._job, self._limits = open_session, job, limits
        self._tests = judging.unpack_tests(job.sat)
        self._source = self._tests.tests.encode(*wire.TEXT)
        self._codes = codes
        self._solution = Solution(open_session, job, self._tests, limits)
        self._judge: Session | None = None
        self._failed: dict[int, Outcome] = {}
        self._used: Used = {}
        self._case = self._ended = 0

    def execute(self) -> list[Outcome]:
        """Run the tests. Return the outcomes of their cases, and `End.TOTAL`."""
        try:
            if isinstance(failure := self._solution.ready(), Outcome):
                return [failure, Outcome(End.TOTAL)]
            while True:
                outcome = self._run_tests()
                if outcome is None:
                    return self._outcomes_so_far()
                if outcome.end is End.ANSWER or not self._may_go_on(outcome):
                    return self._outcomes(outcome)
                self._fail(self._case, _ended(outcome, Phase.TESTS))
                self._case += 1  # go on after the case that ended the process of the tests
        finally:
            self._close()

    def _run_tests(self) -> Outcome | None:
        """Run the tests from the current case on. Return the outcome of their process, or None if the solution's has
        ended them.
        """
        tests = self._tests
        head = judging.encode_parts(
            judging.encode(tests.prelude),
            judging.encode(tests.entry_point),
            self._solution.names,
            judging.encode(tests.all_cases),
            judging.encode(self._case),
        )
        source, code = self._source, self._codes.of_tests(self._source)
        request = Request(
            Phase.TESTS,
            code or source,
            head,
            self._limits,
            unknown_seed(),
            source=source if code else b"",
            sends_code=code is None,
        )
        self._judge = judge = self._open(request)
        found = judge.start()
        if request.sends_code and isinstance(found, bytes) and found[:1] == b"C":
            self._codes.keep_tests(source, found[1:])
            found = judge.send(b"")
        while isinstance(found, bytes):
            if len(found) < 1 + _CASE.size or not self._begin_case(_CASE.unpack_from(found, 1)[0]):
                found = malformed(judge.lap())
                break
            if failure := failure_of(found, Phase.TESTS):
                self._fail(self._case, failure)
                found = judge.send(b"")
                continue
            relayed = self._pass_on(judge)
            if relayed and not relayed.is_solutions:
                found = relayed.found
                continue
            reply = self._take_reply(relayed.found) if relayed else self._ask(b"X" + found[5:])
            if reply is None:
                return None
            found = judge.send(reply)
        judge.close()
        return found

    def _begin_case(self, case: int) -> bool:
        """Charge what was used until now to the case before. Return False if the number is no case's."""
        if case != self._case:
            if not self._case <= case < MOST_CASES:
                return False
            self._charge()
            self._case = case
            self._pause()
        return True

    def _charge(self) -> None:
        """Charge what both processes have used since the last call to the current case."""
        for process in (self._solution, self._judge):
            if process is not None:
                usage = process.lap()
                _add(self._used, self._case, usage.cpu_seconds, usage.wall_seconds)

    def _ask(self, request: bytes) -> bytes | None:
        """Pass a request to the solution. Return its reply, b"" if it has ended, or None if that ends the tests."""
        if self._case in self._failed:
            return b""
        session = self._solution.ready()
        if isinstance(session, Outcome):
            return self._lose(session)
        return self._take_reply(session.send(request))

    def _pass_on(self, judge: Session) -> Relayed | None:
        """Have the processes pass calls on, without a look at each, as far as that is possible."""
        if self._solution.session is None or self._case in self._failed:
            return None
        relayed = judge.relay(self._solution.session, self._case)
        if relayed:
            self._case = relayed.case
            for case, cpu, wall in relayed.used:
                _add(self._used, case, cpu, wall)
        return relayed

    def _take_reply(self, reply: bytes | Outcome) -> bytes | None:
        """Return the solution's reply to a request as the tests get it; else what `_ask` does."""
        if isinstance(reply, bytes):
            if reply[:1] in _ENDS_CASE:
                return self._lose(refused(self._solution.lap(), reply))
            if reply[:1] == b"w" or is_encoding(reply, b"X", self._limits):
                return reply
            reply = malformed(self._solution.lap())
        return self._lose(self._solution.end(reply))

    def _lose(self, outcome: Outcome) -> bytes | None:
        self._fail(self._case, outcome)
        return b"" if self._may_go_on(outcome) else None

    def _may_go_on(self, outcome: Outcome) -> bool:
        """Return True if the other cases are to run after one that has ended a process, with this outcome."""
        self._ended += 1
        return self._tests.all_cases and self._ended <= judging.MOST_RESUMED and not self._job.is_expired(outcome)

    def _fail(self, case: int, outcome: Outcome) -> None:
        outcome.case = case
        self._failed.setdefault(case, outcome)

    def _outcomes(self, last: Outcome) -> list[Outcome]:
        """Return the outcomes of all cases; `last` is that of the tests' process."""
        usage = self._solution.lap()
        _add(self._used, self._case, usage.cpu_seconds, usage.wall_seconds)
        peak = self._close()
        outcomes = outcomes_of_tests(last, self._failed, self._used, self._case, Phase.TESTS)
        outcomes[0].peak_memory_bytes = max(outcomes[0].peak_memory_bytes, peak)
        return outcomes

    def _outcomes_so_far(self) -> list[Outcome]:
        """Return the outcomes up to the case in which the solution's process ended: the number of all is not known."""
        self._charge()
        self._close()
        outcomes = []
        for number in range(self._case + 1):
            usual = Outcome(End.ACCEPTED, engine=self._failed[self._case].engine, phase=Phase.TESTS, case=number)
            outcome = self._failed.get(number, usual)
            cpu, wall = self._used.get(number, (0.0, 0.0))
            outcome.cpu_seconds += cpu
            outcome.wall_seconds += wall
            outcomes.append(outcome)
        return [*outcomes, Outcome(End.TOTAL)]

    def _close(self) -> int:
        """Close both processes. Return the larger of their resident sets."""
        judge, self._judge = self._judge, None
        return max(self._solution.close(), judge.close() if judge else 0)


def outcomes_of_tests(
    last: Outcome, failed: dict[int, Outcome], used: Used, current: int, phase: Phase
) -> list[Outcome]:
    """Return the outcomes of all cases in order, and `End.TOTAL`: 0 unless the tests have reported how many there are.

    Args:
        last: the outcome of the process that ran the tests. `End.ANSWER`: its payload is the report of their end.
        failed: outcomes of cases that are known to have failed.
        used: what cases have used so far.
        current: the case in which the process was last seen.
        phase: what the process did.
    """
    total, case, is_known = current + 1, current, False
    if last.end is End.ANSWER:
        code, text = b"", b""
        if len(last.payload) >= _END.size:
            total, case, code = _END.unpack_from(last.payload)
            text = last.payload[_END.size :]
        is_known = code in _ENDS and total <= MOST_CASES
        if not is_known:
            total, case, code, text = current + 1, current, b"", b"malformed report"
        end = _outcome_of(code, text, phase)
        last.end, last.detail, last.observed, last.payload, last.phase = end.end, end.detail, end.observed, b"", phase
    else:
        _ended(last, phase)
    if last.end is not End.ACCEPTED:
        if case == NO_CASE or case >= max(total, 1):
            return [last, Outcome(End.TOTAL, observed=total if is_known else 0)]
        last.case = case
        failed.setdefault(case, last)
    else:
        _add(used, max(0, min(current, total - 1)), last.cpu_seconds, last.wall_seconds)
    stop = total if last.end is End.ACCEPTED else max(failed) + 1
    outcomes = []
    for number in range(stop):
        outcome = failed.get(number) or Outcome(End.ACCEPTED, engine=last.engine, phase=phase)
        cpu, wall = used.get(number, (0.0, 0.0))
        outcome.case = number
        outcome.cpu_seconds += cpu
        outcome.wall_seconds += wall
        outcome.peak_memory_bytes = max(outcome.peak_memory_bytes, last.peak_memory_bytes)
        outcomes.append(outcome)
    return [*outcomes, Outcome(End.TOTAL, observed=total if is_known else 0)]


def _ended(outcome: Outcome, phase: Phase) -> Outcome:
    """Return the outcome, corrected, of a process that ran tests and has not reported their end."""
    if outcome.end in FORGED:
        outcome.end, outcome.detail = End.DIED, "malformed report"
    elif outcome.end is End.PUZZLE_ERROR:
        outcome.end = End.TESTS_ERROR
    outcome.phase, outcome.payload = phase, b""
    return outcome


def failure_of(message: bytes, phase: Phase) -> Outcome | None:
    """Return the outcome of the case that a message of tests tells of; None if it is no such message."""
    if message[:1] != b"F" or len(message) < 2 + _CASE.size:
        return None
    outcome = _outcome_of(message[5:6], message[6:], phase)
    (outcome.case,) = _CASE.unpack_from(message, 1)
    return outcome if outcome.case < MOST_CASES and outcome.end is not End.ACCEPTED else None


def _outcome_of(code: bytes, text: bytes, phase: Phase) -> Outcome:
    if code == b"L":
        return Outcome(End.TOO_LARGE, observed=size_of(text_of(text)), phase=phase)
    return Outcome(_ENDS.get(code, End.DIED), text_of(text), phase=phase)


def _add(used: Used, case: int, cpu_seconds: float, wall_seconds: float) -> None:
    """Add what was used in a case to what is known of it."""
    cpu, wall = used.get(case, (0.0, 0.0))
    used[case] = cpu + cpu_seconds, wall + wall_seconds
