"""Between callers and workers: one queue, and a lane (a thread) for each worker.

A lane keeps its worker supplied with a few jobs ahead, as many as it should do in a moment, so that neither has to wait for the other
and no long job has a crowd behind it. If the worker dies, the job it was on is tried once more and the others are simply sent
again; after the second time that job gets ``internal_error``. A worker that does not answer in the time that its job's limits
allow is killed and counts as dead.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

from sandbox import judge
from sandbox.backends.worker import BUFFER_BYTES, END_SECONDS, SEND_SECONDS, START_SECONDS, Backend, Worker
from sandbox.errors import CannotConfine, WorkerFailed
from sandbox.task import Limits
from sandbox.verdict import Status, Verdict
from sandbox.wire import Counters, Job

GRACE_SECONDS = 10.0
"""How much longer than its limits a job may take before its worker is given up."""

OVERHEAD_SECONDS = START_SECONDS + SEND_SECONDS + GRACE_SECONDS + END_SECONDS
"""What one attempt at a job takes at most beyond its two phases: a worker is started, takes it, overruns, and is ended."""

MOST_AHEAD = 32
ATTEMPTS = 2
_AHEAD_SECONDS = 0.02


@dataclass(slots=True)
class Ticket:
    """A job that somebody waits for. `done` is called once, from a lane's thread, and must not block or raise."""

    id: str
    job: Job
    done: Callable[[Verdict], None]
    attempts: int = 0
    cancelled: bool = field(default=False)


class Pool:
    """Workers of one level. Thread-safe. Raises CannotConfine if the first worker can't reach the level."""

    def __init__(
        self, backend: Backend, workers: int, limits: Limits, level: str, name: str, engine: str = "auto"
    ) -> None:
        self.backend, self.level, self.limits, self.engine = backend, level, limits, engine
        self._queue: SimpleQueue[Ticket | None] = SimpleQueue()
        self.closing = False
        self._closed = threading.Lock()
        processors = sorted(os.sched_getaffinity(0))
        start = os.getpid()  # verifiers side by side begin at different processors
        places = [processors[(start + number) % len(processors)] for number in range(workers)]
        first = backend.start(level, limits, engine, places[0])
        self.name = f"{name} {first.python}"
        self._lanes = [_Lane(self, place) for place in places]
        self._lanes[0].worker = first
        for lane in self._lanes:
            lane.thread.start()

    def start_worker(self, processor: int) -> Worker:
        """One more worker of the same kind. Raises CannotConfine or WorkerFailed."""
        return self.backend.start(self.level, self.limits, self.engine, processor)

    def submit(self, ticket: Ticket) -> None:
        """Have the ticket's job judged."""
        self._queue.put(ticket)
        if self.closing:
            self._cancel_queued()

    def counters(self) -> Counters:
        """What all snapshot engines have done since the start, those of workers that have ended included."""
        total = Counters()
        for lane in self._lanes:
            total += lane.counters
            if lane.worker is not None:
                total += lane.worker.counters
        return total

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

    def unjudged(self, ticket: Ticket, status: Status, message: str) -> Verdict:
        """A verdict that is no judgement."""
        return Verdict(ticket.id, status, message=message, retryable=True, verifier=self.name)


def _size(ticket: Ticket) -> int:
    return len(ticket.job.sat) + len(ticket.job.sol)


class _Lane:
    """One thread and its worker."""

    def __init__(self, pool: Pool, processor: int) -> None:
        self.pool, self.processor = pool, processor
        self.worker: Worker | None = None
        self.counters = Counters()
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
            except (WorkerFailed, CannotConfine) as error:
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
            ticket.done(self.pool.unjudged(ticket, Status.CANCELLED, "nobody waits for it"))
            return
        self._ahead.append(ticket)
        if self.worker is None:
            self.worker = self.pool.start_worker(self.processor)
            if self.pool.closing:  # meanwhile, so that there was none to interrupt
                raise WorkerFailed("the verifier was closed")
        self.worker.submit(ticket.job)

    def _fill(self) -> None:
        """Send ahead what should be done in a moment."""
        most = min(MOST_AHEAD, max(1, round(_AHEAD_SECONDS / self._seconds)))
        while len(self._ahead) < most:
            try:
                ticket = self._again.popleft() if self._again else self.pool._queue.get_nowait()
            except Empty:
                return
            if ticket is None:
                self.pool._queue.put(None)
                return
            if self._ahead and sum(map(_size, (*self._ahead, ticket))) > BUFFER_BYTES:
                self._again.appendleft(ticket)
                return
            self._send(ticket)

    def _collect(self) -> None:
        """Take outcomes and top up, until nothing is under way."""
        began = time.monotonic()
        while self._ahead and self.worker is not None:
            ticket = self._ahead[0]
            limits = ticket.job.limits
            outcomes = self.worker.collect(4 * limits.wall_seconds + GRACE_SECONDS)  # each phase, on one engine or both
            self._ahead.popleft()
            verdict = judge.judge(ticket.id, outcomes, limits, self.pool.level, self.pool.name)
            self._seconds += (verdict.usage.wall_seconds - self._seconds) / 8
            ticket.done(verdict)
            now = time.monotonic()
            if now - began > _AHEAD_SECONDS / 4 or not self._ahead:
                began = now
                self._fill()

    def _recover(self, error: Exception) -> None:
        """The worker is dead or can't be started: end what is left of it, and try its jobs again."""
        if self.worker is not None:
            self.counters += self.worker.counters
            self.worker.kill()
            self.worker = None
        elif not self.pool.closing:
            time.sleep(0.1)  # it could not be started: don't spin
        pending = list(self._ahead)
        self._ahead.clear()
        for ticket in pending[:1]:
            ticket.attempts += 1
        for ticket in pending:
            if self.pool.closing:
                ticket.done(self.pool.unjudged(ticket, Status.CANCELLED, "the verifier was closed"))
            elif ticket.attempts >= ATTEMPTS:
                ticket.done(self.pool.unjudged(ticket, Status.INTERNAL_ERROR, f"twice: {error}"))
            else:
                self._again.append(ticket)
