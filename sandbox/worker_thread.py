"""A thread of the pool, which drives one worker.

Dispatch: guided self-scheduling (Polychronopoulos and Kuck 1987). A worker thread keeps its worker supplied with jobs:
enough for a few milliseconds, so that neither waits for the other, but no more than its share of the queue, so that all
workers finish together and no long job delays many others.

Recovery: if a worker dies, the oldest of its jobs, which it was running, is retried once, alone; the others are sent
again and count no attempt. A job whose second worker dies gets `internal_error`. A worker that exceeds the time that
its job's limits allow is killed and counts as dead. A worker that is running a cancelled job is killed too, which
counts against no job, unless that job can be preempted.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from selftaught.sandbox import decision
from selftaught.sandbox.backends.worker import BUFFER_BYTES, END_SECONDS, SEND_SECONDS, START_SECONDS, Worker
from selftaught.sandbox.errors import CannotConfine, WorkerFailed
from selftaught.sandbox.job import Job
from selftaught.sandbox.outcome import Counters, End, Outcome
from selftaught.sandbox.program import Run
from selftaught.sandbox.task import Limits
from selftaught.sandbox.ticket import GRACE_SECONDS, Ticket
from selftaught.sandbox.time_slice import DemotedShare
from selftaught.sandbox.verdict import Status, Verdict

if TYPE_CHECKING:
    from selftaught.sandbox.pool import Pool

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


CHECK_DEMOTED = _empty_job()
"""Not a job: makes an idle worker thread look into `Pool.demoted`."""


class WorkerThread(threading.Thread):
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
                if ticket is not CHECK_DEMOTED:
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
            return self.pool.queue.get_nowait()
        except Empty:
            return self.pool.take_demoted(self) if with_demoted else None

    def _batch(self, first: Ticket | None = None) -> list[Ticket]:
        """Return the tickets to send now: enough to keep the worker busy, and no more than the connection buffers."""
        batch, in_flight = [first] if first else [], len(self._in_flight)
        if first and first.slices:
            return batch
        share = (self.pool.queued + in_flight) // self.pool.workers
        few, many = (round(seconds / self._job_seconds) for seconds in (_LEAST_SECONDS, _MOST_SECONDS))
        most = max(1, min(MAX_IN_FLIGHT, many, max(share, few)))
        size = sum([ticket.size for ticket in (*self._in_flight, *batch)])
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
        jobs = [ticket.job for ticket in active]
        for job in jobs:
            job.slice_seconds = self.pool.needed.slice_seconds(job)
        self.worker.submit(jobs)

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
            self.pool.needed.note(ticket.job, outcomes)
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
