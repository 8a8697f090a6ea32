"""One job on a snapshot process, watched from its start to its report, its limits, or the point where the fork engine has to take over."""

from __future__ import annotations

import contextlib
import select
import time
from collections.abc import Callable
from dataclasses import dataclass

from selftaught.sandbox.task import Limits
from selftaught.sandbox.wire import End, Outcome
from selftaught.sandbox.worker.engine import SLOW_PHASE_SECONDS, ClientGone, charged
from selftaught.sandbox.worker.inside import snapshot
from selftaught.sandbox.worker.jailed import peak_resident
from selftaught.sandbox.worker.native.shared import Stop
from selftaught.sandbox.worker.report import Report, read_report
from selftaught.sandbox.worker.snapshot.calls import Calls, Decision
from selftaught.sandbox.worker.snapshot.memory import Unrestorable
from selftaught.sandbox.worker.snapshot.process import SnapshotProcess
from selftaught.sandbox.worker.snapshot.suspended import SuspendedJob

_SLICE_SECONDS = 0.25
"""How often a long phase lets the supervisor look whether anybody still waits for it."""
_STOP_SECONDS = 5.0


@dataclass(slots=True)
class Context:
    """What an attempt needs to know besides its job. client_poll: whether the verifier is gone. meanwhile: called once if it takes long."""

    calls: Calls
    client_poll: select.poll
    on_slow_phase: Callable[[], None]


class Attempt:
    """A job on a snapshot process. before: CPU time and elapsed time in seconds that count for it already.

    spoilt: the process must go. put_back: it has been. timed_out: a time limit ended it. held: how it stood then, if it is `resumable` and can go on from
    there. used: CPU time and elapsed time in seconds, those before included, and what is `charged` of ours. peak_bytes: the largest resident size of one that is
    spoilt.
    """

    __slots__ = (
        "_before",
        "_began",
        "_context",
        "_resumable",
        "limits",
        "peak_bytes",
        "process",
        "put_back",
        "spoilt",
        "suspended",
        "timed_out",
        "used",
    )  # fmt: skip

    def __init__(
        self,
        context: Context,
        process: SnapshotProcess,
        limits: Limits,
        before: tuple[float, float] = (0.0, 0.0),
        resumable: bool = False,
    ) -> None:
        self._context, self.process, self.limits = context, process, limits
        self.spoilt = self.put_back = self.timed_out = False
        self._before, self.used, self._resumable = before, before, resumable
        self._began = time.thread_time()
        self.suspended: SuspendedJob | None = None
        self.peak_bytes = 0

    def run(self, job: bytes | SuspendedJob) -> Outcome | None:
        """The outcome, or None if it can't be told here. One that was held goes on."""
        process, print_limit, moment = self.process, self.limits.output_bytes, min(self._left(), SLOW_PHASE_SECONDS)
        try:
            stop = (
                process.resume(job, print_limit, moment)
                if isinstance(job, SuspendedJob)
                else process.run(job, print_limit, moment)
            )
        except OSError:
            self.spoilt = True
            return None
        return self.go_on(stop)

    def go_on(self, stop: Stop) -> Outcome | None:
        """The same for a job that has been started; `stop` is what came of it within a moment."""
        try:
            if stop is Stop.DONE:
                self.put_back = True
                outcome = read_report(self.process.report, self.limits.answer_bytes, loaded=False)
            else:
                outcome = self._watch(stop)
        except OSError:  # it has died
            self.spoilt, outcome = True, None
        self._look_at_clocks()
        if self.spoilt:
            self.peak_bytes = peak_resident(self.process.tracee.pid)
        return outcome

    def _look_at_clocks(self) -> None:
        (cpu_before, wall_before), (cpu, wall) = self._before, self.process.used()
        self.used = cpu_before + cpu + charged(time.thread_time() - self._began, cpu), wall_before + wall

    def _left(self) -> float:
        cpu, wall = self.used
        return max(0.0, min(self.limits.cpu_seconds - cpu, self.limits.wall_seconds - wall))

    def _watch(self, stop: Stop) -> Outcome | None:
        """What comes of a job that did not simply report within a moment."""
        process, context = self.process, self._context
        report = Report(self.limits.answer_bytes)
        slice_seconds = SLOW_PHASE_SECONDS
        while True:
            if stop is Stop.REPORT:
                outcome = report.feed(process.report)
                if report.claims_loaded:  # it never does: it was forged, and fork can tell what of it is true
                    return None
                if outcome is not None:
                    return None if report.out_of_memory else outcome
                process.take_report()
            elif stop is Stop.CALL:
                decision = context.calls.decide(process, self.limits.memory_bytes - snapshot.RESERVE_BYTES)
                if decision is Decision.REFUSED:
                    return None
                self.spoilt |= decision is Decision.GREW
            elif stop is Stop.INTERRUPT:  # asked for in the last job, which stopped by itself meanwhile
                process.tracee.resume()
            elif (
                stop is not Stop.TIMEOUT
            ):  # a fault of its own or a refused call, whose signal is dropped; or it is dead
                self.spoilt |= stop is Stop.DEAD
                return None
            elif context.client_poll.poll(0):
                raise ClientGone
            elif slice_seconds < _SLICE_SECONDS:
                slice_seconds = _SLICE_SECONDS
                context.on_slow_phase()
            self._look_at_clocks()
            if not (left := self._left()):
                return self._time_out(report)
            stop = process.wait(min(left, slice_seconds))

    def _time_out(self, report: Report) -> Outcome:
        self.timed_out = True
        self.process.tracee.interrupt()
        stop = self.process.wait(_STOP_SECONDS)
        if stop not in (Stop.INTERRUPT, Stop.CALL, Stop.REPORT):
            self.spoilt = True
        cpu, wall = self.used
        if self._resumable and stop is Stop.INTERRUPT and not (self.spoilt or report.begun):
            with contextlib.suppress(Unrestorable):
                self.suspended = self.process.suspend(self.used)
        return Outcome(End.CPU if cpu >= self.limits.cpu_seconds else End.WALL, observed=wall)
