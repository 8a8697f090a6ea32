"""Between callers and workers: one queue, and a lane (a thread) for each worker.

A lane keeps its worker supplied with a few jobs ahead, as many as it should do in a moment, so that neither has to wait for the other
and no long job has a crowd behind it. If the worker dies, the job it was on is tried once more and the others are simply sent
again; after the second time that job gets ``internal_error``. A worker that does not answer in the time that its job's limits
allow is killed and counts as dead. So is one that is on a job that was cancelled, which is nobody's fault and counts for no job.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from queue import Empty, SimpleQueue
from typing import Any

from sandbox import judge
from sandbox.backends.local import Worker
from sandbox.errors import CannotConfine, WorkerFailed
from sandbox.program import Ending, Run
from sandbox.task import Limits
from sandbox.verdict import Status, Verdict
from sandbox.wire import Job, Outcome

GRACE_SECONDS = 10.0
"""How much longer than its limits a job may take before its worker is given up."""

CANCEL_SECONDS = 0.1
"""How long a job may run on that nobody waits for: most end by themselves in less, and a new worker costs more."""

_AHEAD_SECONDS = 0.02
_MOST_AHEAD = 32
_ATTEMPTS = 2
_STARTS = 4
"""How often in a row a worker may fail to start before that counts against the job it was to be started for."""

_UNWANTED = "nobody waits for it"


@dataclass(slots=True)
class Ticket:
    """A job that somebody waits for. `done` is called once, from a lane's thread, and must not block or raise.

    It gets a Verdict, or of a program a Run.
    """

    id: str
    job: Job
    done: Callable[[Any], None]
    attempts: int = 0
    cancelled: bool = field(default=False)

    def cancel(self) -> None:
        """From any thread: nobody waits any more. What lies in a queue until its turn lets go of the sources."""
        self.cancelled = True
        self.job = replace(self.job, sat=b"", sol=b"")


class Pool:
    """Workers of one level. Thread-safe. Raises CannotConfine if the first worker can't reach the level."""

    def __init__(self, workers: int, limits: Limits, level: str, name: str) -> None:
        self.level, self.limits, self._name = level, limits, name
        self._queue: SimpleQueue[Ticket | None] = SimpleQueue()
        self.closing = False
        self._closed = threading.Lock()
        processors = sorted(os.sched_getaffinity(0))
        start = os.getpid()  # verifiers side by side begin at different processors
        places = [processors[(start + number) % len(processors)] for number in range(workers)]
        first = Worker(level, limits, places[0])
        self.name, self.proof = f"{name} {first.engine}", first.proof
        self._lanes = [_Lane(self, place) for place in places]
        self._lanes[0].worker = first
        for lane in self._lanes:
            lane.thread.start()

    def submit(self, ticket: Ticket) -> None:
        """Have the ticket's job judged."""
        self._queue.put(ticket)
        if self.closing:
            self._cancel_queued()

    @property
    def queued(self) -> int:
        """About how many tickets no worker has yet."""
        return self._queue.qsize()

    @property
    def restarts(self) -> int:
        """How many workers have been given up."""
        return sum(lane.restarts for lane in self._lanes)

    def worker_pids(self) -> list[int]:
        """The process ids of the wardens that run now."""
        return [lane.worker.pid for lane in self._lanes if lane.worker is not None]

    def close(self) -> None:
        """Cancel what is not judged yet and end every worker. May be called again."""
        with self._closed:
            self.closing = True
            self._cancel_queued()
            for lane in self._lanes:
                self._queue.put(None)
                lane.interrupt()
            for lane in self._lanes:
                lane.thread.join()
            self._cancel_queued()

    def abandon(self) -> None:
        """In a forked child: let go of workers that belong to the parent."""
        for lane in self._lanes:
            if lane.worker is not None:
                lane.worker.abandon()

    def _cancel_queued(self) -> None:
        while True:
            try:
                ticket = self._queue.get_nowait()
            except Empty:
                return
            if ticket is not None:
                ticket.done(self.unjudged(ticket, Status.CANCELLED, "the verifier was closed"))

    def unjudged(self, ticket: Ticket, status: Status, message: str) -> Verdict | Run:
        """A verdict that is no judgement, or a run that was none."""
        if ticket.job.program:
            return Run(ticket.id, Ending(status), message=message, retryable=True, verifier=self.name)
        return Verdict(ticket.id, status, message=message, retryable=True, verifier=self.name)


