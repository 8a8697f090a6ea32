"""Judge a solution by tests or cases: which processes are needed, and what passes between them.

Nothing here interprets a value that came from a solution, or from tests: bytes are checked (`codec.check`), compared as
bytes, and passed on. What judges runs in a jailed process of its own (`Phase.TESTS`, `Phase.CHECK`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from selftaught.sandbox import judging, wire
from selftaught.sandbox.job import Job, Kind
from selftaught.sandbox.outcome import End, Outcome, Phase
from selftaught.sandbox.task import Limits
from selftaught.sandbox.worker.cases import FunctionCases, StdioCases
from selftaught.sandbox.worker.codes import Codes
from selftaught.sandbox.worker.engine import Preempted
from selftaught.sandbox.worker.relay import Relay, failure_of, outcomes_of_tests
from selftaught.sandbox.worker.session import Open, Request, Run


class Judge:
    """Judges the tasks of one engine."""

    def __init__(self, open_session: Open, run: Run, others_wait: Callable[[], bool]) -> None:
        """Set how to run phases.

        Args:
            open_session: opens a session.
            run: runs a phase to its end, or until the next job has come.
            others_wait: returns True if the next job has come.
        """
        self._open, self._run, self._others_wait = open_session, partial(_run_to_end, run), others_wait
        self._codes = Codes(self._run)

    def execute(self, job: Job, limits: Limits) -> list[Outcome]:
        """Judge a solution.

        Args:
            job: a job of any kind but puzzles and programs.
            limits: its limits, or those of a time slice.

        Returns:
            The outcomes of its cases, in order, and `End.TOTAL`.

        Raises:
            GivenUp: the fork engine must run the job.
            Preempted: the next job has come, and this one is preemptible.
        """
        if job.kind is Kind.SHARED:
            return self._share(job, limits)
        if job.kind is Kind.TESTS:
            return Relay(self._open, job, limits, self._codes, partial(self._pause, job)).execute()
        cases = FunctionCases if job.kind is Kind.CASES else StdioCases
        return cases(self._open, self._run, job, limits, self._codes, partial(self._pause, job)).execute()

    def _pause(self, job: Job) -> None:
        """Called between two cases. Raises Preempted."""
        if job.turn.is_preemptible and self._others_wait():
            raise Preempted

    def _share(self, job: Job, limits: Limits) -> list[Outcome]:
        """Run the solution and its tests in one process, which tells of cases that failed if others are to follow."""
        tests, failed = judging.unpack_tests(job.sat), dict[int, Outcome]()
        payload = judging.encode((tests.prelude, tests.entry_point, job.sol.decode(*wire.TEXT), tests.all_cases))
        source = tests.tests.encode(*wire.TEXT)
        request = Request(Phase.SHARED, source, payload, limits, job.seed)
        if not tests.all_cases:
            return outcomes_of_tests(self._run(request), {}, {}, 0, Phase.SHARED)
        session = self._open(request)
        try:
            found = session.start()
            while isinstance(found, bytes) and (told := failure_of(found, Phase.SHARED)):
                failed.setdefault(told.case, told)
                found = session.send(b"")
        finally:
            peak = session.close()
        if isinstance(found, bytes):
            found = Outcome(End.DIED, "malformed message", peak_memory_bytes=peak)
        return outcomes_of_tests(found, failed, {}, max(failed, default=-1) + 1, Phase.SHARED)


def _run_to_end(run: Run, request: Request) -> Outcome:
    """Run a phase. Raises Preempted if it has not ended."""
    outcome = run(request)
    if outcome.end is End.UNFINISHED:
        raise Preempted
    return outcome
