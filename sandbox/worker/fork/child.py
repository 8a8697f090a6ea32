"""One child of the zygote: from the byte that makes the zygote fork until the supervisor has reaped it."""

from __future__ import annotations

import os
import resource
import select
import signal
import time
from typing import TYPE_CHECKING

from selftaught.sandbox import wire
from selftaught.sandbox.errors import WorkerFailed
from selftaught.sandbox.jail import seccomp
from selftaught.sandbox.outcome import End, Outcome
from selftaught.sandbox.worker.engine import SLOW_PHASE_SECONDS, ClientGone, Preempted, charged
from selftaught.sandbox.worker.fork import exit_status
from selftaught.sandbox.worker.fork.channel import Channel
from selftaught.sandbox.worker.fork.scratch import WRITERS
from selftaught.sandbox.worker.fork.sending import Sending
from selftaught.sandbox.worker.fork.streams import Streams
from selftaught.sandbox.worker.fork.threads import Threads
from selftaught.sandbox.worker.inside import zygote
from selftaught.sandbox.worker.jailed import status_bytes
from selftaught.sandbox.worker.report import Report
from selftaught.sandbox.worker.session import OVERHEAD_BYTES, Clock, Relayed, Request, Session

if TYPE_CHECKING:
    from selftaught.sandbox.worker.fork.engine import ForkEngine

_QUIET_ROUNDS = 4
"""More wake-ups than an ordinary phase causes. After them each wake-up checks the clocks, so that a flood can't
delay it.
"""

_SPAWN_SECONDS = 5.0
"""Seconds a child may take to get ready, whatever its limits: it reads the job first, and a time slice can be
shorter.
"""

_UNSEEN_BYTES = seccomp.BIG_BYTES + (8 << 20)
"""How far below the limit the peak may be if the kernel refused a request too small for the filter to pass on."""


