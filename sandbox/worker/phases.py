"""The order of a judgement: the solution, the check of its answer, the puzzle. Every engine takes it from here."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator

from selftaught.sandbox import codec, wire
from selftaught.sandbox.task import Limits
from selftaught.sandbox.time_slice import TimeSlice
from selftaught.sandbox.wire import End, Job, Outcome, Phase
from selftaught.sandbox.worker.engine import charged

_CHECKED_BYTES = sys.maxsize if codec.IS_NATIVE else 1 << 20
"""Larger answers are checked by the judge's process alone, in the jail and on its CPU time: forged ones could cost us seconds in Python."""

Step = tuple[Phase, bytes]
"""A phase that is to be run now, and its payload: the solution's source, an answer's bytes, or what a program reads."""
Steps = Generator[Step, Outcome, list[Outcome]]
"""Gives steps, wants their outcomes, and returns those of the task: of both phases, or of the one that ended it."""


def steps_of(job: Job) -> Steps:
    """The steps of a task, or of a program."""
    if job.program:
        return [(yield Phase.RUN, job.sol)]
    first = yield Phase.SOL, job.sol
    answer = _answer(first, job.limits)
    if answer is None:
        return [first]
    second = yield Phase.SAT, answer
    second.payload = b""  # an answer from there is forged: nobody wants it
    return [first, second]


def _answer(outcome: Outcome, limits: Limits) -> bytes | None:
    """The answer, if there is one to ask the puzzle about; in its place comes its digest, and the time that a large one took us to check is charged."""
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
    """The trials that one engine holds. run: a step of a job within limits, to its end."""

    def __init__(self, run: Callable[[Job, Step, Limits], Outcome]) -> None:
        self._run, self.time_slice = run, TimeSlice()

    def execute(self, job: Job) -> list[Outcome]:
        """The outcomes of a task."""
        steps = steps_of(job)
        return self.go_on(job, steps, next(steps))

    def go_on(self, job: Job, steps: Steps, step: Step, outcome: Outcome | None = None) -> list[Outcome]:
        """The outcomes of a task whose trial stands at this step; `outcome` is that step's, if it is known.

        One that is only given a time slice only may be left unfinished: then the trial stands where it was.
        """
        while True:
            outcome = outcome or self._run(job, step, self.time_slice.limits(job))
            if job.sliced and outcome.end in (End.CPU, End.WALL):
                self.time_slice.phase_expired()
                outcome.end = End.UNFINISHED
                return [outcome]
            self.time_slice.phase_ended(outcome.cpu_seconds)
            try:
                step, outcome = steps.send(outcome), None
            except StopIteration as end:
                return list(end.value)
