"""One job on a runner, watched from its start to its report, its limits, or the point where the fork engine has to take over."""

from __future__ import annotations

import contextlib
import select
from collections.abc import Callable
from dataclasses import dataclass

from sandbox.task import Limits
from sandbox.wire import End, Outcome
from sandbox.worker.engine import MOMENT_SECONDS, SupervisorGone
from sandbox.worker.inside import runner
from sandbox.worker.report import Report, read_report
from sandbox.worker.snapshot.calls import Calls, Decision
from sandbox.worker.snapshot.memory import Unrestorable
from sandbox.worker.snapshot.process import Rollback
from sandbox.worker.snapshot.suspended import Held
from sandbox.worker.snapshot.tracee import Stop

_SLICE_SECONDS = 0.25
"""How often a long phase lets the warden look whether anybody still waits for it."""
_STOP_SECONDS = 5.0


@dataclass(slots=True)
class Surroundings:
    """What an attempt needs to know besides its job. hang_up: whether the verifier is gone. meanwhile: called once if it takes long."""

    calls: Calls
    hang_up: select.poll
    meanwhile: Callable[[], None]


class Attempt:
    """A job on a runner. loaded: the puzzle is, before the job starts. before: CPU time and elapsed time in seconds that count for it already.

    spoilt: the runner must go. put_back: it has been. denied: the job was given up. timed_out: a time limit ended it.
    held: how it stood then, if it is `resumable` and can go on from there. used: CPU time and elapsed time in seconds, those before included.
    """

    __slots__ = (
        "_around", "_before", "_loaded", "_loading", "_resumable", "_room", "_stands", "denied", "held", "limits", "put_back",
        "runner", "spoilt", "timed_out", "used",
    )  # fmt: skip

    def __init__(
        self,
        around: Surroundings,
        back: Rollback,
        limits: Limits,
        loaded: bool = False,
        before: tuple[float, float] = (0.0, 0.0),
        resumable: bool = False,
    ) -> None:
        self._around, self.runner, self.limits, self._loaded = around, back, limits, loaded
        self.spoilt = self.put_back = self.denied = self.timed_out = self._loading = self._stands = False
        self._before, self.used, self._resumable = before, before, resumable
        self.held: Held | None = None
        self._room = limits.memory_bytes - runner.RESERVE_BYTES

    def load(self, job: bytes) -> bool:
        """Whether it stands now where the puzzle is loaded and the phase's own job is to come, and has left no trace elsewhere."""
        self._loading = True
        self._run(job)
        return self._stands and not self.spoilt and not self.runner.printed

    def run(self, job: bytes | Held) -> Outcome | None:
        """The outcome, or None if it can't be told here. One that was held goes on."""
        outcome = self._run(job)
        self.denied = outcome is None
        return outcome

    def _run(self, job: bytes | Held) -> Outcome | None:
        back = self.runner
        how = self.limits.output_bytes, min(self._left(), MOMENT_SECONDS)
        try:
            stop = back.take_up(job, *how) if isinstance(job, Held) else back.run(job, *how)
            if stop is Stop.DONE:
                self.put_back = True
                outcome: Outcome | None = read_report(back.report, self.limits.answer_bytes, self._loaded)
            else:
                outcome = self._watch(stop)
        except OSError:  # it has died
            self.spoilt, outcome = True, None
        self._look_at_clocks()
        return outcome

    def _look_at_clocks(self) -> None:
        (cpu_before, wall_before), (cpu, wall) = self._before, self.runner.used()
        self.used = cpu_before + cpu, wall_before + wall

    def _left(self) -> float:
        cpu, wall = self.used
        return max(0.0, min(self.limits.cpu_seconds - cpu, self.limits.wall_seconds - wall))

    def _watch(self, stop: Stop | None) -> Outcome | None:
        """What comes of a job that did not simply report within a moment. stop: what came within that."""
        back, around = self.runner, self._around
        report = Report(self.limits.answer_bytes, self._loaded)
        slice_seconds = MOMENT_SECONDS
        while True:
            if stop is Stop.REPORT:
                outcome = report.feed(back.report)
                if report.says_loaded:  # a runner never does: it was forged, and fork can tell what of it is true
                    return None
                if outcome is not None:
                    return None if report.out_of_memory else outcome
                back.take_report()
            elif stop is Stop.CALL:
                if self._loading and back.asks_for_job():
                    self._stands = not report.begun  # else every answer would have to begin with what the puzzle wrote
                    return None
                decision, self._room = around.calls.decide(back, self._room)
                if decision is Decision.REFUSED:
                    return None
                self.spoilt |= decision is Decision.GREW
            elif stop is Stop.INTERRUPT:  # asked for in the last job, which stopped by itself meanwhile
                back.tracee.resume()
            elif stop is not None:  # a fault of its own or a refused call, whose signal is dropped; or it is dead
                self.spoilt |= stop is Stop.DEAD
                return None
            elif around.hang_up.poll(0):
                raise SupervisorGone
            elif slice_seconds < _SLICE_SECONDS:
                slice_seconds = _SLICE_SECONDS
                around.meanwhile()
            self._look_at_clocks()
            if not (left := self._left()):
                return self._time_out(report)
            stop = back.wait(min(left, slice_seconds))

    def _time_out(self, report: Report) -> Outcome:
        self.timed_out = True
        self.runner.tracee.interrupt()
        stop = self.runner.wait(_STOP_SECONDS)
        if stop not in (Stop.INTERRUPT, Stop.CALL, Stop.REPORT):
            self.spoilt = True
        cpu, wall = self.used
        if self._resumable and stop is Stop.INTERRUPT and not (self.spoilt or report.begun):
            with contextlib.suppress(Unrestorable):
                self.held = self.runner.hold(self.used)
        return Outcome(End.CPU if cpu >= self.limits.cpu_seconds else End.WALL, observed=wall)
