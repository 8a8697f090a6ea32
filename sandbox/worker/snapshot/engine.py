"""An engine: one warm process, put back bit for bit after every phase.

Theory of operation. A *runner* is a fork of the zygote that has arranged its memory and waits for a job, traced by the supervisor.
At that point the supervisor takes a snapshot: a copy of all writable memory and of all registers. A job's bytes are written into the runner's
memory, it runs, and its report is read from its memory. Then every page that was written, and every register, is put
back: the runner waits again, and nothing in it can tell that there was a job.

Why that is enough. What a process is, for the code in it: memory, registers, and what the kernel holds for it. Memory: the kernel
itself lists the pages that were written (`selftaught.sandbox.worker.snapshot.memory`); the code mapping is read-only. Registers: the general
ones are set by the supervisor; flags and the extended ones, floating-point control words included, by the runner's own first instructions, before it
reads a job (snapshot.c has the list), and by the supervisor as well unless the last job simply reported. The kernel's part changes by system calls only,
and *every* call stops the runner before it takes place: the supervisor lets pass those that change nothing (`selftaught.sandbox.worker.snapshot.calls`), after
which there is nothing to put back, and requests for memory, after which the runner is replaced. It answers writes to the standard streams itself,
for a runner has no descriptor. On any other call, on any signal, and if a limit but that of time is reached, the phase has no verdict here:
it is put back and run again by the fork engine, which can tell exactly what happened and has more to offer, such as files to import.
Decisions to let a call take place are made on its number and registers, never on what a pointer points to.

The usual tasks, which answer simply and are judged by a yes or no, go through both phases one after the other in one call of the library
(tasks.c): each phase begins at the snapshot and is put back, and what the first hands to the second is bytes that have been checked. The puzzles of
the next tasks are compiled before, all in one job (precompile.c), at whose end the runner is put back too: no code of theirs runs in it, and solutions are
compiled each in its own phase. What one puzzle could do to the next there it would have to do to Python's compiler. Code is used only if it is made of what
travels exactly (`selftaught.sandbox.worker.inside.phase`). A task that is not as most are ends that call at the phase where it shows, and is gone on with here.

Tasks that go on later. One that was given a time slice only, since others wait, is *held* when its time is over (`selftaught.sandbox.worker.snapshot.suspended`): what the
search for written pages finds, and the registers, are kept by the supervisor before they are put back. When it comes again in earnest they are written into
the same runner, at its snapshot, which then is bit for bit where the job was; at its end that is put back as ever. The supervisor looks into none of it. A job
that waits in a system call, has grown, or has begun to report is begun anew, and so is one whose runner has been replaced.

What a rollback can't put back, and why that is harmless: the processor's caches and branch predictors, and times; CPU time used so
far, which the runner can't ask for (that call is not among those that pass); which pages are resident. Where
the argument fails, a comparison is meant to show it: all memory, mappings and registers are compared with the snapshot every
`CHECK_EVERY` jobs, after every time-out, after one in `CHECK_SUSPENDED` jobs that were only interrupted, and one in `CHECK_DENIED` that were given
up. A difference costs the runner, counts as a *mismatch*, and sends the phase at hand to the fork engine. A verdict already given can't be taken
back: the verifier logs which tasks were judged since the last comparison. Zero mismatches is what the tests and the soak insist on. A runner that
died or grew can't be compared.

A runner that has to go is replaced when the worker has nothing to do, if it comes to that; from the first replacement on there is another in reserve.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections import Counter
from collections.abc import Callable, Iterator

from selftaught.sandbox import wire
from selftaught.sandbox.task import Limits
from selftaught.sandbox.wire import Counters, End, Job, Outcome, Phase
from selftaught.sandbox.worker.engine import BATCH_SECONDS, SLOW_PHASE_SECONDS, do_nothing
from selftaught.sandbox.worker.fork.engine import ForkEngine
from selftaught.sandbox.worker.inside.phase import REPORT_FD
from selftaught.sandbox.worker.native.library import load_checked
from selftaught.sandbox.worker.native.shared import Stop
from selftaught.sandbox.worker.phases import Step, TaskExecutor, steps_of
from selftaught.sandbox.worker.snapshot.attempt import Attempt, Context
from selftaught.sandbox.worker.snapshot.calls import Calls
from selftaught.sandbox.worker.snapshot.memory import Unrestorable
from selftaught.sandbox.worker.snapshot.process import Batch, SnapshotProcess, fits, pack
from selftaught.sandbox.worker.snapshot.spawn import spawn
from selftaught.sandbox.worker.snapshot.suspended import SuspendedJob, SuspendedTasks

CHECK_EVERY = 1024
CHECK_DENIED, CHECK_SUSPENDED = 16, 8
RECYCLE_EVERY = 100_000
"""Jobs after which a runner is replaced in any case."""

_ENDS_OF_LOADING = (End.PUZZLE_ERROR, End.CPU, End.WALL)
_LEARN_AT, _LEARN_EVERY, _HOT_SHARE, _MAX_HOT = (25, 200, 1000), 2048, 0.1, 1000


class SnapshotEngine:
    """See the module; `client` is watched so that nothing runs on for a verifier that is gone.

    fork: runs what this can't. Raises OSError or WorkerFailed if the host can't do it.
    """

    name = "snapshot"

    def __init__(self, fork: ForkEngine, client: int) -> None:
        if os.uname().machine != "x86_64":
            raise OSError(f"not for {os.uname().machine}: only for x86_64")
        load_checked()  # if it can't be had, before a runner is spawned in vain
        self._jailed, self._fork, self._client = fork.jailed, fork, client
        client_poll = select.poll()
        client_poll.register(client, select.POLLRDHUP)
        self._context = Context(Calls(self._jailed), client_poll, lambda: self.on_slow_phase())
        self.counters = Counters()
        self.on_slow_phase: Callable[[], None] = do_nothing
        self._executor, self._suspended = TaskExecutor(self._run_step), SuspendedTasks()
        self._suspended_now: tuple[Step, SuspendedJob] | None = None
        self._writes: Counter[int] = Counter()
        self._learnt = self._interrupted = 0
        self._hot: frozenset[int] = frozenset()
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGCHLD,))
        signal.pthread_sigmask(
            signal.SIG_UNBLOCK, (signal.SIGALRM,)
        )  # it may be for our caller; here it is what ends a wait (job.c)
        self._process: SnapshotProcess | None = None
        self._spare: SnapshotProcess | None = None
        self._ready_process()

    def _ready_process(self) -> SnapshotProcess:
        """A runner, the spare one or a new one if there is none."""
        if self._process is None:
            self._process, self._spare = self._spare or self._new(), None
            self._jobs = self._checked_at = 0
            try:
                self._process.memory.set_hot(self._hot)
            except Unrestorable:  # it lies otherwise in memory than the one before
                self._hot, self._learnt = frozenset(), 0
                self._process.memory.set_hot(self._hot)
        return self._process

    def _new(self) -> SnapshotProcess:
        spawned = spawn(self._jailed, self._client)
        try:
            return SnapshotProcess(spawned, REPORT_FD, self._context.calls.actions)
        except BaseException:
            spawned.tracee.kill()
            raise

    def idle(self) -> bool:
        """See `Engine.idle`: what costs a job some milliseconds if it has to wait for it."""
        self._suspended.forget()
        if self._process is None:
            self._ready_process()
            return True
        if self._spare is None and self.counters.replaced:
            with contextlib.suppress(OSError):  # for want of memory, say: then there is none in reserve
                self._spare = self._new()
        return False

    def execute(self, frames: bytes) -> Iterator[bytes]:
        """See `Engine.execute`."""
        self._fork.on_slow_phase = self.on_slow_phase
        while frames:
            if self._suspended and (task := self._go_on(wire.unpack_job(next(wire.cut(frames))))):
                yield self._frame(task)
                frames = frames[wire.size_of_first(frames) :]
                continue
            batch = self._execute_batch(frames)
            if batch and batch.tasks:
                yield batch.results
                frames = frames[batch.consumed :]
            if frames and not (batch and batch.stop is Stop.MORE):
                yield self._frame(self._execute_first(wire.unpack_job(next(wire.cut(frames))), batch))
                frames = frames[wire.size_of_first(frames) :]

    def _frame(self, outcomes: list[Outcome]) -> bytes:
        return wire.frame(wire.pack_counters(self.counters) + wire.pack_outcomes(outcomes))

    def _execute_batch(self, frames: bytes) -> Batch | None:
        """Have the library judge as many tasks as go as most do; None if it must be replaced first."""
        process = self._ready_process()
        times = SLOW_PHASE_SECONDS, BATCH_SECONDS
        try:
            batch = process.execute(
                frames, wire.pack_counters(self.counters), max(1, self._jobs_until_due() // 2), *times
            )
        except OSError:  # it has died
            self._replace()
            return None
        self._executor.time_slice.phase_ended(SLOW_PHASE_SECONDS, 2 * batch.tasks)
        if batch.phase is None:
            self._keep(process, True, process.suspect, 2 * batch.tasks)
        else:
            self._jobs += 2 * batch.tasks + bool(batch.first)
        return batch

    def _execute_first(self, job: Job, batch: Batch | None) -> list[Outcome]:
        """The outcomes of a task, one of whose phases may have been started by the library."""
        self._suspended_now, steps = None, steps_of(job)
        step, outcome = next(steps), None
        if batch and batch.first:
            (first,), _ = wire.unpack_results(next(wire.cut(batch.first)))
            first.payload = batch.answer
            step = steps.send(first)
        if batch and batch.phase:
            outcome = self._finish(self._attempt(job, self._executor.time_slice.limits(job)), step, job, batch.stop)
        outcomes = self._executor.go_on(job, steps, step, outcome)
        if self._suspended_now:  # at a step that may have come after this one
            self._suspended.add(job, steps, *self._suspended_now)
        return outcomes

    def _go_on(self, job: Job) -> list[Outcome] | None:
        """The outcomes of a task that was suspended, if it comes in earnest now."""
        if job.sliced or not (kept := self._suspended.take(job)):
            return None
        steps, step, suspended = kept
        outcome = self._finish(self._attempt(job, job.limits, suspended), step, job, suspended)
        return self._executor.go_on(job, steps, step, outcome)

    def _run_step(self, job: Job, step: Step, limits: Limits) -> Outcome:
        """A step from its start. A program, which is run and not judged, needs streams of its own: that is for the fork engine."""
        phase, payload = step
        if phase is Phase.RUN:
            return self._fork.run(phase, job.sat, payload, limits, job.seed)
        return self.run(phase, job.sat, payload, limits, job.seed, job.sliced)

    def run(
        self, phase: Phase, sat: bytes, payload: bytes, limits: Limits, seed: int, resumable: bool = False
    ) -> Outcome:
        """Run a phase to its end. resumable: if it takes too long it may be suspended."""
        job = Job(sat, b"", limits, seed, sliced=resumable)
        packed = pack(phase, sat, payload, limits, seed)
        if fits(packed, limits):
            return self._finish(self._attempt(job, limits), (phase, payload), job, packed)
        return self._fork.run(phase, sat, payload, limits, seed)

    def _attempt(self, job: Job, limits: Limits, suspended: SuspendedJob | None = None) -> Attempt:
        self._suspended_now = None
        return Attempt(
            self._context,
            self._ready_process(),
            limits,
            suspended.used if suspended else (0.0, 0.0),
            resumable=job.sliced,
        )

    def _finish(self, attempt: Attempt, step: Step, job: Job, what: bytes | SuspendedJob | Stop) -> Outcome:
        """The outcome of a step: of a job to run, one that was suspended, or one that was started and of which this has come."""
        (phase, payload), limits = step, attempt.limits
        outcome = self._try(attempt, what)
        if (
            attempt.suspended and self._process is attempt.process
        ):  # else it has been replaced, and no other can go on with that
            self._suspended_now = step, attempt.suspended
        if outcome is not None and phase is Phase.SOL and outcome.end is End.PUZZLE_ERROR:
            # A solution may claim that. Alone the puzzle speaks for itself; if it loads, fork must tell which was to blame.
            alone = pack(Phase.LOAD, job.sat, b"", limits, job.seed)
            outcome = self._try(self._attempt(Job(b"", b"", limits), limits), alone)
            outcome = outcome if outcome and outcome.end in _ENDS_OF_LOADING else None
        if outcome is not None:
            return outcome
        self.counters.given_up += 1
        return self._fork.run(phase, job.sat, payload, limits, job.seed)

    def _try(self, attempt: Attempt, what: bytes | SuspendedJob | Stop) -> Outcome | None:
        """The outcome of a job on the runner, which is put back; None if it can't be told, or if a comparison found a difference."""
        limits, outcome = attempt.limits, attempt.go_on(what) if isinstance(what, Stop) else attempt.run(what)
        if not self._put_back(attempt, denied=outcome is None) or outcome is None:
            return None
        outcome.cpu_seconds, outcome.wall_seconds = cpu, _ = attempt.used
        if cpu > limits.cpu_seconds:
            outcome.end, outcome.detail, outcome.payload = End.CPU, "", b""
        if outcome.end is End.CPU:
            outcome.observed = cpu
        outcome.engine, outcome.peak_memory_bytes = self.name, attempt.peak_bytes or attempt.process.peak_memory_bytes
        return outcome

    def _put_back(self, attempt: Attempt, denied: bool) -> bool:
        """Restore the runner, or replace it; False if a comparison found a difference."""
        if attempt.spoilt:
            self._replace()
            return True
        suspect = (
            attempt.timed_out or attempt.process.suspect or (denied and self.counters.given_up % CHECK_DENIED == 0)
        )
        if attempt.suspended:
            self._interrupted += 1
            suspect = self._interrupted % CHECK_SUSPENDED == 0
        return self._keep(attempt.process, attempt.put_back, suspect, 1)

    def _keep(self, process: SnapshotProcess, put_back: bool, suspect: bool, jobs: int) -> bool:
        """The same for one that has done so many jobs since, and has been restored already, or is suspect."""
        self._jobs += jobs
        if self._jobs >= RECYCLE_EVERY:
            self._replace()
            return True
        try:
            if not put_back:
                process.restore()
            self._learn(process, jobs)
            if not suspect and self._jobs - self._checked_at < CHECK_EVERY:
                return True
            self.counters.checked += 1
            self._checked_at = self._jobs
            if not process.differences():
                return True
        except (Unrestorable, OSError):
            self._replace()
            return True
        self.counters.mismatches += 1
        self._replace()
        return False

    def _jobs_until_due(self) -> int:
        """How many jobs there are until something else is due: a comparison, another runner, or something to be learnt."""
        learnt = self._learnt % _LEARN_EVERY
        lesson = next((at for at in _LEARN_AT if at > learnt), _LEARN_EVERY) - learnt
        return min(CHECK_EVERY + self._checked_at - self._jobs, RECYCLE_EVERY - self._jobs, lesson)

    def _learn(self, process: SnapshotProcess, jobs: int) -> None:
        """Which pages do jobs usually write? Asked of the first jobs, and of others from time to time."""
        before = self._learnt % _LEARN_EVERY
        self._learnt += jobs
        if before >= _LEARN_AT[-1]:
            return
        self._writes.update(process.memory.written())
        number = before + jobs
        if not any(before < at <= number for at in _LEARN_AT):
            return
        room = _MAX_HOT - len(self._hot)
        often = [page for page, times in self._writes.most_common(room) if times >= _HOT_SHARE * number]
        self._writes.clear()
        if often:
            self._hot |= frozenset(often)
            process.memory.set_hot(self._hot)

    def _replace(self) -> None:
        """End the runner; the next job gets a new one."""
        self.end_process()
        self.counters.replaced += 1

    def end_process(self) -> None:
        """Kill the runner, if there is one."""
        if self._process is not None:
            self._process.end()
            self._process = None
            self._suspended.forget()

    def close(self) -> None:
        """See `Engine.close`."""
        self.end_process()
        if self._spare is not None:
            self._spare.end()
        self._fork.close()
