"""The pool of workers: one queue, and one thread for each worker.

Dispatch: guided self-scheduling (Polychronopoulos and Kuck 1987). A worker thread keeps its worker supplied with jobs:
enough for a few milliseconds, so that neither waits for the other, but no more than its share of the queue, so that all
workers finish together and no long job delays many others.

Preemption: a multilevel feedback queue (`selftaught.sandbox.time_slice`). A job runs in a time slice first. A job that
needs more is demoted: it runs again, alone, when the queue is empty, those first that have had the fewest slices, and
preferably on the same worker, which may have suspended it and can resume it. When others come and no worker is idle,
the next of them is sent to it, which preempts it. So endless loops, which use up their whole limit, delay nobody. And
no stream of short jobs starves a longer one: a worker gives demoted jobs as much time as all others. A job that has to
start over each time is no longer preempted once it has lost as much time as it may take; all workers but one may be
occupied by such jobs.

Recovery: if a worker dies, the oldest of its jobs, which it was running, is retried once, alone; the others are sent
again and count no attempt. A job whose second worker dies gets `internal_error`. A worker that exceeds the time that
its job's limits allow is killed and counts as dead. A worker that is running a cancelled job is killed too, which
counts against no job, unless that job can be preempted.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from queue import Empty, SimpleQueue

from selftaught.sandbox import decision
from selftaught.sandbox.backends.worker import BUFFER_BYTES, END_SECONDS, SEND_SECONDS, START_SECONDS, Backend, Worker
from selftaught.sandbox.errors import CannotConfine, WorkerFailed
from selftaught.sandbox.job import Job
from selftaught.sandbox.outcome import Counters, End, Outcome
from selftaught.sandbox.program import Ending, Run
from selftaught.sandbox.task import Limits
from selftaught.sandbox.ticket import GRACE_SECONDS, Ticket
from selftaught.sandbox.time_slice import DemotedShare
from selftaught.sandbox.verdict import Status, Verdict

START_ATTEMPTS = 4
"""How many times in a row a worker may fail to start before that counts as an attempt at the waiting job."""

OVERHEAD_SECONDS = START_ATTEMPTS * START_SECONDS + SEND_SECONDS + GRACE_SECONDS + END_SECONDS
"""Upper bound on an attempt at a job without its phases: start a worker, send, wait past the limits, end the worker."""

CANCEL_SECONDS = 0.1
"""How long a cancelled job may go on running: most jobs end in less, and a new worker costs more."""

_PREEMPT_SECONDS = 0.01
"""How long others wait at most before they are sent to a worker to preempt its job."""

MAX_IN_FLIGHT = 256
"""The most jobs that one worker is sent before it has returned the outcomes of the first."""

ATTEMPTS = 2
_UNCONFIRMED, _LOGGED_CHARACTERS = 1024, 100
"""How many tasks a worker judges at most between two comparisons of memory, and how much of a task's id is logged."""
_MOST_SECONDS, _LEAST_SECONDS = 0.04, 0.005
"""The work in flight at a worker, by what recent jobs took: at most, and at least, whatever the worker's share is."""

_LOG = logging.getLogger("selftaught")
_CANCELLED = "the caller cancelled it"


def _empty_job() -> Ticket:
    return Ticket("", Job(b"", b"", Limits()), lambda verdict: None)


_CHECK_DEMOTED = _empty_job()
"""Not a job: makes an idle worker thread look into `Pool.demoted`."""