class _Lane:
    """One thread and its worker."""

    def __init__(self, pool: Pool, processor: int) -> None:
        self.pool, self.processor = pool, processor
        self.worker: Worker | None = None
        self.restarts = self._failed_starts = 0
        self.thread = threading.Thread(target=self._run, name="selftaught-lane", daemon=True)
        self._ahead: deque[Ticket] = deque()
        self._again: deque[Ticket] = deque()
        self._seconds = _AHEAD_SECONDS  # a moving average of what a job takes; pessimistic at first

    def interrupt(self) -> None:
        """Wake the thread if it waits for its worker."""
        worker = self.worker
        if worker is not None:
            worker.interrupt()

    def _run(self) -> None:
        while ticket := self._next():
            try:
                self._send(ticket)
                self._fill()
                self._collect()
            except (WorkerFailed, CannotConfine, OSError) as error:
                self._recover(error)
        if self.worker is not None:
            self.worker.close()
            self.worker = None

    def _next(self) -> Ticket | None:
        """The next ticket; waits for it. None when the pool closes."""
        if self._again:
            return self._again.popleft()
        return self.pool._queue.get()

    def _send(self, ticket: Ticket) -> None:
        if ticket.cancelled:
            ticket.done(self.pool.unjudged(ticket, Status.CANCELLED, _UNWANTED))
            return
        self._ahead.append(ticket)
        if self.worker is None:
            self.worker = Worker(self.pool.level, self.pool.limits, self.processor)
            self._failed_starts = 0
        self.worker.submit(ticket.job)

    def _fill(self) -> None:
        """Send ahead what should be done in a moment."""
        most = min(_MOST_AHEAD, max(1, round(_AHEAD_SECONDS / self._seconds)))
        while len(self._ahead) < most:
            try:
                ticket = self._again.popleft() if self._again else self.pool._queue.get_nowait()
            except Empty:
                return
            if ticket is None:
                self.pool._queue.put(None)
                return
            self._send(ticket)

    def _collect(self) -> None:
        """Take outcomes and top up, until nothing is under way."""
        began = time.monotonic()
        while self._ahead and self.worker is not None:
            ticket = self._ahead[0]
            limits, conclude = ticket.job.limits, judge.describe if ticket.job.program else judge.judge
            outcomes = self._await_outcomes(self.worker, ticket)
            self._ahead.popleft()
            found: Verdict | Run = conclude(ticket.id, outcomes, limits, self.pool.level, self.pool.name)
            self._seconds += (found.usage.wall_seconds - self._seconds) / 8
            ticket.done(found)
            now = time.monotonic()
            if now - began > _AHEAD_SECONDS / 4 or not self._ahead:
                began = now
                self._fill()

    def _await_outcomes(self, worker: Worker, ticket: Ticket) -> list[Outcome]:
        """What came of the ticket's job. Raises WorkerFailed, also if nobody waits for it any more."""
        patience = 2 * ticket.job.limits.wall_seconds + GRACE_SECONDS
        deadline = time.monotonic() + patience
        while not worker.ready(CANCEL_SECONDS):
            if ticket.cancelled or self.pool.closing:  # a worker that was only starting has missed `interrupt`
                raise WorkerFailed("it was on a cancelled job")
            if time.monotonic() > deadline:
                raise WorkerFailed(f"the worker did not answer within {patience:.0f} s")
        return worker.collect(GRACE_SECONDS)

    def _recover(self, error: Exception) -> None:
        """The worker is dead or can't be started: end what is left of it, and try its jobs again."""
        if self.worker is not None:
            self.worker.kill()
            self.worker = None
            self.restarts += 1
        elif not self.pool.closing:
            self._failed_starts += 1
            time.sleep(0.1)  # it could not be started: don't spin
        pending = list(self._ahead)
        self._ahead.clear()
        if pending and not 0 < self._failed_starts < _STARTS:
            pending[0].attempts += 1
        for ticket in pending:
            if self.pool.closing:
                ticket.done(self.pool.unjudged(ticket, Status.CANCELLED, "the verifier was closed"))
            elif ticket.cancelled:
                ticket.done(self.pool.unjudged(ticket, Status.CANCELLED, _UNWANTED))
            elif ticket.attempts >= _ATTEMPTS:
                ticket.done(self.pool.unjudged(ticket, Status.INTERNAL_ERROR, f"twice: {error}"))
            else:
                self._again.append(ticket)
