"""An engine: one warm process, put back bit for bit after every phase.

Theory of operation. A *runner* is a fork of the zygote that has arranged its memory and waits for a job, traced by the warden.
At that point the warden takes a snapshot: a copy of all writable memory and of all registers. A job's bytes are written into the runner's
memory, it runs, and its report is read from its memory. Then every page that was written, and every register, is put
back: the runner waits again, and nothing in it can tell that there was a job.

Why that is enough. What a process is, for the code in it: memory, registers, and what the kernel holds for it. Memory: the kernel
itself lists the pages that were written (`sandbox.worker.memory`); the code mapping is read-only. Registers: all of
them are set, floating-point control words included. The kernel's part changes by system calls only, and *every* call stops the runner
before it takes place: the warden lets pass those that change nothing (`_PASS`), after which there is nothing to put back, and
requests for memory, after which the runner is replaced. It answers writes to the standard streams itself, for a runner has no descriptor.
On any other call, on any signal, and if a limit but that of time is reached, the phase has no verdict here:
it is put back and run again by the fork engine, which can tell exactly what happened and has more to offer, such as files to import.
Decisions to let a call take place are made on its number and registers, never on what a pointer points to.

Many answers to one puzzle. Where it pays, the puzzle is loaded once for one phase of them all: the moment after is *marked*, that is,
taken as the snapshot for a while, and each answer begins there, charged for the time of loading. Nothing of an answer outlives its
phase, so what one finds is what it would have found alone; a puzzle whose loading depends on the clock or on chance is loaded
anew for the other phase, so a solution can know no more of it than it could alone.

What a rollback can't put back, and why that is harmless: the processor's caches and branch predictors, and times; CPU time used so
far, which the runner can't ask for (that call is not among those that pass); which pages are resident. Where
the argument fails, a comparison is meant to show it: all memory, mappings and extended registers are compared with the snapshot every
`CHECK_EVERY` jobs, after every time-out, and after one in `CHECK_DENIED` jobs that were given up. A difference costs the runner, counts as a
*mismatch*, and sends the phase at hand to the fork engine, which also judges again what the runner told since the last comparison. What
then comes out otherwise is counted and logged; a verdict already given can't be taken back: so zero mismatches is what the tests and the soak
insist on. A runner that died or grew can't be compared.

A runner that has to go is replaced when the worker has nothing to do, if it comes to that; from the first replacement on there is another in reserve.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from sandbox.task import Limits
from sandbox.wire import Counters, End, Outcome
from sandbox.worker import rollback, runner
from sandbox.worker.birth import give_birth
from sandbox.worker.engine import MOMENT_SECONDS, Phase, SupervisorGone, do_nothing
from sandbox.worker.fork import ForkEngine
from sandbox.worker.memory import PAGE, Unrestorable
from sandbox.worker.phase import LOAD, REPORT_FD, RUN, SOL
from sandbox.worker.report import Report
from sandbox.worker.rollback import Accelerated, Action, Rollback
from sandbox.worker.tracee import ARGUMENTS, ORIG_RAX, Stop
from sandbox.worker.unconfirmed import Unconfirmed

CHECK_EVERY = 1024
CHECK_DENIED = 16
RECYCLE_EVERY = 100_000
"""Jobs after which a runner is replaced in any case."""

_PASS = "getrandom gettimeofday time sched_yield nanosleep clock_nanosleep".split()
_GROW = "brk mmap munmap".split()
_REPORT_ROOM = 1 << 20
_SLICE_SECONDS = 0.25
"""How often a long phase lets the warden look whether anybody still waits for it."""
_STOP_SECONDS = 5.0
_LEARN_AT, _LEARN_EVERY, _HOT_SHARE, _MOST_HOT = (25, 200, 1000), 2048, 0.1, 1000
_OWN_CLOCKS, _CLOCKS = (2, 3), 12  # CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID; higher and negative ones are of processes too
_FUTEX_WAIT_OR_WAKE = (0, 1, 9, 10)  # FUTEX_WAIT, _WAKE, _WAIT_BITSET, _WAKE_BITSET: nothing stays in the kernel
_FUTEX_FLAGS = 128 | 256
_NO_SUCH_FILE = (1 << 64) - errno.ENOENT
_SOURCE_NAMES = (b"<puzzle>", b"<solution>")
_LONGEST_NAME = 11
_WORTH_BYTES = 400
"""Of source that need not be compiled again: less costs less time than to mark and unmark."""
_PRIVATE_ANONYMOUS, _READ_WRITE = 0x22, 3


@dataclass(frozen=True, slots=True)
class _Mark:
    """A runner that has loaded a puzzle. key: phase, puzzle, limits and seed. What the loading took is part of every phase's time."""

    key: tuple[Phase, bytes, Limits, int]
    cpu_seconds: float
    wall_seconds: float


