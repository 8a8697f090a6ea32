"""What becomes of the tasks that a warden is sent: the phases that each needs, run by an engine, one after the other or many together."""

from __future__ import annotations

import time
from collections.abc import Iterator

from sandbox import codec, wire
from sandbox.brief import BriefTime
from sandbox.wire import End, Job, Outcome
from sandbox.worker.engine import MOMENT_SECONDS, Engine, Phase
from sandbox.worker.inside.phase import RUN, SAT, SOL

_CHECKED_BYTES = 1 << 20
"""Larger answers are checked by the judge's process alone, in the jail and on its CPU time: forged ones could cost us seconds."""


class Trials:
    """The trials that one engine holds."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._brief = engine, BriefTime()

    def hold(self, frames: bytes) -> Iterator[bytes]:
        """Judge the tasks in these frames, or run programs: frames of the outcomes, with the digest of an answer in its place."""
        while frames:
            judged = self._engine.judge(frames)
            frames = frames[judged.taken :]
            if judged.tasks:
                self._brief.was_enough(MOMENT_SECONDS, 2 * judged.tasks)
                yield judged.told
            if frames and not judged.more:
                alike, frames = wire.first_alike(frames, alone=judged.begun)
                for outcomes in self._hold_alike(alike):
                    yield wire.frame(wire.pack_counters(self._engine.counters) + outcomes)

    def _hold_alike(self, tasks: list[bytes]) -> Iterator[bytes]:
        """The same for tasks that differ in their solutions alone: as many answers as come within a moment are checked together."""
        jobs = [wire.unpack_job(task) for task in tasks]
        while jobs:
            job = jobs[0]
            if job.program:
                yield wire.pack_outcomes([self._engine.run(RUN, job.sat, job.sol, job.limits, job.seed)])
                jobs = jobs[1:]
                continue
            answered = self._solve(jobs)
            times = sum(answer is not None for _, answer in answered)
            self._engine.prepare(SAT, job.sat, self._brief.limits(job), job.seed, times)
            for outcome, answer in answered:
                yield wire.pack_outcomes([outcome] if answer is None else [outcome, self._run(SAT, job, answer)])
            jobs = jobs[len(answered) :]

    def _solve(self, jobs: list[Job]) -> list[tuple[Outcome, bytes | None]]:
        """The outcomes of phase ``sol`` and the answers, of the first job and of what more comes within a moment."""
        answered, size, until = [], 0, time.monotonic() + MOMENT_SECONDS
        self._engine.prepare(SOL, jobs[0].sat, self._brief.limits(jobs[0]), jobs[0].seed, len(jobs))
        for job in jobs:
            outcome, answer = self._answer(job)
            answered.append((outcome, answer))
            size += len(answer or b"")
            if time.monotonic() > until or size > _CHECKED_BYTES:
                break
        return answered

    def _answer(self, job: Job) -> tuple[Outcome, bytes | None]:
        """The outcome of phase ``sol`` with the answer's digest, and the answer if there is one to ask the puzzle about."""
        outcome = self._run(SOL, job, job.sol)
        if outcome.end is not End.ANSWER:
            return outcome, None
        answer, outcome.payload = outcome.payload, wire.digest(outcome.payload)
        try:
            if len(answer) <= _CHECKED_BYTES:
                codec.check(answer, job.limits.answer_bytes)
        except codec.Malformed as error:
            outcome.end, outcome.detail, outcome.payload = End.DIED, f"malformed answer: {error}", b""
            return outcome, None
        return outcome, answer

    def _run(self, phase: Phase, job: Job, payload: bytes) -> Outcome:
        """One phase; if it is tried briefly, it may be left unfinished."""
        outcome = self._engine.run(phase, job.sat, payload, self._brief.limits(job), job.seed, resumable=job.brief)
        if phase == SAT:
            outcome.payload = b""  # an answer from there is forged: nobody wants it
        if job.brief and outcome.end in (End.CPU, End.WALL):
            outcome.end = End.UNFINISHED
            self._brief.was_too_short()
        else:
            self._brief.was_enough(outcome.cpu_seconds)
        return outcome
