"""What a runner has told since a comparison last found it unchanged: judged again by the other engine if the next one finds a difference."""

from __future__ import annotations

import time
from collections.abc import Iterator

from sandbox import wire
from sandbox.task import Limits
from sandbox.wire import Job, Outcome
from sandbox.worker.engine import Engine, Phase
from sandbox.worker.inside.phase import SAT, SOL

ROOM_BYTES = 16 << 20
"""Of sources and answers that are kept: with more there is to be a comparison at once."""
_SECONDS = 5.0
"""For judging again, while the phase at hand waits; the last one may end later. Less than the verifier grants a worker beyond its limits."""
_Told = tuple[Phase, bytes, bytes, Limits, int, int, bytes]
"""A phase as it was run, how it ended, and what it answered."""


class Unconfirmed:
    """The phases of one runner, and how they ended."""

    def __init__(self) -> None:
        self.confirm()

    def confirm(self) -> None:
        """A comparison found no difference, or there is nothing left to compare."""
        self._told: list[_Told] = []
        self._tasks: list[tuple[bytes, bytes]] = []
        self._bytes = 0

    def add(self, phase: Phase, sat: bytes, payload: bytes, limits: Limits, seed: int, outcome: Outcome) -> None:
        """Keep a phase that was told."""
        self._told.append((phase, sat, payload, limits, seed, outcome.end, outcome.payload))
        self._bytes += len(sat) + len(payload) + len(outcome.payload)

    def add_tasks(self, frames: bytes, told: bytes) -> None:
        """Keep both phases of tasks, in the frames in which they came, and their outcomes, in those in which they go."""
        self._tasks.append((frames, told))
        self._bytes += len(frames) + len(told)

    @property
    def full(self) -> bool:
        """Whether a comparison is due for lack of room."""
        return self._bytes > ROOM_BYTES

    def judge_again(self, engine: Engine) -> int:
        """How many phases come out otherwise on this engine, which chance may explain too; those that there was no time for count as well.
        Forgets them. Raises as `Engine.run` does."""
        told, tasks, until = self._told, self._tasks, time.monotonic() + _SECONDS
        self.confirm()
        same, number = 0, len(told)
        for phase, sat, payload, limits, seed, end, answer in told:
            if time.monotonic() < until:
                again = engine.run(phase, sat, payload, limits, seed)
                same += (again.end, again.payload) == (end, answer)
        for task, outcomes in _pairs(tasks):
            number += len(outcomes)
            if time.monotonic() < until:
                same += _as_before(engine, wire.unpack_job(task), outcomes)
        return number - same


def _pairs(tasks: list[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, list[Outcome]]]:
    """Tasks and their outcomes."""
    for frames, told in tasks:
        for task, outcomes in zip(wire.cut(frames), wire.cut(told), strict=True):
            yield task, wire.unpack_told(outcomes)[0]


def _as_before(engine: Engine, job: Job, outcomes: list[Outcome]) -> int:
    """How many phases of a task end as they did, up to the first that does not. In place of an answer there is its digest."""
    first, second = outcomes
    again = engine.run(SOL, job.sat, job.sol, job.limits, job.seed)
    if (again.end, wire.digest(again.payload)) != (first.end, first.payload):
        return 0
    return 1 + (engine.run(SAT, job.sat, again.payload, job.limits, job.seed).end == second.end)
