"""The order of a task's phases, shared by the engines: solution, check of its answer, puzzle."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator

from selftaught.sandbox import codec, wire
from selftaught.sandbox.job import Job, Turn
from selftaught.sandbox.outcome import End, Outcome, Phase
from selftaught.sandbox.task import Limits
from selftaught.sandbox.time_slice import TimeSlice, seconds_needed
from selftaught.sandbox.worker.engine import Preempted, charged
from selftaught.sandbox.worker.judge import Judge
from selftaught.sandbox.worker.session import Open, Run

_CHECKED_BYTES = sys.maxsize if codec.IS_NATIVE else 1 << 20
"""Larger answers are checked only in the jail, by the process of phase `sat`, on the task's own CPU time: in Python a
forged one could cost the supervisor seconds.
"""

Step = tuple[Phase, bytes]
"""A phase to run, and its payload: source of the solution, encoding of the answer, or standard input of a program."""
Steps = Generator[Step, Outcome, list[Outcome]]
"""Yields steps, receives their outcomes, and returns the outcomes of the task: of both phases or of the one that
ended it.
"""


def steps_of(job: Job) -> Steps:
    """Return the steps of a task, or of a program."""
    if job.program:
        return [(yield Phase.RUN, job.sol)]
    first = yield Phase.SOL, job.sol
    answer = _answer(first, job.limits)
    if answer is None:
        return [first]
    second = yield Phase.SAT, answer
    second.payload = b""  # phase sat reports no answer: this one is forged
    return [first, second]


def _answer(outcome: Outcome, limits: Limits) -> bytes | None:
    """Return the answer for phase `sat`, or None if there is none.

    The outcome gets the answer's digest in place of the answer, and is charged for the time that the check takes.
    """
    if outcome.end is not End.ANSWER:
        return None
    answer, outcome.payload = outcome.payload, wire.digest(outcome.payload)
    began = time.thread_time()
    try:
        if len(answer) <= _CHECKED_BYTES:
            codec.check(answer, limits.answer_bytes)
    except codec.Malformed as error:
        outcome.end, outcome.detail, outcome.payload = End.DIED, f"malformed answer: {error}", b""
    outcome.cpu_seconds += charged(time.thread_time() - began, outcome.cpu_seconds)
    return answer if outcome.end is End.ANSWER else None


class TaskExecutor:
    """Runs one task after another on an engine.

    Attributes:
        time_slice: length of the slice that a phase of a sliced job gets.
    """

    def __init__(
        self,
        run_step: Callable[[Job, Step, Limits], Outcome],
        open_session: Open,
        run: Run,
        others_wait: Callable[[], bool],
    ) -> None:
        """Set how to run phases.

        Args:
            run_step: runs one step of a puzzle's or program's job within limits, to its end.
            open_session: opens a session.
            run: runs any phase to its end.
            others_wait: returns True if the next job has come.

        `run_step` and those of a session may raise Preempted.
        """
        self._run_step, self.time_slice = run_step, TimeSlice()
        self._judge = Judge(open_session, run, others_wait)

    def execute(self, job: Job) -> list[Outcome]:
        """Run a task. Return its outcomes.

        Raises:
            GivenUp: the fork engine must run it.
        """
        if not job.has_steps:
            return self._execute_cases(job)
        steps = steps_of(job)
        return self.go_on(job, steps, next(steps))

    def go_on(self, job: Job, steps: Steps, step: Step, outcome: Outcome | None = None) -> list[Outcome]:
        """Run the rest of a task.

        Args:
            job: the task. It ends `End.UNFINISHED` when its turn is over: `steps` then still stands at that step.
            steps: the task's steps.
            step: the step to run next.
            outcome: the outcome of that step, if it has been run already.

        Returns:
            The outcomes of the task.
        """
        while True:
            try:
                outcome = outcome or self._run_step(job, step, self.time_slice.limits(job))
            except Preempted:
                return [Outcome(End.UNFINISHED)]
            if outcome.end is End.UNFINISHED or self._expired(job, [outcome]):
                return [Outcome(End.UNFINISHED, engine=outcome.engine, wall_seconds=outcome.wall_seconds)]
            self.time_slice.phase_ended(outcome.cpu_seconds)
            try:
                step, outcome = steps.send(outcome), None
            except StopIteration as end:
                return list(end.value)

    def _execute_cases(self, job: Job) -> list[Outcome]:
        """Run a task with tests or cases. One whose turn is over is unfinished, and begins anew."""
        try:
            outcomes = self._judge.execute(job, self.time_slice.limits(job))
        except Preempted:
            return [Outcome(End.UNFINISHED)]
        if self._expired(job, outcomes):
            seconds = sum(outcome.wall_seconds for outcome in outcomes)
            return [Outcome(End.UNFINISHED, engine=outcomes[0].engine, wall_seconds=seconds)]
        self.time_slice.phase_ended(seconds_needed(job, outcomes))
        return outcomes

    def _expired(self, job: Job, outcomes: list[Outcome]) -> bool:
        """Return True if the job is unfinished since its slice is over, and adapt the slice to that."""
        late = next((outcome for outcome in outcomes if job.is_expired(outcome)), None)
        if late is not None and job.turn is Turn.SLICE:
            self.time_slice.phase_expired(waited=late.end is End.WALL and late.cpu_seconds < late.wall_seconds / 5)
        return late is not None
