"""The snapshot engine: warm processes, put back bit for bit after every phase.

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
  supervisor lets calls pass that change nothing (`selftaught.sandbox.worker.snapshot.calls`). It answers calls on the
  standard streams itself. On any other call, on any signal, and at any limit but time the phase has no outcome here:
  the process is put back and the fork engine runs the phase again. That engine can observe what happened, and has files
  to import. Whether a call may take place is decided by its number and registers, never by what a pointer points to.

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

Sessions. A process that sends a message stops at the call that writes it. The supervisor puts the answer where the
process reads jobs, and lets it go on. Tests and comparisons have a process of their own beside that of the solution
(`selftaught.sandbox.worker.snapshot.session`); relay.c passes calls between the two.

What a rollback does not put back, and why that does no harm: the processor's caches and branch predictors; times; CPU
time used so far, which the process can't ask for (that call does not pass); which pages are resident. A comparison is
meant to show where the argument fails: all memory, mappings and registers are compared with the snapshot every
`CHECK_EVERY` jobs, after every time-out, after one in `CHECK_SUSPENDED` jobs that were suspended, and after one in
`CHECK_GIVEN_UP` that were given up (`selftaught.sandbox.worker.snapshot.upkeep`). A difference counts as a
*mismatch*, costs the process, and the fork engine runs the phase again. A verdict already given can't be taken back:
the verifier logs which tasks ran since the last comparison. Tests and soak runs insist on zero mismatches. A process
that died can't be compared.

The engine replaces a process when the worker has nothing else to do, if possible.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace

from selftaught.sandbox import wire
from selftaught.sandbox.job import Job, Kind, Turn
from selftaught.sandbox.outcome import Counters, End, Outcome, Phase
from selftaught.sandbox.task import Limits
from selftaught.sandbox.worker.engine import BATCH_SECONDS, SLOW_PHASE_SECONDS, Preempted, do_nothing
from selftaught.sandbox.worker.fork.engine import ForkEngine
from selftaught.sandbox.worker.native.library import load_checked
from selftaught.sandbox.worker.native.shared import Stop
from selftaught.sandbox.worker.phases import Step, Steps, TaskExecutor, steps_of
from selftaught.sandbox.worker.session import GivenUp, Request, Session
from selftaught.sandbox.worker.snapshot.attempt import Attempt, Context
from selftaught.sandbox.worker.snapshot.calls import Calls
from selftaught.sandbox.worker.snapshot.process import OUTPUT_BYTES, Batch, SnapshotProcess, fits
from selftaught.sandbox.worker.snapshot.session import SnapshotSession
from selftaught.sandbox.worker.snapshot.spawn import spawn
from selftaught.sandbox.worker.snapshot.suspended import SuspendedJob, SuspendedTasks
from selftaught.sandbox.worker.snapshot.upkeep import Upkeep

_ENDS_OF_LOADING = (End.PUZZLE_ERROR, End.CPU, End.WALL)


class SnapshotEngine:
    """Runs phases in snapshot processes, and leaves to the fork engine what it can't observe. Implements `Engine`.

    Most jobs need one process. A second one serves sessions beside the first: tests beside a solution.
    """

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
        self._client_poll = client_poll
        self._context = Context(Calls(self._jailed), client_poll, lambda: self.on_slow_phase())
        self.counters = Counters()
        self.on_slow_phase: Callable[[], None] = do_nothing
        self._executor = TaskExecutor(self._run_step, self._open, self._run_request, fork.others_wait)
        self._suspended = SuspendedTasks()
        self._suspended_now: tuple[Step, SuspendedJob] | None = None
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGCHLD,))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGALRM,))  # ends a wait (job.c); our caller may block it
        self._sessions = ExitStack()
        self._main = Upkeep(self._new, self.counters, on_end=self._suspended.clear)
        self._second = Upkeep(self._new, self.counters)
        self._main.ready()

    def _new(self) -> SnapshotProcess:
        spawned = spawn(self._jailed, self._client)
        try:
            return SnapshotProcess(spawned, wire.REPORT_FD, self._context.calls.actions, self._jailed.has_packages)
        except BaseException:
            spawned.tracee.kill()
            raise

    def idle(self) -> bool:
        """See `Engine.idle`. Replaces an ended process, which costs some milliseconds, and returns memory."""
        self._suspended.clear()
        return self._main.idle() or self._second.idle()

    def execute(self, frames: bytes) -> Iterator[bytes]:
        """See `Engine.execute`."""
        self._fork.on_slow_phase = self.on_slow_phase
        at, size = 0, len(frames)
        while at < size:
            batch, (kind, turn) = None, wire.kind_and_turn_of_first(frames, at)
            is_preemptible = turn.is_preemptible or (self._suspended and turn is Turn.WHOLE)
            if kind is Kind.PUZZLE and not is_preemptible:
                batch = self._execute_batch(frames[at:])
                if batch and batch.tasks:
                    yield batch.results
                    at += batch.consumed
                if at == size or (batch and batch.stop is Stop.MORE):
                    continue
            end = wire.end_of_first(frames, at)
            job = wire.unpack_job(next(wire.cut(frames[at:end])))
            at = end
            if is_preemptible:
                yield self._frame(self._execute_preemptible(job, at < size))
            else:
                yield self._frame(self._execute_first(job, batch))

    def _execute_preemptible(self, job: Job, others_wait: bool) -> list[Outcome]:
        """Run a task from its start, or go on with it, until it ends or the next job comes."""
        if others_wait and job.turn.is_preemptible:
            return [Outcome(End.UNFINISHED, observed=1.0)]
        watched = select.POLLRDHUP | (select.POLLIN if job.turn.is_preemptible else 0)
        self._client_poll.modify(self._client, watched)
        try:
            with self._fork.turn(job):
                return self._resume(job) or self._execute_first(job, None)
        finally:
            self._client_poll.modify(self._client, select.POLLRDHUP)

    def _frame(self, outcomes: list[Outcome]) -> bytes:
        return wire.frame(wire.pack_counters(self.counters) + wire.pack_outcomes(outcomes))

    def _execute_batch(self, frames: bytes) -> Batch | None:
        """Have the C code run as many tasks as go the usual way; None if the process had to be replaced."""
        process = self._main.ready()
        times = SLOW_PHASE_SECONDS, BATCH_SECONDS
        try:
            batch = process.execute(
                frames, wire.pack_counters(self.counters), max(1, self._main.jobs_until_due() // 2), *times
            )
        except OSError:  # it has died
            self._main.replace()
            return None
        self._executor.time_slice.phase_ended(SLOW_PHASE_SECONDS, 2 * batch.tasks)
        if batch.phase is None:
            self._main.restore_and_check(True, process.suspect, 2 * batch.tasks)
        else:
            self._main.add_jobs(2 * batch.tasks + bool(batch.first))
        return batch

    def _execute_first(self, job: Job, batch: Batch | None) -> list[Outcome]:
        """Run a task of which the C code may have run a phase, or started one. Return its outcomes."""
        self._suspended_now = None
        if not job.has_steps:
            return self._execute_cases(job)
        steps = steps_of(job)
        step, outcome = next(steps), None
        if batch and batch.first:
            (first,), _ = wire.unpack_results(next(wire.cut(batch.first)))
            first.payload = batch.answer
            step = steps.send(first)
        if batch and batch.phase:
            request = self._request(job, step, self._executor.time_slice.limits(job))
            outcome = self._finish(self._attempt(request.limits, job.turn), request, batch.stop)
        return self._go_on(job, steps, step, outcome)

    def _go_on(self, job: Job, steps: Steps, step: Step, outcome: Outcome | None) -> list[Outcome]:
        """Run the rest of a task, and keep its state if it is unfinished."""
        outcomes = self._executor.go_on(job, steps, step, outcome)
        if self._suspended_now and outcomes[-1].end is End.UNFINISHED:  # its step may be a later one than this
            self._suspended.add(job, steps, *self._suspended_now)
            outcomes[-1].observed = 1.0
        return outcomes

    def _execute_cases(self, job: Job) -> list[Outcome]:
        """Run a task with tests or cases; as a whole on the fork engine if one of its sessions can't go on here."""
        try:
            with ExitStack() as self._sessions:  # whatever ends the task, no process is left as it was in a session
                return self._executor.execute(job)
        except GivenUp:
            self.counters.given_up += 1
            return self._fork.executor.execute(job)

    def _open(self, request: Request) -> Session:
        """Return a session. What judges a solution has the second process: the first may be the solution's by then."""
        upkeep = self._main if request.phase in (Phase.SERVE, Phase.SHARED) else self._second
        session = SnapshotSession(self._context, upkeep, request)
        self._sessions.callback(session.close)
        return session

    def _resume(self, job: Job) -> list[Outcome] | None:
        """Continue the task if it was suspended. Return its outcomes, else None."""
        if not (kept := self._suspended.take(job)):
            return None
        steps, step, suspended = kept
        self._suspended_now = None
        request, turn = self._request(job, step), job.turn
        try:
            outcome = (
                self._run_program(request, turn, suspended)
                if request.phase is Phase.RUN
                else self._finish(self._attempt(request.limits, turn, suspended), request, suspended)
            )
        except Preempted:  # on the fork engine
            return [Outcome(End.UNFINISHED)]
        return self._go_on(job, steps, step, outcome)

    def _run_step(self, job: Job, step: Step, limits: Limits) -> Outcome:
        """Run a step from its start."""
        phase, payload = step
        if job.files:
            return self._fork.run_request(Request(phase, job.sat, payload, limits, job.seed, files=job.files))
        return self.run(phase, job.sat, payload, limits, job.seed, job.turn)

    def run(
        self, phase: Phase, sat: bytes, payload: bytes, limits: Limits, seed: int, turn: Turn = Turn.WHOLE
    ) -> Outcome:
        """Run a phase to its end.

        Args:
            phase: what to do.
            sat: source of the puzzle, or of the program.
            payload: source of the solution, the answer's encoding, or the program's standard input.
            limits: limits of this phase.
            seed: seed of the `random` module; 0 leaves it as it is.
            turn: how long the job may run.

        Returns:
            The evidence of the phase.

        Raises:
            WorkerFailed: the jailed processes are no longer usable.
            ClientGone: the verifier has closed the connection.
        """
        return self._run_request(Request(phase, sat, payload, limits, seed), turn)

    def _run_request(self, request: Request, turn: Turn = Turn.WHOLE) -> Outcome:
        if request.phase is Phase.RUN:
            return self._run_program(request, turn)
        packed = request.pack(0)
        if not fits(packed, request.limits):
            return self._fork.run_request(request)
        return self._finish(self._attempt(request.limits, turn), request, packed)

    def _run_program(self, request: Request, turn: Turn = Turn.WHOLE, suspended: SuspendedJob | None = None) -> Outcome:
        """Run a program, or go on with a suspended one. The supervisor answers for its standard streams."""
        packed, limits = replace(request, payload=request.source).pack(0), request.limits
        if not fits(packed, limits):
            return self._fork.run_request(request)
        process = self._main.ready()
        process.set_streams(request.payload, min(limits.output_bytes, OUTPUT_BYTES), suspended)
        attempt = self._attempt(limits, turn, suspended)
        try:
            outcome = self._try(attempt, suspended or packed, process)
            too_much = limits.output_bytes > OUTPUT_BYTES and process.is_output_cut
        finally:
            process.set_streams(None, 0)
        if attempt.suspended and self._main.process is process:
            self._suspended_now = (request.phase, request.payload), attempt.suspended
        if outcome is None or too_much or outcome.end not in (End.EXITED, End.CPU, End.WALL, End.UNFINISHED):
            self._suspended_now = None
            self.counters.given_up += 1
            return self._fork.run_request(request)
        outcome.phase = Phase.RUN
        return outcome

    def _request(self, job: Job, step: Step, limits: Limits | None = None) -> Request:
        phase, payload = step
        return Request(phase, job.sat, payload, limits or job.limits, job.seed)

    def _attempt(self, limits: Limits, turn: Turn = Turn.WHOLE, suspended: SuspendedJob | None = None) -> Attempt:
        self._suspended_now = None
        used = suspended.used if suspended else (0.0, 0.0)
        return Attempt(self._context, self._main.ready(), limits, used, turn)

    def _finish(self, attempt: Attempt, request: Request, work: bytes | SuspendedJob | Stop) -> Outcome:
        """Return the outcome of a phase.

        `work` is a job to run, a suspended job to resume, or the stop of a job that has been started.
        """
        phase = request.phase
        outcome = self._try(attempt, work)
        if attempt.suspended and self._main.process is attempt.process:  # no other process can resume it
            self._suspended_now = (phase, request.payload), attempt.suspended
        if outcome is not None and phase is Phase.SOL and outcome.end is End.PUZZLE_ERROR:
            # The solution may have forged that. Run the puzzle alone; if it loads, fork must find out which one failed.
            alone = Request(Phase.LOAD, request.sat, b"", request.limits, request.seed).pack(0)
            outcome = self._try(self._attempt(request.limits), alone)
            outcome = outcome if outcome and outcome.end in _ENDS_OF_LOADING else None
        if outcome is not None:
            outcome.phase = phase
            return outcome
        self.counters.given_up += 1
        return self._fork.run_request(request)

    def _try(
        self, attempt: Attempt, work: bytes | SuspendedJob | Stop, program: SnapshotProcess | None = None
    ) -> Outcome | None:
        """Run a job and restore the process. Return None if fork must run it, or a comparison found a difference."""
        limits, found = attempt.limits, attempt.go_on(work) if isinstance(work, Stop) else attempt.run(work)
        outcome = found if isinstance(found, Outcome) else None
        output = program.output() if program and outcome else b""
        if not self._main.restore(attempt, given_up=outcome is None) or outcome is None:
            return None
        outcome.payload = output or outcome.payload
        outcome.cpu_seconds, outcome.wall_seconds = cpu, _ = attempt.used
        if cpu > limits.cpu_seconds:
            outcome.end, outcome.detail = End.CPU, ""
            outcome.payload = output
        if outcome.end is End.CPU:
            outcome.observed = cpu
        outcome.engine, outcome.peak_memory_bytes = self.name, attempt.process.peak_memory_bytes
        return outcome

    def end_process(self) -> None:
        """Kill the snapshot processes."""
        self._main.end()
        self._second.end()

    def close(self) -> None:
        """See `Engine.close`."""
        self.end_process()
        self._fork.close()
