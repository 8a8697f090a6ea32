"""An engine: one warm process, put back bit for bit after every phase.

Theory of operation. A *runner* is a fork of the zygote that has arranged its memory and waits for a job, traced by the warden.
At that point the warden takes a snapshot: a copy of all writable memory and of all registers. A job's bytes are written into the runner's
memory, it runs, and its report is read from its memory. Then every page that was written, and every register, is put
back: the runner waits again, and nothing in it can tell that there was a job.

Why that is enough. What a process is, for the code in it: memory, registers, and what the kernel holds for it. Memory: the kernel
itself lists the pages that were written (`sandbox.worker.snapshot.memory`); the code mapping is read-only. Registers: the general
ones are set by the warden; the extended ones, floating-point control words included, by the runner's own first instructions, before it reads a job
(runner.c), and by the warden as well unless the last job simply reported. The kernel's part changes by system calls only, and *every* call stops the runner
before it takes place: the warden lets pass those that change nothing (`sandbox.worker.snapshot.calls`), after which there is nothing to put back, and
requests for memory, after which the runner is replaced. It answers writes to the standard streams itself, for a runner has no descriptor.
On any other call, on any signal, and if a limit but that of time is reached, the phase has no verdict here:
it is put back and run again by the fork engine, which can tell exactly what happened and has more to offer, such as files to import.
Decisions to let a call take place are made on its number and registers, never on what a pointer points to.

The usual tasks, which answer simply and are judged by a yes or no, go through both phases one after the other in one call of the accelerator
(`judge`, judge.c): each phase begins at the snapshot and is put back, and what the first hands to the second is bytes that have been checked. The puzzles of
the next tasks are compiled before, all in one job (ahead.c), at whose end the runner is put back too: no code of theirs runs in it, and solutions are compiled
each in its own phase. What one puzzle could do to the next there it would have to do to Python's compiler. Anything else ends that call, and Python goes
on with the phase that is under way, or has just ended, as if it had started it.

Many answers to one puzzle. Where it pays, the puzzle is loaded once for one phase of them all: the moment after is *marked*, that is,
taken as the snapshot for a while, and each answer begins there, charged for the time of loading. Nothing of an answer outlives its
phase, so what one finds is what it would have found alone; a puzzle whose loading depends on the clock or on chance is loaded
anew for the other phase, so a solution can know no more of it than it could alone.

Jobs that go on later. One that was tried briefly, since others wait, is *held* when its time is over (`sandbox.worker.snapshot.suspended`): what the search for
written pages finds, and the registers, are kept by the warden before they are put back. When it is run again in earnest they are written into the same runner,
at its snapshot, which then is bit for bit where the job was; at its end that is put back as ever. The warden looks into none of it. A job that waits in a
system call, has grown, or has begun to report is begun anew, and so is one whose runner has been replaced.

What a rollback can't put back, and why that is harmless: the processor's caches and branch predictors, and times; CPU time used so
far, which the runner can't ask for (that call is not among those that pass); which pages are resident. Where
the argument fails, a comparison is meant to show it: all memory, mappings and extended registers are compared with the snapshot every
`CHECK_EVERY` jobs, after every time-out, after one in `CHECK_HELD` jobs that were only interrupted, and one in `CHECK_DENIED` that were given
up. A difference costs the runner, counts as a *mismatch*, and sends the phase at hand to the fork engine, which also judges again what the runner
told since the last comparison. What then comes out otherwise is counted and logged; a verdict already given can't be taken back: so zero mismatches is what
the tests and the soak insist on. A runner that died or grew can't be compared.

A runner that has to go is replaced when the worker has nothing to do, if it comes to that; from the first replacement on there is another in reserve.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from sandbox import wire
from sandbox.task import Limits
from sandbox.wire import Counters, End, Job, Outcome
from sandbox.worker.engine import MOMENT_SECONDS, TOGETHER_SECONDS, Judged, Phase, do_nothing
from sandbox.worker.fork.engine import ForkEngine
from sandbox.worker.inside.phase import LOAD, REPORT_FD, RUN, SOL
from sandbox.worker.snapshot import process as rollback
from sandbox.worker.snapshot.accelerated import Accelerated, load
from sandbox.worker.snapshot.attempt import Attempt, Surroundings
from sandbox.worker.snapshot.birth import give_birth
from sandbox.worker.snapshot.calls import Calls
from sandbox.worker.snapshot.memory import Unrestorable
from sandbox.worker.snapshot.process import Rollback
from sandbox.worker.snapshot.suspended import Held, Suspended
from sandbox.worker.snapshot.unconfirmed import Unconfirmed

CHECK_EVERY = 1024
CHECK_DENIED, CHECK_HELD = 16, 8
RECYCLE_EVERY = 100_000
"""Jobs after which a runner is replaced in any case."""

_REPORT_ROOM = 1 << 20
_LEARN_AT, _LEARN_EVERY, _HOT_SHARE, _MOST_HOT = (25, 200, 1000), 2048, 0.1, 1000
_COMPILING = Limits(cpu_seconds=0.01)
"""Puzzles that are compiled together, and are not done when the accelerator gives them up, are left to their phases after so much."""
_WORTH_BYTES = 400
"""Of source that need not be compiled again: less costs less time than to mark and unmark."""


@dataclass(frozen=True, slots=True)
class _Mark:
    """A runner that has loaded a puzzle. key: phase, puzzle and seed. used: seconds that the loading took, which are part of every phase's."""

    key: tuple[Phase, bytes, int]
    used: tuple[float, float]


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
            load()  # if it can't be had, before a runner is born in vain
        self._cell, self._fork, self._supervisor = cell, fork, supervisor
        self._make: Callable[..., Rollback] = Accelerated if accelerated else Rollback
        hang_up = select.poll()
        hang_up.register(supervisor, select.POLLRDHUP)
        self._around = Surroundings(Calls(cell), hang_up, lambda: self.meanwhile())
        self._writes: Counter[int] = Counter()
        self._learnt = 0
        self._hot: frozenset[int] = frozenset()
        self.counters = Counters()
        self.meanwhile: Callable[[], None] = do_nothing
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGCHLD,))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGALRM,))  # it may be for our caller; here it is what ends a wait (job.c)
        self._runner: Rollback | None = None
        self._spare: Rollback | None = None
        self._mark: _Mark | None = None
        self._answered: Outcome | None = None
        self._before = 0  # jobs done at once before the one that is under way
        self._unconfirmed, self._suspended = Unconfirmed(), Suspended()
        self._interrupted = 0
        self._raise()

    def _raise(self) -> Rollback:
        """A runner, the spare one or a new one if there is none."""
        if self._runner is None:
            self._runner, self._spare = self._spare or self._new(), None
            self._jobs = self._checked_at = self._before = 0
            try:
                self._runner.set_hot(self._hot)
            except Unrestorable:  # it lies otherwise in memory than the one before
                self._hot, self._learnt = frozenset(), 0
                self._runner.set_hot(self._hot)
        return self._runner

    def _new(self) -> Rollback:
        born = give_birth(self._cell, self._supervisor)
        try:
            return self._make(born, REPORT_FD, _REPORT_ROOM, self._around.calls.actions)
        except BaseException:
            born.tracee.kill()
            raise

    def rest(self) -> bool:
        """See `Engine.rest`: what costs a job 30 ms if it has to wait for it."""
        self._suspended.forget()
        if self._runner is None:
            self._raise()
            return True
        if self._spare is None and self.counters.replaced:
            with contextlib.suppress(OSError):  # for want of memory, say: then there is none in reserve
                self._spare = self._new()
        return False

    def run(self, phase: Phase, sat: bytes, payload: bytes, limits: Limits, seed: int, resumable: bool = False) -> Outcome:
        """See `Engine.run`. A program, which is run and not judged, needs streams of its own: that is for the fork engine."""
        self._fork.meanwhile = self.meanwhile
        if phase == RUN:
            return self._fork.run(phase, sat, payload, limits, seed)
        if self._answered:
            answered, self._answered = self._answered, None
            return answered
        if self._mark and self._mark.key != (phase, sat, seed):
            self._unmark()
        job = rollback.pack(phase, b"" if self._mark else sat, payload, limits, seed)
        if rollback.fits(job, limits):
            back = self._runner or self._raise()
            # What has begun is not where a job that was held could go on.
            held = None if self._mark or back.begun else self._suspended.take(phase, sat, payload, limits, seed)
            attempt = self._attempt(limits, self._mark, held, resumable)
            outcome = self._try(attempt, held or job)
            if attempt.held and self._runner is attempt.runner:
                self._suspended.add(phase, sat, payload, limits, seed, attempt.held)
            if outcome is not None and phase == SOL and outcome.end is End.PUZZLE_ERROR:
                # A solution may claim that. Alone the puzzle speaks for itself; if it loads, fork must tell which was to blame.
                outcome = self._try(self._attempt(limits), rollback.pack(LOAD, sat, b"", limits, seed))
            if outcome is not None:
                self._unconfirmed.add(phase, sat, payload, limits, seed, outcome)
                return outcome
            self.counters.given_up += 1
        return self._fork.run(phase, sat, payload, limits, seed)

    def _attempt(self, limits: Limits, mark: _Mark | None = None, held: Held | None = None, resumable: bool = False) -> Attempt:
        back = self._runner or self._raise()
        if mark:
            return Attempt(self._around, back, limits, mark.key[0] == SOL, mark.used)
        return Attempt(self._around, back, limits, before=held.used if held else (0.0, 0.0), resumable=resumable)

    def _try(self, attempt: Attempt, job: bytes | Held) -> Outcome | None:
        """The outcome of a job on the runner, which is put back; None if it can't be told, or if a comparison found a difference."""
        limits, outcome = attempt.limits, attempt.run(job)
        if not self._put_back(attempt) or outcome is None:
            return None
        outcome.cpu_seconds, outcome.wall_seconds = cpu, _ = attempt.used
        if cpu > limits.cpu_seconds:
            outcome.end, outcome.detail, outcome.payload = End.CPU, "", b""
        if outcome.end is End.CPU:
            outcome.observed = cpu
        outcome.engine, outcome.peak_memory_bytes = self.name, attempt.runner.resident
        return outcome

    def judge(self, frames: bytes) -> Judged:
        """See `Engine.judge`. Only with the accelerator, which runs one phase after the other without a word from Python in between."""
        if self._mark:
            self._unmark()
        if self._suspended and self._is_held(wire.unpack_job(next(wire.cut(frames)))):
            return Judged()
        back = self._runner or self._raise()
        try:
            times = MOMENT_SECONDS, TOGETHER_SECONDS
            judged = back.judge(frames, wire.pack_counters(self.counters), max(1, self._jobs_ahead() // 2), *times)
        except OSError:  # it has died
            self._replace()
            return Judged()
        if back.astray:
            self._before = 2 * judged.tasks
            attempt = Attempt(self._around, back, _COMPILING)
            attempt.run(b"")
            if not self._put_back(attempt):
                return Judged()
            self._raise().leave(back.astray)
        elif judged.begun:
            self._before = 2 * judged.tasks
            if back.first:
                self._take_first(back, next(wire.cut(frames[judged.taken :])))
        elif judged.tasks and not self._keep(back, put_back=True, suspect=False, jobs=2 * judged.tasks):
            return Judged()
        if judged.tasks:
            self._unconfirmed.add_tasks(frames[: judged.taken], judged.told)
        return judged

    def _is_held(self, job: Job) -> bool:
        """Whether a phase of this task may be to go on where it was: it is run again in earnest, and something with its puzzle is held."""
        return not job.brief and self._suspended.knows(job.sat, job.seed)

    def _take_first(self, back: Rollback, task: bytes) -> None:
        """A task's first phase is over, and the second under way: tell of the former when asked to run it."""
        job, (self._answered,) = wire.unpack_job(task), wire.unpack_outcomes(back.first)
        self._answered.payload = back.answer
        self._unconfirmed.add(SOL, job.sat, job.sol, job.limits, job.seed, self._answered)
        self._before += 1

    def _jobs_ahead(self) -> int:
        """How many jobs there are until something else is due: a comparison, another runner, or something to be learnt."""
        learnt = self._learnt % _LEARN_EVERY
        lesson = next((at for at in _LEARN_AT if at > learnt), _LEARN_EVERY) - learnt
        return min(CHECK_EVERY + self._checked_at - self._jobs, RECYCLE_EVERY - self._jobs, lesson)

    def prepare(self, phase: Phase, sat: bytes, limits: Limits, seed: int, times: int) -> None:
        """See `Engine.prepare`. A puzzle that does not load quietly, in its time and in the reserved memory, is left to each phase."""
        if self._mark:
            self._unmark()
        if times < 2 or times * len(sat) < _WORTH_BYTES or self._learnt < _LEARN_AT[0]:
            return
        job = rollback.pack(LOAD, sat, b"", limits, seed)
        if not rollback.fits(job, limits):
            return
        attempt = Attempt(self._around, self._raise(), limits)
        key = phase, sat, seed
        if not attempt.load(job):
            self._put_back(attempt)
            return
        try:
            attempt.runner.mark()
            self._mark = _Mark(key, attempt.used)
        except (Unrestorable, OSError):
            self._replace()

    def _unmark(self) -> None:
        self._mark = None
        try:
            self._raise().unmark()
        except (Unrestorable, OSError):
            self._replace()

    def _put_back(self, attempt: Attempt) -> bool:
        """Restore the runner, or replace it; False if a comparison found a difference."""
        if attempt.spoilt:
            self._replace()
            return True
        suspect = attempt.timed_out or (attempt.denied and self.counters.given_up % CHECK_DENIED == 0)
        if attempt.held:
            self._interrupted += 1
            suspect = self._interrupted % CHECK_HELD == 0
        return self._keep(attempt.runner, attempt.put_back, suspect)

    def _keep(self, back: Rollback, put_back: bool, suspect: bool, jobs: int = 1) -> bool:
        """The same for one that has done so many jobs since, and has been restored already, or is suspect."""
        jobs, self._before = jobs + self._before, 0
        self._jobs += jobs
        if self._jobs >= RECYCLE_EVERY:
            self._replace()
            return True
        try:
            if not put_back:
                back.restore()
            self._learn(back, jobs)
            if not (suspect or self._jobs - self._checked_at >= CHECK_EVERY or self._unconfirmed.full):
                return True
            if put_back:
                back.restore()  # the extended registers too, which it else loads itself
        except (Unrestorable, OSError):
            self._replace()
            return True
        self.counters.checked += 1
        self._checked_at = self._jobs
        if not back.differences():
            self._unconfirmed.confirm()
            return True
        self.counters.mismatches += 1
        self.counters.changed += self._unconfirmed.judge_again(self._fork)
        self._replace()
        return False

    def _learn(self, back: Rollback, jobs: int) -> None:
        """Which pages do jobs usually write? Asked of the first jobs, and of others from time to time."""
        before = self._learnt % _LEARN_EVERY
        self._learnt += jobs
        if before >= _LEARN_AT[-1]:
            return
        self._writes.update(back.memory.written)
        number = before + jobs
        if not any(before < at <= number for at in _LEARN_AT):
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
            self._suspended.forget()

    def close(self) -> None:
        """See `Engine.close`."""
        self.end_runner()
        if self._spare is not None:
            self._spare.end()
        self._fork.close()