class SnapshotEngine:
    """See the module; `supervisor` is watched so that nothing runs on for a verifier that is gone.

    fork: runs what this can't. accelerated: with the inner loop in C. Raises OSError or WorkerFailed if the host can't do it.
    """

    name = "snapshot"

    def __init__(self, fork: ForkEngine, supervisor: int, accelerated: bool = True) -> None:
        cell = fork.cell
        if os.uname().machine != "x86_64":
            raise OSError(f"not for {os.uname().machine}: only for x86_64")
        if accelerated:
            rollback.load()  # if it can't be had, before a runner is born in vain
        self._cell, self._fork, self._supervisor = cell, fork, supervisor
        self._make: Callable[..., Rollback] = Accelerated if accelerated else Rollback
        self._actions = {cell.number("write"): Action.WRITE, **{cell.number(name): Action.PASS for name in _PASS}}
        self._grow = {cell.number(name) for name in _GROW}
        self._clock, self._futex, self._mmap, self._brk, self._open = (
            cell.number(name) for name in ("clock_gettime", "futex", "mmap", "brk", "openat")
        )
        self._hang_up = select.poll()
        self._hang_up.register(supervisor, select.POLLRDHUP)
        self._writes: Counter[int] = Counter()
        self._learnt = 0
        self._hot: frozenset[int] = frozenset()
        self.counters = Counters()
        self.meanwhile: Callable[[], None] = do_nothing
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGCHLD,))
        self._runner: Rollback | None = None
        self._spare: Rollback | None = None
        self._mark: _Mark | None = None
        self._unconfirmed = Unconfirmed()
        self._raise()

    def _raise(self) -> Rollback:
        """A runner, the spare one or a new one if there is none."""
        if self._runner is None:
            self._runner, self._spare = self._spare or self._new(), None
            self._jobs = 0
            with open(f"/proc/{self._runner.tracee.pid}/statm") as file:
                self._resident = int(file.read().split()[1]) * PAGE
            try:
                self._runner.set_hot(self._hot)
            except Unrestorable:  # it lies otherwise in memory than the one before
                self._hot, self._learnt = frozenset(), 0
                self._runner.set_hot(self._hot)
        return self._runner

    def _new(self) -> Rollback:
        born = give_birth(self._cell, self._supervisor)
        try:
            return self._make(born, REPORT_FD, _REPORT_ROOM, self._actions)
        except BaseException:
            born.tracee.kill()
            raise

    def rest(self) -> bool:
        """See `Engine.rest`: what costs a job 30 ms if it has to wait for it."""
        if self._runner is None:
            self._raise()
            return True
        if self._spare is None and self.counters.replaced:
            with contextlib.suppress(OSError):  # for want of memory, say: then there is none in reserve
                self._spare = self._new()
        return False

    def run(self, phase: Phase, sat: bytes, payload: bytes, limits: Limits, seed: int) -> Outcome:
        """See `Engine.run`. A program, which is run and not judged, needs streams of its own: that is for the fork engine."""
        self._fork.meanwhile = self.meanwhile
        if phase == RUN:
            return self._fork.run(phase, sat, payload, limits, seed)
        if self._mark and self._mark.key != (phase, sat, limits, seed):
            self._unmark()
        job = rollback.job(phase, b"" if self._mark else sat, payload, limits, seed)
        if rollback.fits(job, limits):
            outcome = self._try(job, limits, self._mark)
            if outcome is not None and phase == SOL and outcome.end is End.PUZZLE_ERROR:
                # A solution may claim that. Alone the puzzle speaks for itself; if it loads, fork must tell which was to blame.
                outcome = self._try(rollback.job(LOAD, sat, b"", limits, seed), limits)
            if outcome is not None:
                outcome.engine = self.name
                self._unconfirmed.add(phase, sat, payload, limits, seed, outcome)
                return outcome
            self.counters.given_up += 1
        return self._fork.run(phase, sat, payload, limits, seed)

    def _try(self, job: bytes, limits: Limits, mark: _Mark | None = None) -> Outcome | None:
        """The outcome of a job on the runner, which is put back; None if it can't be told, or if a comparison found a difference."""
        attempt = _Attempt(self, self._raise(), limits, mark)
        outcome = attempt.run(job)
        return outcome if self._put_back(attempt) else None

    def prepare(self, phase: Phase, sat: bytes, limits: Limits, seed: int, times: int) -> None:
        """See `Engine.prepare`. A puzzle that does not load quietly, in its time and in the reserved memory, is left to each phase."""
        if self._mark:
            self._unmark()
        if times < 2 or times * len(sat) < _WORTH_BYTES or self._learnt < _LEARN_AT[0]:
            return
        job = rollback.job(LOAD, sat, b"", limits, seed)
        if not rollback.fits(job, limits):
            return
        attempt = _Attempt(self, self._raise(), limits)
        key = phase, sat, limits, seed
        if not attempt.load(job):
            self._put_back(attempt)
            return
        try:
            attempt.runner.mark()
            self._mark = _Mark(key, attempt.cpu_seconds, attempt.wall_seconds)
        except (Unrestorable, OSError):
            self._replace()

    def _unmark(self) -> None:
        self._mark = None
        try:
            self._raise().unmark()
        except (Unrestorable, OSError):
            self._replace()

    def _put_back(self, attempt: _Attempt) -> bool:
        """Restore the runner, or replace it; False if a comparison found a difference."""
        back = attempt.runner
        self._jobs += 1
        if attempt.spoilt or self._jobs >= RECYCLE_EVERY:
            self._replace()
            return True
        try:
            if not attempt.put_back:
                back.restore()
            self._learn(back)
            denied = attempt.denied and self.counters.given_up % CHECK_DENIED == 0
            if not (attempt.timed_out or denied or self._jobs % CHECK_EVERY == 0 or self._unconfirmed.full):
                return True
            if attempt.put_back:
                back.restore()  # the extended registers too, which it else loads itself
        except (Unrestorable, OSError):
            self._replace()
            return True
        self.counters.checked += 1
        if not back.differences():
            self._unconfirmed.confirm()
            return True
        self.counters.mismatches += 1
        self.counters.changed += self._unconfirmed.judge_again(self._fork)
        self._replace()
        return False

    def _learn(self, back: Rollback) -> None:
        """Which pages do jobs usually write? Asked of the first jobs, and of others from time to time."""
        number = self._learnt % _LEARN_EVERY + 1
        self._learnt += 1
        if number > _LEARN_AT[-1]:
            return
        self._writes.update(back.memory.written)
        if number not in _LEARN_AT:
            return
        room = _MOST_HOT - len(self._hot)
        often = [page for page, times in self._writes.most_common(room) if times >= _HOT_SHARE * number]
        self._writes.clear()
        if often:
            self._hot |= frozenset(often)
            back.set_hot(self._hot)

    def _replace(self) -> None:
        """End the runner; the next job gets a new one."""
        self.end_runner()
        self.counters.replaced += 1

    def end_runner(self) -> None:
        """Kill the runner, if there is one."""
        if self._runner is not None:
            self._runner.end()
            self._runner = self._mark = None
            self._unconfirmed.confirm()

    def close(self) -> None:
        """See `Engine.close`."""
        self.end_runner()
        if self._spare is not None:
            self._spare.end()
        self._fork.close()


