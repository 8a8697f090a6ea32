"""One job on a snapshot process, from its start to its report, its limits, or the point where fork has to take over."""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Callable
from dataclasses import dataclass

from selftaught.sandbox.job import Turn
from selftaught.sandbox.outcome import End, Outcome
from selftaught.sandbox.task import Limits
from selftaught.sandbox.worker.engine import SLOW_PHASE_SECONDS, ClientGone, charged
from selftaught.sandbox.worker.fork.program import FLUSH_SECONDS
from selftaught.sandbox.worker.inside import ending
from selftaught.sandbox.worker.native.shared import Stop
from selftaught.sandbox.worker.report import Report, read_report
from selftaught.sandbox.worker.snapshot.calls import Calls
from selftaught.sandbox.worker.snapshot.memory import Unrestorable
from selftaught.sandbox.worker.snapshot.process import SnapshotProcess
from selftaught.sandbox.worker.snapshot.suspended import SuspendedJob

_CLIENT_SECONDS = 0.05
"""Seconds between looks whether the verifier still waits for a long phase, or has sent the next job."""
_STOP_SECONDS = 5.0


@dataclass(slots=True)
class Context:
    """What all attempts of an engine share.

    Attributes:
        calls: decides about system calls.
        client_poll: tells when the verifier has hung up, and, while a preemptible job runs, that the next has come.
        on_slow_phase: called once for each phase that takes long.
    """

    calls: Calls
    client_poll: select.poll
    on_slow_phase: Callable[[], None]


