"""The snapshot engine: one warm process, put back bit for bit after every phase.

How it works. The *snapshot process* is a fork of the zygote that has configured its memory and waits for a job, traced
by the supervisor. At that point the supervisor takes a snapshot: a copy of all writable memory and of all registers.
For each job the supervisor writes the job's bytes into the process's memory, lets it run and reads its report from
its memory. Then it puts back every page that was written, and every register: the process waits again, and nothing in
it shows that there was a job.

Why that is enough. For the code in it, a process is memory, registers, and what the kernel keeps for it.

* Memory: the kernel itself lists the pages that were written (`selftaught.sandbox.worker.snapshot.memory`). Code is
  mapped read-only.
* Registers: the supervisor sets the general ones. The process's own first instructions load the flags and the extended
  registers, with the floating-point control words, before it reads a job (snapshot.c has the list). The supervisor
  sets them too unless the last job simply reported.
* The kernel's part changes by system calls only, and *every* call stops the process before it takes place. The
  supervisor lets calls pass that change nothing (`selftaught.sandbox.worker.snapshot.calls`), and requests for memory,
  after which it replaces the process. It answers writes to the standard streams itself. On any other call, on any
  signal, and at any limit but time the phase has no outcome here: the process is put back and the fork engine runs the
  phase again. That engine can observe what happened, and has files to import. Whether a call may take place is decided
  by its number and registers, never by what a pointer points to.

Most tasks give a simple answer and get a yes or no. One call of the C code runs both phases of such tasks, one after
another (tasks.c): each phase begins at the snapshot, and only checked bytes pass from the first to the second. One job
compiles the puzzles of the next tasks together (precompile.c). It runs no code of theirs, and the process is put back
after it as well. Solutions are compiled each in its own phase. So one puzzle could affect the next only through a flaw
in Python's compiler. Compiled code is used only if marshal keeps it exactly
(`selftaught.sandbox.worker.inside.phase`). A task that goes otherwise ends the C call at the phase where it does, and
continues in Python.

Suspended tasks. A job whose time slice runs out is suspended (`selftaught.sandbox.worker.snapshot.suspended`): the
supervisor keeps the pages that it wrote and its registers, then puts the process back. When the same task comes again
with all its time, the supervisor writes them into the same process, which then is bit for bit where the job was. It
interprets none of it. A job starts over if it was in a system call, had begun to report, or if its process
has been replaced.

What a rollback does not put back, and why that does no harm: the processor's caches and branch predictors; times; CPU
time used so far, which the process can't ask for (that call does not pass); which pages are resident. A comparison is
meant to show where the argument fails: all memory, mappings and registers are compared with the snapshot every
`CHECK_EVERY` jobs, after every time-out, after one in `CHECK_SUSPENDED` jobs that were suspended, and after one in
`CHECK_GIVEN_UP` that were given up. A difference counts as a *mismatch*, costs the process, and the fork engine runs
the phase again. A verdict already given can't be taken back: the verifier logs which tasks ran since the last
comparison. Tests and soak runs insist on zero mismatches. A process that died can't be compared.

The engine replaces a process when the worker has nothing else to do, if possible.
"""

from __future__ import annotations

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
CHECK_GIVEN_UP, CHECK_SUSPENDED = 16, 8
RECYCLE_EVERY = 100_000
"""Jobs after which a snapshot process is replaced in any case."""

_ENDS_OF_LOADING = (End.PUZZLE_ERROR, End.CPU, End.WALL)
_LEARN_AT, _LEARN_EVERY, _HOT_SHARE, _MAX_HOT = (25, 200, 1000), 2048, 0.1, 1000
"""Written pages are counted after these jobs of every so many; a page that this share of them wrote becomes hot."""


