"""The fork engine: each phase runs in a new fork of the zygote.

How a phase starts. The supervisor writes one byte to the zygote and the job to the job pipe. The zygote reads the
byte and calls clone, which the filter does not allow, so the call waits for the supervisor. The supervisor lets it
pass because a child is due and the caller is the zygote. The child (the supervisor's own, by CLONE_PARENT) reads the
job, closes both pipes, sets its limits and calls prctl for its death signal. The filter does not allow that call
either, so the supervisor learns from the kernel that the child is ready, and its process id. From then on the next
call that reaches the supervisor ends the phase.

What the supervisor trusts: that process id, the child's CPU clock, its resource usage when it is reaped, the kernel's
counts of its memory, and how it died. The first complete report ends the phase. Before the next fork the supervisor
kills and reaps the child and empties both pipes.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import time
from collections.abc import Callable, Iterator

from selftaught.sandbox import wire
from selftaught.sandbox.errors import WorkerFailed
from selftaught.sandbox.jail import seccomp
from selftaught.sandbox.task import Limits
from selftaught.sandbox.wire import Counters, End, Job, Outcome, Phase
from selftaught.sandbox.worker.engine import SLOW_PHASE_SECONDS, ClientGone, charged, do_nothing
from selftaught.sandbox.worker.fork.streams import Streams
from selftaught.sandbox.worker.inside import zygote
from selftaught.sandbox.worker.jailed import JailedProcesses, address_space, status_bytes
from selftaught.sandbox.worker.phases import Step, TaskExecutor
from selftaught.sandbox.worker.report import Report

_ABORT = 6
_NUMBERS_BEFORE = 1
"""The supervisor answers getpid with this plus the phase's number: never 1, and different in `sol` and `sat`."""
_CRASHES = signal.SIGSEGV, signal.SIGBUS, _ABORT
"""Signals by which the interpreter dies if it can't allocate a MemoryError, or can't grow its stack."""
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


class ForkEngine:
    """Runs each phase in a new fork of the zygote. Implements `Engine`."""

    name = "fork"

    def __init__(self, jailed: JailedProcesses, client: int, oom_kills: Callable[[], int]) -> None:
        """Watch the pipes of the jailed processes.

        Args:
            jailed: the jailed processes, already inside the jail. The engine closes them.
            client: descriptor of the connection to the verifier; the engine stops with ClientGone when it hangs up.
            oom_kills: returns how many processes the kernel has killed for lack of memory so far.
        """
        self.jailed = jailed
        self.counters = Counters()
        self.on_slow_phase: Callable[[], None] = do_nothing
        self._prctl, self._mmap, self._mremap = (jailed.number(name) for name in ("prctl", "mmap", "mremap"))
        self._tgkill = jailed.number("tgkill")
        self._executor = TaskExecutor(self._run_step)
        self._answered = [jailed.number(name) for name in seccomp.ANSWERED]
        self._oom_kills, self._kills_seen = oom_kills, 0
        self._client = client
        self._poll = select.poll()
        for descriptor in (jailed.listener.descriptor, jailed.report, jailed.output, jailed.pidfd):
            self._poll.register(descriptor, select.POLLIN)
        self._poll.register(client, select.POLLRDHUP)
        self._leftovers = select.poll()
        self._leftovers.register(jailed.report, select.POLLIN)
        self._leftovers.register(jailed.output, select.POLLIN)

    def execute(self, frames: bytes) -> Iterator[bytes]:
        """See `Engine.execute`."""
        for task in wire.cut(frames):
            yield wire.frame(
                wire.pack_counters(self.counters) + wire.pack_outcomes(self._executor.execute(wire.unpack_job(task)))
            )

    def _run_step(self, job: Job, step: Step, limits: Limits) -> Outcome:
        phase, payload = step
        return self.run(phase, job.sat, payload, limits, job.seed)

    def run(self, phase: Phase, sat: bytes, payload: bytes, limits: Limits, seed: int) -> Outcome:
        """Run a phase to its end.

        Args:
            phase: what to do. `Phase.RUN` runs a program: no verdict depends on it.
            sat: source of the puzzle, or of the program.
            payload: source of the solution, the answer's encoding, or the program's standard input.
            limits: limits of this phase.
            seed: seed of the `random` module; 0 leaves it as the zygote has seeded it.

        Returns:
            The evidence of the phase.

        Raises:
            WorkerFailed: the jailed processes are no longer usable.
            ClientGone: the verifier has closed the connection.
        """
        if phase is not Phase.RUN:
            return _Run(self, limits).execute(phase, sat, payload, seed)
        streams = Streams(payload, limits.output_bytes)
        try:
            outcome = _Run(self, limits, streams).execute(phase, sat, b"", seed)
            outcome.payload = streams.pack()
            return outcome
        finally:
            streams.close()

    def idle(self) -> bool:
        """See `Engine.idle`. There is nothing to prepare: children are forked when they are needed."""
        return False

    def close(self) -> None:
        """See `Engine.close`."""
        self.jailed.close()


