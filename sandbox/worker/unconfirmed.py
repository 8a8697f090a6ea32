"""What a runner has told since a comparison last found it unchanged: judged again by the other engine if the next one finds a difference."""

from __future__ import annotations

import time
from itertools import chain

from sandbox.task import Limits
from sandbox.wire import End, Outcome, unpack_job
from sandbox.worker.engine import Engine, Phase
from sandbox.worker.phase import SAT, SOL

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
        self._tasks: list[tuple[bytes, bytes, int]] = []
        self._bytes = 0

    def add(self, phase: Phase, sat: bytes, payload: bytes, limits: Limits, seed: int, outcome: Outcome) -> None:
        """Keep a phase that was told."""
        self._told.append((phase, sat, payload, limits, seed, outcome.end, outcome.payload))
        self._bytes += len(sat) + len(payload) + len(outcome.payload)

    def add_task(self, task: bytes, answer: bytes, end: int) -> None:
        """Keep both phases of a task, packed: what the first answered, and how the second ended."""
        self._tasks.append((task, answer, end))
        self._bytes += len(task) + len(answer)

    @property
    def full(self) -> bool:
        """Whether a comparison is due for lack of room."""
        return self._bytes > ROOM_BYTES

    def judge_again(self, engine: Engine) -> int:
        """How many come out otherwise on this engine, which chance may explain too; those that there was no time for count as well.
        Forgets them. Raises as `Engine.run` does."""
        told, until, same = [*self._told, *chain.from_iterable(map(_phases, self._tasks))], time.monotonic() + _SECONDS, 0
        self.confirm()
        for phase, sat, payload, limits, seed, end, answer in told:
            if time.monotonic() > until:
                break
            again = engine.run(phase, sat, payload, limits, seed)
            same += (again.end, again.payload) == (end, answer)
        return len(told) - same


def _phases(told: tuple[bytes, bytes, int]) -> tuple[_Told, _Told]:
    """Both phases of a task."""
    task, answer, end = told
    job = unpack_job(task)
    return (SOL, job.sat, job.sol, job.limits, job.seed, End.ANSWER, answer), (SAT, job.sat, answer, job.limits, job.seed, end, b"")