class Child:
    """A child that runs one phase. With messages it is a `Session`; others only get `execute` called."""

    def __init__(
        self, engine: ForkEngine, request: Request, streams: Streams | None = None, channel: Channel | None = None
    ) -> None:
        """Prepare the child.

        Args:
            engine: the engine, which shares its jailed processes and its poll object.
            request: the phase.
            streams: standard streams of a program, which makes no report.
            channel: pipes of any other phase.
        """
        self.engine, self.jailed, self.streams, self.channel = engine, engine.jailed, streams, channel
        self.request, self.limits = request, request.limits
        self.cap = self.jailed.base_bytes + self.limits.memory_bytes
        self.pid, self.pidfd = 0, -1
        self.threads = Threads(0, 0)
        self._own_signals: set[int] = set()
        self.forked = self._reaped = self._closed = False
        self._sending = Sending(engine.poll)
        self.refused_bytes = self._printed = self._peak = 0
        self._has_messages = channel is not None and channel.requests >= 0
        most = self.limits.answer_bytes + (OVERHEAD_BYTES + self.limits.output_bytes) * self._has_messages
        self._report = Report(most, has_messages=self._has_messages)
        self._report_fd, self._output_fd = (channel.report, channel.output) if channel else (-1, -1)
        self._clock = Clock()
        self._begun = self._lapped = (0.0, 0.0)
        self.outcome: Outcome | None = None
        self._cpu_at_limit = 0.0
        self._message: bytes | None = None

    def execute(self) -> Outcome:
        """Run the phase to its end."""
        try:
            outcome = self.start()
        finally:
            self._close_channel()
        if isinstance(outcome, Outcome):
            return outcome
        raise WorkerFailed("a phase without messages sent one")  # never: its report admits none

    def start(self) -> bytes | Outcome:
        """See `Session.start`."""
        self._clock.go()
        self.engine.spawning = self
        self.jailed.fork(zygote.PHASE)
        self._sending.begin(self.jailed.job, self.request.pack(self.cap))
        return self._take_turn()

    def send(self, message: bytes) -> bytes | Outcome:
        """See `Session.send`."""
        if self.channel is None or not self._has_messages:
            raise WorkerFailed("a phase without messages was sent one")
        self._clock.go()
        self._sending.begin(self.channel.requests, wire.frame(message))
        return self._take_turn()

    def relay(self, solution: Session, case: int) -> Relayed | None:
        """See `Session.relay`."""
        return None

    def begin(self) -> None:
        """See `Session.begin`."""
        self._begun = self._cpu(), self._clock.wall

    def lap(self) -> Outcome:
        """See `Session.lap`."""
        cpu, wall = self._cpu(), self._clock.wall
        (cpu_before, wall_before), self._lapped = self._lapped, (cpu, wall)
        return Outcome(
            End.ACCEPTED,
            cpu_seconds=max(0.0, cpu - cpu_before),
            wall_seconds=wall - wall_before,
            engine=self.engine.name,
            phase=self.request.phase,
        )

    def close(self) -> int:
        """See `Session.close`."""
        if self.pid and not self._reaped:
            _, usage = self._reap()
            self._peak = usage.ru_maxrss * 1024
        self._close_channel()
        return self._peak

    def _close_channel(self) -> None:
        if self.channel is not None and not self._closed:
            self.channel.close()
            self._closed = True
            if self.request.phase in WRITERS:
                self.jailed.scratch.empty()

    def _take_turn(self) -> bytes | Outcome:
        """Watch the child until it sends a message or its phase ends."""
        watched = self._watched()
        for descriptor in watched:
            self.engine.poll.register(descriptor, select.POLLIN)
        try:
            self._watch()  # an exception from it ends the worker, and with it the child
            if self.outcome is None and self._message is not None:
                self._check_time()  # `_watch` does when a turn is long: a phase may have many short ones
            if self.outcome is not None and self.outcome.end is not End.UNFINISHED:
                self._end_at_limit()
        finally:
            self._sending.stop()
            for descriptor in (*watched, *((self.pidfd,) if self.pidfd >= 0 else ())):
                self._unregister(descriptor)
        self._clock.stop()
        if self.outcome is None and self._message is not None:
            message, self._message = self._message, None
            return message
        outcome = self._finish()
        if outcome.end is End.UNFINISHED:
            raise Preempted
        return outcome

    def _watched(self) -> list[int]:
        """Return the descriptors to watch from the beginning of a turn."""
        watched = [self.channel.report, self.channel.output] if self.channel else []
        return [*watched, self.pidfd] if self.pidfd >= 0 else watched

    def _unregister(self, descriptor: int) -> None:
        try:
            self.engine.poll.unregister(descriptor)
        except KeyError:  # a stream that has ended
            pass

    def _finish(self) -> Outcome:
        """Reap the child and return the outcome of its phase."""
        limits, request = self.limits, self.request
        died, usage = self._reap()
        self._clock.stop()
        cpu = usage.ru_utime + usage.ru_stime
        outcome = self.outcome or self._died(died, cpu)
        if self._printed > limits.output_bytes and outcome.end > End.OUTPUT:  # the rest was in the pipe until now
            outcome = Outcome(End.OUTPUT, observed=float(self._printed))
        peak = self._peak = usage.ru_maxrss * 1024
        outcome = self._explain(outcome, peak)
        cpu += charged(self._clock.ours, cpu)
        if (
            used := (self._cpu_at_limit or cpu) - self._begun[0]
        ) > limits.cpu_seconds and outcome.end is not End.FORBIDDEN:
            outcome.end, outcome.detail, outcome.payload = End.CPU, "", b""
        if outcome.end is End.CPU:
            outcome.observed = max(used, limits.cpu_seconds)
        outcome.cpu_seconds = max(0.0, cpu - self._lapped[0])
        outcome.wall_seconds = self._clock.wall - self._lapped[1]
        outcome.peak_memory_bytes, outcome.phase = peak, request.phase
        return outcome

    def _end_at_limit(self) -> None:
        """Do what a child may still do that is to be killed: nothing."""

    def _explain(self, outcome: Outcome, peak: int) -> Outcome:
        """Return that outcome, or that memory was lacking if the kernel's figures confirm it."""
        if outcome.end is End.DIED and -outcome.observed in exit_status.CRASHES and peak >= self.limits.memory_bytes:
            return Outcome(End.MEMORY, outcome.detail, observed=float(peak))
        return outcome

    def refuse(self, call: seccomp.Call, reason: str) -> None:
        """End the phase at a call that is forbidden."""
        self.outcome = Outcome(End.FORBIDDEN, reason)

    def look_at_size(self) -> None:
        """Note how large the child has been, at a call that shows nothing else: only programs make it for that."""

    def _watch(self) -> None:
        """Serve events until there is a message or an outcome, or the child has died."""
        engine, rounds, waited, dead = self.engine, 0, False, False
        while self.outcome is None and self._message is None:
            timeout = self._time_left()
            if not waited and timeout > SLOW_PHASE_SECONDS:
                timeout = SLOW_PHASE_SECONDS
            events = engine.poll.poll(timeout * 1000 + 1)
            rounds += 1
            if not events and not waited:
                waited = True
                engine.on_slow_phase()
            if not events or rounds > _QUIET_ROUNDS:
                self._check_time()
            for descriptor, event in events:
                if descriptor == self.jailed.listener.descriptor:
                    if self.outcome is None:  # else it waits for `_end_at_limit`
                        engine.receive_call()
                elif descriptor == self._report_fd:
                    self._read_report()
                elif descriptor == self._output_fd:
                    self._read_output()
                elif descriptor == self._sending.descriptor:
                    self._sending.go_on()
                elif descriptor == self.pidfd:
                    dead = True
                elif self.streams is not None and descriptor in self.streams.open:
                    self._read_stream(descriptor)
                elif descriptor == engine.client:
                    self._receive_from_client(event)
                elif event and descriptor == self.jailed.pidfd:
                    raise WorkerFailed("the zygote died")
            if dead:
                if self._message is None and self.channel is not None:
                    self._read_report()
                return

    def _receive_from_client(self, event: int) -> None:
        """The next job has come, which preempts this phase as soon as its child is ready; or the verifier is gone."""
        if event & ~select.POLLIN:
            raise ClientGone
        if self.pid:
            self.outcome = Outcome(End.UNFINISHED)

    def _time_left(self) -> float:
        """Return the seconds until a limit can be reached at the earliest."""
        left = self._wall_limit() - self._wall()
        if self.pid:
            left = min(left, self.limits.cpu_seconds - (self._cpu() - self._begun[0]))
        return max(left, 0.0)

    def _wall_limit(self) -> float:
        """Return the limit of elapsed time that applies now."""
        return self.limits.wall_seconds if self.pid else max(self.limits.wall_seconds, _SPAWN_SECONDS)

    def _wall(self) -> float:
        return self._clock.read()[0] - self._begun[1]

    def _cpu(self) -> float:
        """Return the child's CPU time so far, with the share of our own that it is charged for.

        The clock: man 2 clock_getres, "CPU-time clocks of another process".
        """
        try:
            cpu = time.clock_gettime((~self.pid << 3) | 2)
        except OSError:
            return 0.0  # it has just died
        return cpu + charged(self._clock.read()[1], cpu)

    def _check_time(self) -> None:
        wall = self._wall()
        if self.pid and self._cpu() - self._begun[0] >= self.limits.cpu_seconds:
            self.outcome = Outcome(End.CPU)
        elif wall >= self._wall_limit():
            if not self.pid:
                raise WorkerFailed("no child became ready in time")
            self.outcome = Outcome(End.WALL, observed=wall)

    def adopt(self, call: seccomp.Call, number: int) -> None:
        """Note this child, which is ready, give it its own descriptors, and let it go.

        Args:
            call: its ready call.
            number: what it will be told as its process id.
        """
        self.pid = call.pid
        self.threads = Threads(call.pid, number)
        self.jailed.children.add(call.pid)
        self.engine.children[call.pid] = self
        self.engine.spawning = None
        self.pidfd = os.pidfd_open(call.pid)
        self.engine.poll.register(self.pidfd, select.POLLIN)
        if self.streams is not None:
            self.streams.install(self.jailed.listener, call)
            for descriptor in self.streams.open:
                self.engine.poll.register(descriptor, select.POLLIN)
        if self.channel is not None:
            self.channel.install(self.jailed.listener, call)
        self.jailed.listener.allow(call)

    def signal(self, number: int) -> None:
        """Send the child a signal that it has asked for."""
        self._own_signals.add(number)
        os.kill(self.pid, number)

    def _read_report(self) -> None:
        """Read what the child has reported. A complete report is the outcome."""
        try:
            while data := os.read(self._report_fd, 1 << 20):
                self._feed(data)
                if self.outcome is not None or self._message is not None or len(data) < 65536:
                    return
        except BlockingIOError:
            return
        self._unregister(self._report_fd)  # the child has closed it

    def _feed(self, data: bytes) -> None:
        found = self._report.feed(data)
        if found is None:
            return
        if self._report.out_of_memory and (peak := self.memory_reached()):
            detail = found[1:].decode("utf-8", "replace") if isinstance(found, bytes) else found.detail
            found = Outcome(End.MEMORY, detail, observed=peak - self.jailed.base_bytes)
        if isinstance(found, bytes):
            self._message = found
        else:
            self.outcome = found

    def memory_reached(self) -> int:
        """Return the size that the child had or requested, in bytes, if the kernel's figures confirm that it hit the
        limit.
        """
        peak = status_bytes(self.pid, b"VmPeak:")
        if peak + _UNSEEN_BYTES > self.cap:
            peak = max(peak, self.cap)
        else:
            peak = 0
        return max(peak, self.refused_bytes)

    def _read_output(self) -> None:
        try:
            data = os.read(self._output_fd, 1 << 20)
        except BlockingIOError:
            return
        if not data:
            self._unregister(self._output_fd)  # the child has closed it
        self._printed += len(data)
        if self._printed > self.limits.output_bytes and self.outcome is None:
            self.outcome = Outcome(End.OUTPUT, observed=float(self._printed))

    def _read_stream(self, descriptor: int) -> None:
        if self.streams is not None and not self.streams.read(descriptor):
            self._unregister(descriptor)

    def _reap(self) -> tuple[int, resource.struct_rusage]:
        """Kill and reap the child and empty its pipes, so that nothing of it reaches the next child."""
        self._reaped = True
        os.kill(self.pid, signal.SIGKILL)
        _, status, usage = os.wait4(self.pid, 0)
        self.jailed.children.discard(self.pid)
        self.engine.children.pop(self.pid, None)
        self._unregister(self.pidfd)
        os.close(self.pidfd)
        if self.streams is not None:
            for stream in self.streams.open:  # no writer is left: read to the end of file
                while stream in self.streams.open:
                    self._read_stream(stream)
        if len(self._sending.left) and self._sending.descriptor == self.jailed.job:
            raise WorkerFailed("the child died before it had read its job")
        self._sending.stop()
        while data := self._leftover():
            descriptor, content = data
            if descriptor == self._output_fd:
                self._printed += len(content)
            elif self.outcome is None and self._message is None:
                self._feed(content)
        return status, usage

    def _leftover(self) -> tuple[int, bytes] | None:
        """Return a pipe of the child and what is left in it; None if both are empty."""
        for descriptor in (self._report_fd, self._output_fd) if self.channel else ():
            try:
                if content := os.read(descriptor, 1 << 20):
                    return descriptor, content
            except BlockingIOError:
                continue
        return None

    def _died(self, status: int, cpu_seconds: float) -> Outcome:
        """Return the outcome of a child that ended without a report."""
        if outcome := exit_status.outcome_of(status, self._own_signals, self.streams is not None):
            return outcome
        if self.engine.oom_killed():
            return Outcome(End.MEMORY, "killed by the kernel", observed=float(self.limits.memory_bytes))
        if os.WTERMSIG(status) == signal.SIGKILL and cpu_seconds - self._begun[0] < self.limits.cpu_seconds:
            raise WorkerFailed("the child was killed from outside")  # it did not do that itself
        return exit_status.by_signal(status)