class _Run:
    """One phase: from the byte that makes the zygote fork until the child is reaped."""

    def __init__(self, engine: ForkEngine, limits: Limits, streams: Streams | None = None) -> None:
        self.engine, self.jailed, self.limits, self.streams = engine, engine.jailed, limits, streams
        self.cap = engine.jailed.base_bytes + limits.memory_bytes
        self.child = 0
        self.pidfd = -1
        self.forked = False
        self.waits_to_send = False
        self.refused = 0
        self.printed = 0
        self.report = Report(limits.answer_bytes)
        self.outcome: Outcome | None = None

    def execute(self, phase: Phase, sat: bytes, payload: bytes, seed: int) -> Outcome:
        """Run the phase and return its outcome."""
        limits, self.phase = self.limits, phase
        head = wire.PHASE.pack(phase, self.cap, limits.cpu_seconds, limits.answer_bytes, seed, len(sat), len(payload))
        self.unsent = memoryview(head + sat + payload)
        self.started, self.our_start = time.monotonic(), time.thread_time()
        self.jailed.fork(zygote.PHASE)
        self._send()
        self._watch()  # an exception from it ends the worker, and with it the child
        died, usage = self._reap()
        cpu = usage.ru_utime + usage.ru_stime
        outcome = self.outcome or self._died(died, cpu)
        if self.printed > limits.output_bytes and outcome.end > End.OUTPUT:  # the rest was in the pipe until now
            outcome = Outcome(End.OUTPUT, observed=float(self.printed))
        peak = usage.ru_maxrss * 1024
        if (
            self.streams is None
            and outcome.end is End.DIED
            and -outcome.observed in _CRASHES
            and peak >= limits.memory_bytes
        ):
            outcome = Outcome(End.MEMORY, outcome.detail, observed=float(peak))
        outcome.cpu_seconds = cpu + charged(time.thread_time() - self.our_start, cpu)
        outcome.wall_seconds = time.monotonic() - self.started
        outcome.peak_memory_bytes = peak
        if outcome.cpu_seconds > limits.cpu_seconds and outcome.end is not End.FORBIDDEN:
            outcome.end, outcome.detail, outcome.payload = End.CPU, "", b""
        if outcome.end is End.CPU:
            outcome.observed = max(outcome.cpu_seconds, limits.cpu_seconds)
        return outcome

    def _watch(self) -> None:
        """Serve events until there is an outcome or the child has died."""
        engine, rounds, waited, dead = self.engine, 0, False, False
        while self.outcome is None:
            timeout = self._time_left()
            if not waited and timeout > SLOW_PHASE_SECONDS:
                timeout = SLOW_PHASE_SECONDS
            events = engine._poll.poll(timeout * 1000 + 1)
            rounds += 1
            if not events and not waited:
                waited = True
                engine.on_slow_phase()
            if not events or rounds > _QUIET_ROUNDS:
                self._check_time()
            for descriptor, event in events:
                if descriptor == self.jailed.listener.descriptor:
                    self._decide()
                elif descriptor == self.jailed.report:
                    self._read_report()
                elif descriptor == self.jailed.output:
                    self._read_output()
                elif descriptor == self.jailed.job:
                    self._send()
                elif descriptor == self.pidfd:
                    dead = True
                elif self.streams is not None and descriptor in self.streams.open:
                    self._read_stream(descriptor)
                elif descriptor == engine._client:
                    raise ClientGone
                elif event:
                    raise WorkerFailed("the zygote died")
            if dead:
                self._read_report()
                return

    def _time_left(self) -> float:
        """Return the seconds until a limit can be reached at the earliest."""
        left = self._wall_seconds() - (time.monotonic() - self.started)
        if self.child:
            left = min(left, self.limits.cpu_seconds - self._cpu())
        return max(left, 0.0)

    def _wall_seconds(self) -> float:
        """Return the limit of elapsed time that applies now."""
        return self.limits.wall_seconds if self.child else max(self.limits.wall_seconds, _SPAWN_SECONDS)

    def _cpu(self) -> float:
        """Return the child's CPU time so far, with the share of our own that it is charged for.

        The clock: man 2 clock_getres, "CPU-time clocks of another process".
        """
        try:
            cpu = time.clock_gettime((~self.child << 3) | 2)
        except OSError:
            return 0.0  # it has just died
        return cpu + charged(time.thread_time() - self.our_start, cpu)

    def _check_time(self) -> None:
        wall = time.monotonic() - self.started
        if self.child and self._cpu() >= self.limits.cpu_seconds:
            self.outcome = Outcome(End.CPU)
        elif wall >= self._wall_seconds():
            if not self.child:
                raise WorkerFailed("no child became ready in time")
            self.outcome = Outcome(End.WALL, observed=wall)

    def _send(self) -> None:
        """Write as much of the job as the pipe takes; the rest follows when the pipe is writable again."""
        engine = self.engine
        try:
            self.unsent = self.unsent[os.write(self.jailed.job, self.unsent) :]
        except BlockingIOError:
            return
        if len(self.unsent) and not self.waits_to_send:
            engine._poll.register(self.jailed.job, select.POLLOUT)
            self.waits_to_send = True
        elif not len(self.unsent) and self.waits_to_send:
            engine._poll.unregister(self.jailed.job)
            self.waits_to_send = False

    def _decide(self) -> None:
        """Handle a system call that waits for the supervisor: let it pass, answer it, or end the phase."""
        engine = self.engine
        call = self.jailed.listener.receive()
        if call is None:
            return
        if self.jailed.is_spawn(call):
            if self.forked:
                raise WorkerFailed("the zygote forked twice")
            self.forked = True
            self.jailed.listener.allow(call)
        elif not self.child and call.number in (engine._mmap, engine._mremap):
            self.jailed.listener.allow(call)  # the child allocates memory to read a large job; no task code has run yet
        elif not self.child and call.number == engine._prctl and call.args[:2] == zygote.SHOW_DESCRIPTORS:
            self.jailed.listener.allow(call)
        elif not self.child:
            if call.number != engine._prctl or call.args[:2] != (zygote.PR_SET_PDEATHSIG, signal.SIGKILL):
                raise WorkerFailed("the child made another system call before it was ready")
            self._adopt(call.pid)
            if self.streams is not None:
                self.streams.install(self.jailed.listener, call)
                for descriptor in self.streams.open:
                    engine._poll.register(descriptor, select.POLLIN)
            self.jailed.listener.allow(call)
        elif call.pid == self.child and self._may_grow(call):
            size = call.args[1] if call.number == engine._mmap else call.args[2] - call.args[1]
            if (total := address_space(self.child) + size) > self.cap:
                self.refused = max(self.refused, total)  # RLIMIT_AS makes the kernel refuse it
            self.jailed.listener.allow(call)
        elif call.number in engine._answered:
            self.jailed.listener.answer(call, _NUMBERS_BEFORE + self.phase)
        elif call.number == engine._tgkill and call.args[2] == _ABORT:
            self.outcome = Outcome(End.DIED, "aborted", observed=-_ABORT)
        else:
            self.outcome = Outcome(End.FORBIDDEN, f"system call {self.jailed.name(call.number)}")

    def _may_grow(self, call: seccomp.Call) -> bool:
        """Return True if the call requests memory, or maps code from a file of the root."""
        if call.number == self.engine._mmap and seccomp.maps("code", call.args):
            return self.streams is None or _has_a_name(self.child, call.args[4])
        return call.number == self.engine._mremap or (
            call.number == self.engine._mmap and seccomp.maps("data", call.args)
        )

    def _adopt(self, pid: int) -> None:
        self.child = self.jailed.child = pid
        self.pidfd = os.pidfd_open(pid)
        self.engine._poll.register(self.pidfd, select.POLLIN)

    def _read_report(self) -> None:
        """Read what the child has reported. A complete report is the outcome."""
        try:
            while data := os.read(self.jailed.report, 1 << 20):
                self._report(data)
                if self.outcome is not None or len(data) < 65536:
                    return
        except BlockingIOError:
            return

    def _report(self, data: bytes) -> None:
        outcome = self.report.feed(data)
        if outcome is None:
            return
        if self.report.out_of_memory and (peak := self._memory_reached()):
            outcome = Outcome(End.MEMORY, outcome.detail, observed=peak - self.jailed.base_bytes)
        self.outcome = outcome

    def _memory_reached(self) -> int:
        """Return the size that the child had or requested, in bytes, if the kernel's figures confirm that it hit the
        limit.
        """
        peak = status_bytes(self.child, b"VmPeak:")
        if peak + _UNSEEN_BYTES > self.cap:
            peak = max(peak, self.cap)
        else:
            peak = 0
        return max(peak, self.refused)

    def _read_output(self) -> None:
        try:
            self.printed += len(os.read(self.jailed.output, 1 << 20))
        except BlockingIOError:
            return
        if self.printed > self.limits.output_bytes and self.outcome is None:
            self.outcome = Outcome(End.OUTPUT, observed=float(self.printed))

    def _read_stream(self, descriptor: int) -> None:
        if self.streams is not None and not self.streams.read(descriptor):
            self.engine._poll.unregister(descriptor)

    def _reap(self) -> tuple[int, resource.struct_rusage]:
        """Kill and reap the child and empty the pipes, so that nothing of it reaches the next child."""
        engine = self.engine
        os.kill(self.child, signal.SIGKILL)
        _, status, usage = os.wait4(self.child, 0)
        self.jailed.child = 0
        engine._poll.unregister(self.pidfd)
        os.close(self.pidfd)
        if self.streams is not None:
            for stream in self.streams.open:  # no writer is left: read to the end of file
                while stream in self.streams.open:
                    self._read_stream(stream)
        if len(self.unsent):
            raise WorkerFailed("the child died before it had read its job")
        while events := engine._leftovers.poll(0):
            for descriptor, _ in events:
                if not (data := os.read(descriptor, 1 << 20)):
                    raise WorkerFailed("the zygote died")
                if descriptor == self.jailed.output:
                    self.printed += len(data)
                elif self.outcome is None:
                    self._report(data)
        return status, usage

    def _died(self, status: int, cpu_seconds: float) -> Outcome:
        """Return the outcome of a child that ended without a report, from its wait status."""
        if os.WIFEXITED(status) and self.streams is not None:
            return Outcome(End.EXITED, observed=os.WEXITSTATUS(status))
        if os.WIFEXITED(status):
            return Outcome(End.DIED, f"the process exited with {os.WEXITSTATUS(status)} before it reported")
        number = os.WTERMSIG(status)
        if number == signal.SIGSYS:
            return Outcome(
                End.FORBIDDEN, "an unnamed system call (of a foreign architecture, or refused by an outer filter too)"
            )
        if number == signal.SIGXCPU:
            return Outcome(End.CPU)
        kills = self.engine._oom_kills()
        if kills > self.engine._kills_seen:
            self.engine._kills_seen = kills
            return Outcome(End.MEMORY, "killed by the kernel", observed=float(self.limits.memory_bytes))
        if number == signal.SIGKILL and cpu_seconds < self.limits.cpu_seconds:
            raise WorkerFailed("the child was killed from outside")  # a task can't send a signal
        return Outcome(End.DIED, f"the process died of {signal.Signals(number).name}", observed=-number)


def _has_a_name(pid: int, argument: int) -> bool:
    """Return True if a directory has an entry for the file behind this descriptor.

    Standard input has none, and may be machine code.
    """
    try:
        return os.stat(f"/proc/{pid}/fd/{argument & 0x7FFFFFFF}").st_nlink > 0
    except OSError:
        return False