class _Attempt:
    """One job on a runner. spoilt: the runner must go. denied: it was given up. timed_out: a time limit ended it.

    cpu_seconds, wall_seconds: what it took, what the mark took that it started from included.
    """

    __slots__ = (
        "_before", "_loaded", "_loading", "_report", "_room", "cpu_seconds", "denied", "engine", "limits", "put_back", "runner", "spoilt",
        "timed_out", "wall_seconds",
    )  # fmt: skip

    def __init__(self, engine: SnapshotEngine, back: Rollback, limits: Limits, mark: _Mark | None = None) -> None:
        self.engine, self.runner, self.limits = engine, back, limits
        self.spoilt = self.denied = self.timed_out = self.put_back = self._loading = self._loaded = False
        self._before = self.cpu_seconds, self.wall_seconds = (mark.cpu_seconds, mark.wall_seconds) if mark else (0.0, 0.0)
        self._room = limits.memory_bytes - runner.RESERVE_BYTES
        self._report = Report(limits.answer_bytes, loaded=mark is not None and mark.key[0] == SOL)

    def load(self, job: bytes) -> bool:
        """Whether it stands now where the puzzle is loaded and the phase's own job is to come, and has left no trace elsewhere."""
        self._loading = True
        self._run(job)
        return self._loaded and not self.spoilt

    def run(self, job: bytes) -> Outcome | None:
        """The outcome, or None if it can't be told here."""
        outcome = self._run(job)
        if outcome is None:
            self.denied = True
            return None
        outcome.cpu_seconds, outcome.wall_seconds = self.cpu_seconds, self.wall_seconds
        outcome.peak_memory_bytes = self.engine._resident
        if outcome.cpu_seconds > self.limits.cpu_seconds:
            outcome.end, outcome.detail, outcome.payload = End.CPU, "", b""
        if outcome.end is End.CPU:
            outcome.observed = outcome.cpu_seconds
        return outcome

    def _run(self, job: bytes) -> Outcome | None:
        printed = self.runner.printed
        try:
            outcome = self._watch(self.runner.run(job, min(self._left(), MOMENT_SECONDS)))
        except OSError:  # it has died
            self.spoilt, outcome = True, None
        self._look_at_clocks()
        printed = self.runner.printed - printed
        self._loaded = self._loaded and not printed
        return None if printed > self.limits.output_bytes else outcome

    def _look_at_clocks(self) -> None:
        (cpu_before, wall_before), (cpu, wall) = self._before, self.runner.used()
        self.cpu_seconds, self.wall_seconds = cpu_before + cpu, wall_before + wall

    def _left(self) -> float:
        return max(0.0, min(self.limits.cpu_seconds - self.cpu_seconds, self.limits.wall_seconds - self.wall_seconds))

    def _watch(self, stop: Stop | None) -> Outcome | None:
        report, back = self._report, self.runner
        slice_seconds = MOMENT_SECONDS
        while True:
            if stop is Stop.DONE:
                self.put_back = True
                return report.feed(back.report)
            if stop is Stop.REPORT:
                outcome = report.feed(back.report)
                if outcome is not None:
                    return None if report.out_of_memory else outcome
                back.take_report()
            elif stop is Stop.CALL:
                if self._loading and self.runner.asks_for_job():
                    self._loaded = True
                    return None
                if not self._decide():
                    return None
            elif stop is Stop.INTERRUPT:  # asked for in the last job, which stopped by itself meanwhile
                back.tracee.resume()
            elif stop is not None:  # a fault of its own or a refused call, whose signal is dropped; or it is dead
                self.spoilt = stop is Stop.DEAD
                return None
            elif self.engine._hang_up.poll(0):
                raise SupervisorGone
            elif slice_seconds < _SLICE_SECONDS:
                slice_seconds = _SLICE_SECONDS
                self.engine.meanwhile()
            self._look_at_clocks()
            if not (left := self._left()):
                return self._time_out()
            stop = back.wait(min(left, slice_seconds))

    def _time_out(self) -> Outcome:
        self.timed_out = True
        self.runner.tracee.interrupt()
        if self.runner.wait(_STOP_SECONDS) not in (Stop.INTERRUPT, Stop.CALL, Stop.REPORT):
            self.spoilt = True
        return Outcome(End.CPU if self.cpu_seconds >= self.limits.cpu_seconds else End.WALL, observed=self.wall_seconds)

    def _decide(self) -> bool:
        """Let the call take place, or not: on its number and registers alone."""
        engine, registers = self.engine, self.runner.now
        call, arguments = registers[ORIG_RAX], [registers[place] for place in ARGUMENTS]
        if call == engine._open and self._names_source(arguments[1]):
            self.runner.proceed_with(_NO_SUCH_FILE)
            return True
        if call in engine._grow:
            if not self._may_grow(call, arguments):
                return False
            self.spoilt = True
        elif call == engine._clock:
            if arguments[0] in _OWN_CLOCKS or arguments[0] >= _CLOCKS:
                return False
        elif call != engine._futex or (arguments[1] & ~_FUTEX_FLAGS) not in _FUTEX_WAIT_OR_WAKE:
            return False
        self.runner.tracee.resume()
        return True

    def _names_source(self, address: int) -> bool:
        """Whether a path is the name that sources are compiled under: the parser looks for such a file to quote from, in vain.

        The path is read although it could be anything, since whatever comes of it, the call does not take place.
        """
        try:
            return self.runner.tracee.read(address, _LONGEST_NAME).split(b"\0")[0] in _SOURCE_NAMES
        except OSError:
            return False

    def _may_grow(self, call: int, arguments: list[int]) -> bool:
        """Memory that is private, not executable, and within the limit."""
        engine = self.engine
        if call == engine._brk:
            end = self.runner.memory.heap_end
            return arguments[0] == 0 or end <= arguments[0] <= end + self._room
        if call == engine._mmap:
            _, size, rights, flags, descriptor, _ = arguments
            self._room -= size
            return (
                self._room >= 0
                and rights & ~_READ_WRITE == 0
                and flags == _PRIVATE_ANONYMOUS
                and descriptor & 0xFFFFFFFF == 0xFFFFFFFF
            )
        return True