class Pool:
    """The workers of a verifier, all of one confinement level. Thread-safe.

    Args:
        backend: Where workers run.
        workers: How many.
        limits: Limits that a worker must be able to serve from the start.
        level: The confinement level that every worker must reach.
        name: Program and version, as verdicts name them.

    Raises:
        CannotConfine: The first worker can't reach the level.
    """

    def __init__(self, backend: Backend, workers: int, limits: Limits, level: str, name: str) -> None:
        self.backend, self.level, self.limits = backend, level, limits
        self._queue: SimpleQueue[Ticket] = SimpleQueue()
        self._idle: list[_WorkerThread] = []
        self._lock = threading.Lock()
        self.demoted: deque[Ticket] = deque()
        self._not_preemptible: set[Ticket] = set()  # those running whose `must_end` is true
        self.closing = False
        self._closed = threading.Lock()
        allowed = sorted(os.sched_getaffinity(0))
        start = os.getpid()  # spreads the workers of several verifiers over the processors
        processors = [allowed[(start + number) % len(allowed)] for number in range(workers)]
        first = backend.start(level, limits, processors[0])
        self.name, self.proof, self.engine = f"{name} {first.python}", first.proof, first.engine
        self.packages = first.packages
        if first.reason:
            _LOG.warning("using the engine fork, which is several times slower than snapshot: %s", first.reason)
        self._threads = [_WorkerThread(self, processor) for processor in processors]
        self._threads[0].worker = first
        for thread in self._threads:
            thread.start()

    def start_worker(self, processor: int) -> Worker:
        """Start one more worker of the same kind. Raises CannotConfine or WorkerFailed."""
        return self.backend.start(self.level, self.limits, processor)

    def submit(self, ticket: Ticket) -> None:
        """Queue a job. Its callback is called once, also if the pool is closed."""
        self.enqueue(ticket)
        if self.closing:
            self._cancel_queued()

    def enqueue(self, ticket: Ticket) -> None:
        """Give the ticket to the thread that became idle last (its worker has warm caches), or else to the queue."""
        with self._lock:
            (self._idle.pop().inbox if self._idle else self._queue).put(ticket)

    def mark_idle(self, thread: _WorkerThread) -> bool:
        """Mark this worker thread idle; return False if there is work for it after all."""
        with self._lock:
            if not self._queue.empty() or self._able():
                return False
            if not self.closing:
                self._idle.append(thread)
            return True

    def demote(self, ticket: Ticket, preempted: bool) -> None:
        """Queue a ticket whose turn is over behind all others; one that was preempted before those that had as many."""
        with self._lock:
            self._not_preemptible.discard(ticket)
            (self.demoted.appendleft if preempted else self.demoted.append)(ticket)
            self._wake_idle()

    def take_demoted(self, thread: _WorkerThread) -> Ticket | None:
        """Remove and return a demoted ticket, if one may run.

        It is one of those that have had the fewest slices, and of these rather one that this thread's worker may have
        suspended.
        """
        with self._lock:
            if not (able := self._able()):
                return None
            ticket = min(able, key=lambda ticket: (ticket.slices, ticket.thread is not thread))
            self.demoted.remove(ticket)
            if ticket.must_end:
                self._not_preemptible.add(ticket)
            return ticket

    def ended(self, ticket: Ticket) -> None:
        """Note that a worker has no more to do with a ticket."""
        if ticket.slices:
            with self._lock:
                self._not_preemptible.discard(ticket)
                self._wake_idle()

    def _able(self) -> list[Ticket]:
        """Return the demoted tickets that may run: not those that must end if too many of them run already."""
        full = len(self._not_preemptible) >= max(1, len(self._threads) - 1)
        return [ticket for ticket in self.demoted if not (full and ticket.must_end)]

    def _wake_idle(self) -> None:
        """Have an idle thread look for a demoted ticket, if there is one. The others look when they have no work."""
        if self._idle and self.demoted:
            self._idle.pop().inbox.put(_CHECK_DEMOTED)

    def counters(self) -> Counters:
        """Return the sums over all snapshot engines since the start, those of ended workers included."""
        total = Counters()
        for thread in self._threads:
            total += thread.counters
            if thread.worker is not None:
                total += thread.worker.counters
        return total

    @property
    def queued(self) -> int:
        """The number of tickets that no worker has, roughly."""
        return self._queue.qsize() + len(self.demoted)

    @property
    def restarts(self) -> int:
        """How many workers have died or were killed, and were replaced."""
        return sum(thread.restarts for thread in self._threads)

    def worker_pids(self) -> list[int]:
        """Return the process ids of the running supervisors."""
        return [thread.worker.pid for thread in self._threads if thread.worker is not None]

    def close(self) -> None:
        """Cancel every unfinished job and end every worker. May be called again."""
        with self._closed:
            with self._lock:
                self.closing = True
                self._idle.clear()
            self._cancel_queued()
            for thread in self._threads:
                thread.inbox.put(None)
                thread.interrupt()
            for thread in self._threads:
                thread.join()
            self._cancel_queued()

    def abandon(self) -> None:
        """In a forked child: close its copies of the workers' descriptors. The workers belong to the parent."""
        for thread in self._threads:
            if thread.worker is not None:
                thread.worker.abandon()

    def _cancel_queued(self) -> None:
        while True:
            try:
                with self._lock:
                    ticket = self.demoted.popleft() if self.demoted else self._queue.get_nowait()
            except Empty:
                return
            ticket.done(self.unjudged(ticket, Status.CANCELLED, "the verifier was closed"))

    def unjudged(self, ticket: Ticket, status: Status, message: str) -> Verdict | Run:
        """Return a verdict, or for a program a run, that says why there is no result."""
        if ticket.job.program:
            return Run(ticket.id, Ending(status), message=message, retryable=True, verifier=self.name)
        return Verdict(ticket.id, status, message=message, retryable=True, verifier=self.name)