class SnapshotEngine:
    """Runs phases in a snapshot process, and leaves to the fork engine what it can't observe. Implements `Engine`."""

    name = "snapshot"

    def __init__(self, fork: ForkEngine, client: int) -> None:
        """Spawn the first snapshot process.

        Args:
            fork: runs what this engine can't. The engine closes it.
            client: descriptor of the connection to the verifier; the engine stops with ClientGone when it hangs up.

        Raises:
            OSError, WorkerFailed: the host can't run this engine.
        """
        if os.uname().machine != "x86_64":
            raise OSError(f"not for {os.uname().machine}: only for x86_64")
        load_checked()  # fails before a process is spawned in vain
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
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGALRM,))  # ends a wait (job.c); our caller may block it
        self._process: SnapshotProcess | None = None
        self._ready_process()

    def _ready_process(self) -> SnapshotProcess:
        """Return the snapshot process, a new one if there is none."""
        if self._process is None:
            self._process = self._new()
            self._jobs = self._checked_at = 0
            try:
                self._process.memory.set_hot(self._hot)
            except Unrestorable:  # its memory is laid out differently
                self._hot, self._learnt = frozenset(), 0
                self._process.memory.set_hot(self._hot)
        return self._process

    def _new(self) -> SnapshotProcess:
        spawned = spawn(self._jailed, self._client)
        try:
            return SnapshotProcess(spawned, REPORT_FD, self._context.calls.actions, self._jailed.has_packages)
        except BaseException:
            spawned.tracee.kill()
            raise

    def idle(self) -> bool:
        """See `Engine.idle`. Replaces an ended process, which costs some milliseconds."""
        self._suspended.clear()
        if self._process is None:
            self._ready_process()
            return True
        return False

    def execute(self, frames: bytes) -> Iterator[bytes]:
        """See `Engine.execute`."""
        self._fork.on_slow_phase = self.on_slow_phase
        while frames:
            if self._suspended and (task := self._resume(wire.unpack_job(next(wire.cut(frames))))):
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
        """Have the C code run as many tasks as go the usual way; None if the process had to be replaced."""
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
            self._restore_and_check(process, True, process.suspect, 2 * batch.tasks)
        else:
            self._jobs += 2 * batch.tasks + bool(batch.first)
        return batch

    def _execute_first(self, job: Job, batch: Batch | None) -> list[Outcome]:
        """Run a task of which the C code may have run a phase, or started one. Return its outcomes."""
        self._suspended_now, steps = None, steps_of(job)
        step, outcome = next(steps), None
        if batch and batch.first:
            (first,), _ = wire.unpack_results(next(wire.cut(batch.first)))
            first.payload = batch.answer
            step = steps.send(first)
        if batch and batch.phase:
            outcome = self._finish(self._attempt(job, self._executor.time_slice.limits(job)), step, job, batch.stop)
        outcomes = self._executor.go_on(job, steps, step, outcome)
        if self._suspended_now:  # its step may be a later one than this
            self._suspended.add(job, steps, *self._suspended_now)
        return outcomes

    def _resume(self, job: Job) -> list[Outcome] | None:
        """Continue the task if it was suspended and has all its time now. Return its outcomes, else None."""
        if job.sliced or not (kept := self._suspended.take(job)):
            return None
        steps, step, suspended = kept
        outcome = self._finish(self._attempt(job, job.limits, suspended), step, job, suspended)
        return self._executor.go_on(job, steps, step, outcome)

    def _run_step(self, job: Job, step: Step, limits: Limits) -> Outcome:
        """Run a step from its start. A program goes to the fork engine: it needs streams of its own."""
        phase, payload = step
        if phase is Phase.RUN:
            return self._fork.run(phase, job.sat, payload, limits, job.seed)
        return self.run(phase, job.sat, payload, limits, job.seed, job.sliced)

    def run(
        self, phase: Phase, sat: bytes, payload: bytes, limits: Limits, seed: int, resumable: bool = False
    ) -> Outcome:
        """Run a phase to its end.

        Args:
            phase: `Phase.SOL`, `Phase.SAT` or `Phase.LOAD`.
            sat: source of the puzzle.
            payload: source of the solution, or the answer's encoding.
            limits: limits of this phase.
            seed: seed of the `random` module; 0 leaves it as it is.
            resumable: True if the job may be suspended when it takes too long.

        Returns:
            The evidence of the phase.

        Raises:
            WorkerFailed: the jailed processes are no longer usable.
            ClientGone: the verifier has closed the connection.
        """
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

    def _finish(self, attempt: Attempt, step: Step, job: Job, work: bytes | SuspendedJob | Stop) -> Outcome:
        """Return the outcome of a step.

        `work` is a job to run, a suspended job to resume, or the stop of a job that has been started.
        """
        (phase, payload), limits = step, attempt.limits
        outcome = self._try(attempt, work)
        if attempt.suspended and self._process is attempt.process:  # no other process can resume it
            self._suspended_now = step, attempt.suspended
        if outcome is not None and phase is Phase.SOL and outcome.end is End.PUZZLE_ERROR:
            # The solution may have forged that. Run the puzzle alone; if it loads, fork must find out which one failed.
            alone = pack(Phase.LOAD, job.sat, b"", limits, job.seed)
            outcome = self._try(self._attempt(Job(b"", b"", limits), limits), alone)
            outcome = outcome if outcome and outcome.end in _ENDS_OF_LOADING else None
        if outcome is not None:
            return outcome
        self.counters.given_up += 1
        return self._fork.run(phase, job.sat, payload, limits, job.seed)

    def _try(self, attempt: Attempt, work: bytes | SuspendedJob | Stop) -> Outcome | None:
        """Run a job and restore the process. Return None if fork must run it, or a comparison found a difference."""
        limits, outcome = attempt.limits, attempt.go_on(work) if isinstance(work, Stop) else attempt.run(work)
        if not self._restore(attempt, given_up=outcome is None) or outcome is None:
            return None
        outcome.cpu_seconds, outcome.wall_seconds = cpu, _ = attempt.used
        if cpu > limits.cpu_seconds:
            outcome.end, outcome.detail, outcome.payload = End.CPU, "", b""
        if outcome.end is End.CPU:
            outcome.observed = cpu
        outcome.engine, outcome.peak_memory_bytes = self.name, attempt.process.peak_memory_bytes
        return outcome

    def _restore(self, attempt: Attempt, given_up: bool) -> bool:
        """Restore the process after an attempt, or replace it. Return False if a comparison found a difference."""
        if attempt.must_replace:
            self._replace()
            return True
        suspect = (
            attempt.timed_out or attempt.process.suspect or (given_up and self.counters.given_up % CHECK_GIVEN_UP == 0)
        )
        if attempt.suspended:
            self._interrupted += 1
            suspect = self._interrupted % CHECK_SUSPENDED == 0
        return self._restore_and_check(attempt.process, attempt.restored, suspect, 1)

    def _restore_and_check(self, process: SnapshotProcess, restored: bool, suspect: bool, jobs: int) -> bool:
        """Do the same for a process that has run so many jobs since, and may have been restored already."""
        self._jobs += jobs
        if self._jobs >= RECYCLE_EVERY:
            self._replace()
            return True
        try:
            if not restored:
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
        """Return the number of jobs until a comparison, a replacement or a count of written pages is due."""
        learnt = self._learnt % _LEARN_EVERY
        until_count = next((at for at in _LEARN_AT if at > learnt), _LEARN_EVERY) - learnt
        return min(CHECK_EVERY + self._checked_at - self._jobs, RECYCLE_EVERY - self._jobs, until_count)

    def _learn(self, process: SnapshotProcess, jobs: int) -> None:
        """Count which pages jobs write, for the first jobs and from time to time; those written often become hot."""
        before = self._learnt % _LEARN_EVERY
        self._learnt += jobs
        if before >= _LEARN_AT[-1]:
            return
        self._writes.update(process.memory.written())
        number = before + jobs
        if not any(before < at <= number for at in _LEARN_AT):
            return
        most = _MAX_HOT - len(self._hot)
        often = [page for page, times in self._writes.most_common(most) if times >= _HOT_SHARE * number]
        self._writes.clear()
        if often:
            self._hot |= frozenset(often)
            process.memory.set_hot(self._hot)

    def _replace(self) -> None:
        """End the process; the next job gets another."""
        self.end_process()
        self.counters.replaced += 1

    def end_process(self) -> None:
        """Kill the snapshot process, if there is one."""
        if self._process is not None:
            self._process.end()
            self._process = None
            self._suspended.clear()

    def close(self) -> None:
        """See `Engine.close`."""
        self.end_process()
        self._fork.close()