class Attempt:
    """A job on a snapshot process.

    Attributes:
        begun: CPU time and elapsed time in seconds from which on the limits count.
        must_replace: True if the process can't be used any more.
        restored: True if the process has been put back already.
        timed_out: True if a time limit, or the next job, interrupted this one.
        suspended: the job's state at that time, if it can be resumed.
        used: CPU time and elapsed time in seconds, with earlier parts of the job and its share of the supervisor's
            work.
    """

    __slots__ = (
        "_before", "_began", "_context", "_idle", "_paused", "_paused_ours", "_report", "_turn", "begun", "limits",
        "must_replace", "process", "restored",
        "suspended", "timed_out", "used",
    )  # fmt: skip

    def __init__(
        self,
        context: Context,
        process: SnapshotProcess,
        limits: Limits,
        before: tuple[float, float] = (0.0, 0.0),
        turn: Turn = Turn.WHOLE,
        max_message_bytes: int = 0,
    ) -> None:
        """Prepare the attempt; `run` or `go_on` starts it.

        Args:
            context: what all attempts of the engine share.
            process: the process, at its snapshot or running the job.
            limits: limits of the phase.
            before: CPU time and elapsed time in seconds of earlier parts of the job.
            turn: how long the job may run; it may be suspended unless that is `Turn.WHOLE`.
            max_message_bytes: largest message of a session; 0 for a job without messages.
        """
        self._context, self.process, self.limits = context, process, limits
        self.must_replace = self.restored = self.timed_out = False
        self._before, self.used, self._turn = before, before, turn
        self._began = time.thread_time()
        self._idle, self._paused, self._paused_ours, self.begun = 0.0, 0.0, 0.0, (0.0, 0.0)
        self._report = Report(max_message_bytes or limits.answer_bytes, has_messages=bool(max_message_bytes))
        self.suspended: SuspendedJob | None = None

    def run(self, job: bytes | SuspendedJob) -> Outcome | bytes | None:
        """Run a job, or resume a suspended one.

        Returns:
            Its outcome; a message, after which the job waits for `answer`; None if the outcome is unknown here.
        """
        process, print_limit, timeout = self.process, self.limits.output_bytes, min(self.left(), SLOW_PHASE_SECONDS)
        try:
            stop = (
                process.resume(job, print_limit, timeout)
                if isinstance(job, SuspendedJob)
                else process.run(job, print_limit, timeout)
            )
        except OSError:
            self.must_replace = True
            return None
        return self.go_on(stop)

    def answer(self, message: bytes) -> Outcome | bytes | None:
        """Answer a message. Return what `run` does."""
        self.discount(0.0)
        try:
            stop = self.process.answer(message, min(self.left(), SLOW_PHASE_SECONDS))
        except OSError:
            self.must_replace = True
            return None
        return self.go_on(stop)

    def discount(self, seconds: float) -> None:
        """Count time since the last stop as its own for so many seconds, and else as that of nobody."""
        self._idle += time.monotonic() - self._paused - seconds
        self._began += time.thread_time() - self._paused_ours

    def pause(self, seconds: float) -> None:
        """Do the same for a job that waits for `answer`."""
        self.discount(seconds)
        self._read_clocks()

    def begin(self) -> None:
        """Count time against the limits from zero again."""
        self.begun = self.used

    def go_on(self, stop: Stop) -> Outcome | bytes | None:
        """Do the same for a job that has been started; `stop` is what came of it so far."""
        outcome: Outcome | bytes | None
        try:
            if stop is Stop.DONE:
                self.restored = True
                outcome = read_report(self.process.report, self.limits.answer_bytes, loaded=False)
            else:
                outcome = self._watch(stop)
        except OSError:  # it has died
            self.must_replace, outcome = True, None
        self._read_clocks()
        return outcome

    def _read_clocks(self) -> None:
        """Set `used`, and when that was."""
        self._paused, self._paused_ours = now, ours = time.monotonic(), time.thread_time()
        (cpu_before, wall_before), (cpu, wall) = self._before, self.process.used(now)
        cpu += charged(ours - self._began, cpu)
        self.used = cpu_before + cpu, wall_before + wall - self._idle

    def left(self) -> float:
        """Return how many seconds it may run on."""
        cpu, wall = self.used[0] - self.begun[0], self.used[1] - self.begun[1]
        return max(0.0, min(self.limits.cpu_seconds - cpu, self.limits.wall_seconds - wall))

    def _watch(self, stop: Stop) -> Outcome | bytes | None:
        """Watch a job that did not simply report at once."""
        process, context, report = self.process, self._context, self._report
        client_seconds = SLOW_PHASE_SECONDS
        while True:
            if stop is Stop.REPORT:
                outcome = report.feed(process.report)
                if report.claims_loaded:  # our code never reports that here: it is forged, and fork can see the rest
                    return None
                if outcome is not None:
                    return None if report.out_of_memory else outcome
                process.take_report()
            elif stop is Stop.CALL:
                if (code := context.calls.exit_code(process)) is not None:
                    return Outcome(End.EXITED, observed=code)
                if not context.calls.allow(process):
                    return None
            elif stop is Stop.INTERRUPT:  # requested in the last job, which stopped by itself first
                process.tracee.resume()
            elif stop is not Stop.TIMEOUT:  # a fault or a refused call, whose signal is dropped; or it is dead
                self.must_replace |= stop is Stop.DEAD
                return None
            elif events := context.client_poll.poll(0):
                if events[0][1] & ~select.POLLIN:
                    raise ClientGone
                self._interrupt(report, is_end=False)
                return Outcome(End.UNFINISHED)
            elif client_seconds < _CLIENT_SECONDS:
                client_seconds = _CLIENT_SECONDS
                context.on_slow_phase()
            self._read_clocks()
            if not (left := self.left()):
                self._interrupt(report, is_end=not self._turn.is_slice)
                cpu, wall = self.used[0] - self.begun[0], self.used[1] - self.begun[1]
                return Outcome(End.CPU if cpu >= self.limits.cpu_seconds else End.WALL, observed=wall)
            stop = process.wait(min(left, client_seconds))

    def _interrupt(self, report: Report, is_end: bool) -> None:
        """Stop the job. At its end let a program flush, else suspend the job if it can be resumed."""
        self.timed_out = True
        self.process.tracee.interrupt()
        stop = self.process.wait(_STOP_SECONDS)
        if is_end and self.process.stdin_position is not None:
            stop = self._let_flush(stop)
        if stop not in (Stop.INTERRUPT, Stop.CALL, Stop.REPORT):
            self.must_replace = True
        resumable = self._turn is not Turn.WHOLE and not is_end
        if resumable and stop is Stop.INTERRUPT and not (self.must_replace or report.begun):
            with contextlib.suppress(Unrestorable):
                self.suspended = self.process.suspend(self.used)

    def _let_flush(self, stop: Stop) -> Stop:
        """Have a program that is at a time limit write what is in its buffers. Return how it stands still afterwards.

        It is replaced then: a signal handler ends by a call that sets the signal mask to what is in memory, and neither
        that nor the mask is put back.
        """
        process, until, begun = self.process, time.monotonic() + FLUSH_SECONDS, False
        self.must_replace = True
        os.kill(process.tracee.pid, ending.FLUSH)
        while (left := until - time.monotonic()) > 0:
            if stop is Stop.INTERRUPT:
                process.tracee.resume()
            elif stop is Stop.SIGNAL and not begun and process.tracee.signal() == ending.FLUSH:
                begun = True
                process.tracee.deliver(ending.FLUSH)
            elif stop is Stop.CALL and begun and self._context.calls.returns_from_handler(process):
                process.tracee.resume()
            elif (
                stop is not Stop.CALL
                or self._context.calls.exit_code(process) is not None
                or not self._context.calls.allow(process)
            ):
                break
            stop = process.wait(left)
        if stop is Stop.TIMEOUT:
            process.tracee.interrupt()
            stop = process.wait(_STOP_SECONDS)
        return stop