class _WorkerThread(threading.Thread):
    """Drives one worker: starts it, sends it jobs, waits for outcomes, and replaces it when it dies."""

    def __init__(self, pool: Pool, processor: int) -> None:
        super().__init__(name="selftaught-worker", daemon=True)
        self.pool, self.processor = pool, processor
        self.worker: Worker | None = None
        self.inbox: SimpleQueue[Ticket | None] = SimpleQueue()
        self.counters = Counters()  # of workers that have ended
        self.restarts = self._failed_starts = 0
        self._in_flight: deque[Ticket] = deque()
        self._unconfirmed: deque[str] = deque(maxlen=_UNCONFIRMED)
        self._retries: deque[Ticket] = deque()
        self._job_seconds = _MOST_SECONDS  # a moving average, pessimistic at first
        self._share = DemotedShare()

    def interrupt(self) -> None:
        """Wake the thread if it waits for its worker."""
        worker = self.worker
        if worker is not None:
            worker.interrupt()

    def run(self) -> None:
        """Process tickets until the pool closes, then end the worker."""
        while ticket := self._next():
            try:
                self._send(self._batch(ticket))
                self._collect()
            except (WorkerFailed, CannotConfine, OSError) as error:
                self._recover(error)
            except Exception as error:  # a bug of ours: the job fails, but its caller does not wait forever
                _LOG.exception("a job could not be judged: please report this")
                self._recover(error)
        if self.worker is not None:
            self.worker.close()
            self.worker = None

    def _next(self) -> Ticket | None:
        """Wait for the next ticket and return it, or None when the pool closes."""
        while True:
            if ticket := self._poll():
                return ticket
            if self.pool.mark_idle(self):
                ticket = self.inbox.get()
                if ticket is not _CHECK_DEMOTED:
                    return ticket

    def _poll(self, with_demoted: bool = True) -> Ticket | None:
        """Return the next ticket if there is one. Demoted ones come last, unless it is their turn.

        `with_demoted`: nothing else is in flight.
        """
        if self._retries:
            return self._retries.popleft()
        if with_demoted and self._share.is_due and (demoted := self.pool.take_demoted(self)):
            return demoted
        try:
            return self.pool._queue.get_nowait()
        except Empty:
            return self.pool.take_demoted(self) if with_demoted else None

    def _batch(self, first: Ticket | None = None) -> list[Ticket]:
        """Return the tickets to send now: enough to keep the worker busy, and no more than the connection buffers."""
        batch, in_flight = [first] if first else [], len(self._in_flight)
        if first and first.slices:
            return batch
        share = (self.pool.queued + in_flight) // len(self.pool._threads)
        few, many = (round(seconds / self._job_seconds) for seconds in (_LEAST_SECONDS, _MOST_SECONDS))
        most = max(1, min(MAX_IN_FLIGHT, many, max(share, few)))
        size = sum(ticket.size for ticket in (*self._in_flight, *batch))
        while len(batch) + in_flight < most:
            busy = bool(batch or in_flight)
            if busy and self._share.is_due and self.pool.demoted:
                break
            ticket = self._poll(with_demoted=not busy)
            if ticket is None:
                break
            size += ticket.size
            if busy and (size > BUFFER_BYTES or ticket.attempts or (batch or self._in_flight)[0].attempts):
                self._retries.appendleft(ticket)
                break
            batch.append(ticket)
            if ticket.slices:
                break
        return batch

    def _send(self, batch: list[Ticket]) -> None:
        """Send the jobs that have not been cancelled, and start a worker if there is none."""
        active = [ticket for ticket in batch if not ticket.cancelled]
        for ticket in batch:
            if ticket.cancelled:
                self._finish(ticket, self.pool.unjudged(ticket, Status.CANCELLED, _CANCELLED))
        if not active:
            return
        self._in_flight += active
        if self.worker is None:
            self.worker = self.pool.start_worker(self.processor)
            self._failed_starts = 0
            if self.pool.closing:  # `close` found no worker to interrupt: it was starting
                raise WorkerFailed("the verifier was closed")
        self.worker.submit([ticket.job for ticket in active])

    def _collect(self) -> None:
        """Receive outcomes and send more jobs, until nothing is in flight."""
        began = time.monotonic()
        while self._in_flight and self.worker is not None:
            ticket, turn_began = self._in_flight[0], time.monotonic()
            limits, decide = ticket.limits, decision.describe if ticket.job.program else decision.decide
            before = self.worker.counters
            outcomes = self._await_outcomes(self.worker, ticket)
            if self.worker.counters is not before:
                self._watch_comparisons(before, self.worker.counters)
            self._unconfirmed.append(ticket.id[:_LOGGED_CHARACTERS])
            now = time.monotonic()
            self._share.count(now - turn_began, bool(ticket.slices), bool(self.pool.demoted))
            if not ticket.slices:
                self._job_seconds += (sum([outcome.wall_seconds for outcome in outcomes]) - self._job_seconds) / 8
            if outcomes[-1].end is End.UNFINISHED:
                self._in_flight.popleft()
                preempted = bool(ticket.slices and self._in_flight)
                ticket.demote(self, now - turn_began, outcomes[-1].observed > 0, preempted)
                self.pool.demote(ticket, preempted)
            else:
                result = decide(ticket.id, outcomes, limits, self.pool.level, self.pool.name)
                self._in_flight.popleft()
                self._finish(ticket, result)
            now = time.monotonic()
            if now - began > _MOST_SECONDS / 4 or not self._in_flight:
                began = now
                self._send(self._batch())

    def _watch_comparisons(self, before: Counters, now: Counters) -> None:
        """Log the tasks judged since memory was last found unchanged, if the snapshot engine has found a difference."""
        if now.mismatches > before.mismatches:
            _LOG.error(
                "the snapshot engine did not restore a process completely: judge these tasks, the last that it judged "
                "since its last comparison of memory, again with engine='fork', and report this: %s",
                ", ".join(map(repr, self._unconfirmed)),
            )
        if now.checked > before.checked:
            self._unconfirmed.clear()

    def _await_outcomes(self, worker: Worker, ticket: Ticket) -> list[Outcome]:
        """Wait for the outcomes of the ticket's job. Raises WorkerFailed, also if the job is cancelled."""
        if worker.ready(0.0):
            return worker.collect(GRACE_SECONDS)
        seconds, preemptible, began = ticket.most_seconds, ticket.job.turn.is_preemptible, time.monotonic()
        deadline = began + seconds
        while not worker.ready(_PREEMPT_SECONDS if preemptible else CANCEL_SECONDS):
            cancelled, now = ticket.cancelled, time.monotonic()
            if self.pool.closing or (cancelled and not preemptible):  # `closing`: one that started was not interrupted
                raise WorkerFailed("it was running a cancelled job")
            if now > deadline:
                raise WorkerFailed(f"the worker did not answer within {seconds:.0f} s")
            if cancelled:
                deadline = min(deadline, now + GRACE_SECONDS)
            had_turn = now - began >= self._share.turn_seconds(ticket.lost_seconds)
            if len(self._in_flight) == 1 and preemptible and (cancelled or had_turn):
                self._preempt(anyway=cancelled)
        return worker.collect(deadline - time.monotonic())

    def _preempt(self, anyway: bool) -> None:
        """Send the worker another job, if one waits or it has to leave the one that it has anyway."""
        if other := self._poll(with_demoted=False) or (_empty_job() if anyway else None):
            self._share.settle()
            self._send(self._batch(other))

    def _recover(self, error: Exception) -> None:
        """Kill the worker if there is one, and queue its jobs again or finish them."""
        if self.worker is not None:
            self.counters += self.worker.counters
            self.worker.kill()
            self.worker = None
            self.restarts += 1
        elif not self.pool.closing:
            self._failed_starts += 1
            time.sleep(0.1)  # the start failed: don't retry in a busy loop
        pending = list(self._in_flight)
        self._in_flight.clear()
        # A start that hung (WorkerFailed) counts as an attempt at once, or the bound on time would be wrong.
        refused = 0 < self._failed_starts < START_ATTEMPTS and not isinstance(error, WorkerFailed)
        if pending and not refused:
            pending[0].attempts += 1
        for ticket in pending:
            if self.pool.closing:
                self._finish(ticket, self.pool.unjudged(ticket, Status.CANCELLED, "the verifier was closed"))
            elif ticket.cancelled:
                self._finish(ticket, self.pool.unjudged(ticket, Status.CANCELLED, _CANCELLED))
            elif ticket.attempts >= ATTEMPTS:
                self._finish(ticket, self.pool.unjudged(ticket, Status.INTERNAL_ERROR, f"twice: {error}"))
            else:
                self._retries.append(ticket)

    def _finish(self, ticket: Ticket, result: Verdict | Run) -> None:
        self.pool.ended(ticket)
        ticket.done(result)
