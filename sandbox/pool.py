"""Between callers and workers: one queue, and a lane (a thread) for each worker.

A lane keeps its worker supplied with jobs ahead, as many as it should do in a moment, so that neither has to wait for the other
and no long job has a crowd behind it; but no more than its share of what there is, so that workers end together (guided self-scheduling,
Polychronopoulos and Kuck 1987). If the worker dies, the oldest of its jobs, which it was on, is tried once more, alone, and the others are
simply sent again; after the second time that job gets ``internal_error``. A worker that does not answer in the time that its job's limits
allow is killed and counts as dead. So is one that is on a job that was cancelled, which is nobody's fault and counts for no job.

Where others wait behind it, a job gets a time slice first. If it needs more it is judged again, alone and at its own limits, when the queue
is empty, preferably by the same worker, which may let it go on where it was: so endless loops, which cost their whole limit, hold nobody
up. Programs, which are not judged, are never given a time slice only.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from queue import Empty, SimpleQueue
from typing import Any

from selftaught.sandbox import judge, time_slice
from selftaught.sandbox.backends.worker import BUFFER_BYTES, END_SECONDS, SEND_SECONDS, START_SECONDS, Backend, Worker
from selftaught.sandbox.errors import CannotConfine, WorkerFailed
from selftaught.sandbox.program import Ending, Run
from selftaught.sandbox.task import Limits
from selftaught.sandbox.verdict import Status, Verdict
from selftaught.sandbox.wire import Counters, End, Job, Outcome

GRACE_SECONDS = 10.0
"""How much longer than its limits a job may take before its worker is given up."""

STARTS = 4
"""How often in a row a worker may be refused a start before that counts against the job it was to be started for."""

OVERHEAD_SECONDS = STARTS * START_SECONDS + SEND_SECONDS + GRACE_SECONDS + END_SECONDS
"""What one attempt at a job takes at most beyond its two phases: a worker is started, takes it, overruns, and is ended."""

RUNS = 8
"""Within an attempt at a job: of each phase, on one engine or both; of another answer's first phase before the second; of the puzzle alone
after each of the first phases."""

CANCEL_SECONDS = 0.1
"""How long a job may run on that nobody waits for: most end by themselves in less, and a new worker costs more."""

MOST_AHEAD = 256
ATTEMPTS = 2
_UNCONFIRMED, _LOGGED_CHARACTERS = 1024, 100
"""Tasks that a worker may have judged since its snapshot engine last compared memory; and of an id, which may be long."""
_AHEAD_SECONDS, _FEW_SECONDS = 0.04, 0.005
"""What a worker should have to do, by what jobs took: at most, and in any case, whatever its share."""

_LOG = logging.getLogger("selftaught")
_UNWANTED = "nobody waits for it"


@dataclass(slots=True, eq=False)
class Ticket:
    """A job that somebody waits for. `done` is called once, from a lane's thread, and must not block or raise.

    It gets a Verdict, or of a program a Run. patient: it was given a time slice only, and needs more. lane: where that was.
    """

    id: str
    job: Job
    done: Callable[[Any], None]
    attempts: int = 0
    cancelled: bool = field(default=False)
    patient: bool = False
    lane: object = None

    def slice_time(self) -> None:
        """Others wait: let it be given a time slice only first, if that saves anything."""
        job = self.job
        job.sliced = not (job.program or self.patient) and job.limits.cpu_seconds > 2 * time_slice.LONGEST_SECONDS

    def cancel(self) -> None:
        """From any thread: nobody waits any more. What lies in a queue until its turn lets go of the id and the sources."""
        self.cancelled, self.id = True, ""
        self.job = replace(self.job, sat=b"", sol=b"")

    @property
    def size(self) -> int:
        """Of the sources, in bytes."""
        return len(self.job.sat) + len(self.job.sol)


_LOOK_AGAIN = Ticket("", Job(b"", b"", Limits()), lambda verdict: None)
"""There may be something in `Pool.later`."""


class Pool:
    """Workers of one level. Thread-safe. Raises CannotConfine if the first worker can't reach the level."""

    def __init__(self, backend: Backend, workers: int, limits: Limits, level: str, name: str) -> None:
        self.backend, self.level, self.limits = backend, level, limits
        self._queue: SimpleQueue[Ticket] = SimpleQueue()
        self._idle: list[_Lane] = []
        self._lock = threading.Lock()
        self.later: deque[Ticket] = deque()
        self.closing = False
        self._closed = threading.Lock()
        processors = sorted(os.sched_getaffinity(0))
        start = os.getpid()  # verifiers side by side begin at different processors
        places = [processors[(start + number) % len(processors)] for number in range(workers)]
        first = backend.start(level, limits, places[0])
        self.name, self.proof, self.engine = f"{name} {first.python}", first.proof, first.engine
        if first.reason:
            _LOG.warning("the engine fork serves, which is several times slower than snapshot: %s", first.reason)
        self._lanes = [_Lane(self, place) for place in places]
        self._lanes[0].worker = first
        for lane in self._lanes:
            lane.thread.start()

    def start_worker(self, processor: int) -> Worker:
        """One more worker of the same kind. Raises CannotConfine or WorkerFailed."""
        return self.backend.start(self.level, self.limits, processor)

    def submit(self, ticket: Ticket) -> None:
        """Have the ticket's job judged."""
        self.offer(ticket)
        if self.closing:
            self._cancel_queued()

    def offer(self, ticket: Ticket) -> None:
        """Give it to the lane that was busy last, whose worker is the warmest, if it has nothing to do; else it waits for any."""
        with self._lock:
            (self._idle.pop().mail if self._idle else self._queue).put(ticket)

    def rest(self, lane: _Lane) -> bool:
        """Note that the lane has nothing to do, if that is so."""
        with self._lock:
            if not self._queue.empty() or self.later:
                return False
            if not self.closing:
                self._idle.append(lane)
            return True

    def postpone(self, ticket: Ticket) -> None:
        """It was given a time slice only, and is judged when nothing else waits: by any lane that has nothing to do."""
        with self._lock:
            self.later.append(ticket)
        self.offer(_LOOK_AGAIN)

    def patient(self, lane: _Lane) -> Ticket | None:
        """The next of those that were given a time slice only, if there is one: preferably one that this lane's worker may have kept as it was."""
        with self._lock:
            own = next((ticket for ticket in self.later if ticket.lane is lane), None)
            ticket = own or (self.later[0] if self.later else None)
            if ticket:
                self.later.remove(ticket)
            return ticket

    def counters(self) -> Counters:
        """What all snapshot engines have done since the start, those of workers that have ended included."""
        total = Counters()
        for lane in self._lanes:
            total += lane.counters
            if lane.worker is not None:
                total += lane.worker.counters
        return total

    @property
    def queued(self) -> int:
        """About how many tickets no worker has."""
        return self._queue.qsize() + len(self.later)

    @property
    def restarts(self) -> int:
        """How many workers have been given up."""
        return sum(lane.restarts for lane in self._lanes)

    def worker_pids(self) -> list[int]:
        """The process ids of the supervisors that run now."""
        return [lane.worker.pid for lane in self._lanes if lane.worker is not None]

    def close(self) -> None:
        """Cancel what is not judged yet and end every worker. May be called again."""
        with self._closed:
            with self._lock:
                self.closing = True
                self._idle.clear()
            self._cancel_queued()
            for lane in self._lanes:
                lane.mail.put(None)
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
                with self._lock:
                    ticket = self.later.popleft() if self.later else self._queue.get_nowait()
            except Empty:
                return
            if ticket is not _LOOK_AGAIN:
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
        self.mail: SimpleQueue[Ticket | None] = SimpleQueue()
        self.counters = Counters()
        self.restarts = self._failed_starts = 0
        self.thread = threading.Thread(target=self._run, name="selftaught-lane", daemon=True)
        self._ahead: deque[Ticket] = deque()
        self._unconfirmed: deque[str] = deque(maxlen=_UNCONFIRMED)
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
                self._send(self._batch(ticket))
                self._collect()
            except (WorkerFailed, CannotConfine, OSError) as error:
                self._recover(error)
            except Exception as error:  # our own mistake: costs the job at hand its judgement, and nobody waits in vain
                _LOG.exception("a job could not be judged: please report this")
                self._recover(error)
        if self.worker is not None:
            self.worker.close()
            self.worker = None

    def _next(self) -> Ticket | None:
        """The next ticket; waits for it. None when the pool closes."""
        while True:
            if ticket := self._next_at_once():
                return ticket
            if self.pool.rest(self):
                ticket = self.mail.get()
                if ticket is not _LOOK_AGAIN:
                    return ticket

    def _next_at_once(self, alone: bool = True) -> Ticket | None:
        """The next ticket if there is one. Those that were given a time slice only come last, and one by one: each may take its whole time."""
        if self._again:
            return self._again.popleft()
        queue, ticket = self.pool._queue, _LOOK_AGAIN
        while ticket is _LOOK_AGAIN:
            if queue.empty() and alone and (patient := self.pool.patient(self)):
                return patient
            try:
                ticket = queue.get_nowait()
            except Empty:
                return None
            if ticket is _LOOK_AGAIN and not alone:
                self.pool.offer(ticket)  # for a lane that has nothing to do
                return None
        if not queue.empty():
            ticket.slice_time()
        return ticket

    def _batch(self, first: Ticket | None = None) -> list[Ticket]:
        """What to send now so that the worker has enough to do for a moment, and no more than its connection holds."""
        batch, ahead = [first] if first else [], len(self._ahead)
        if first and first.patient:
            return batch
        share = (self.pool.queued + ahead) // len(self.pool._lanes)
        few, many = (round(seconds / self._seconds) for seconds in (_FEW_SECONDS, _AHEAD_SECONDS))
        most = max(1, min(MOST_AHEAD, many, max(share, few)))
        size = sum(ticket.size for ticket in (*self._ahead, *batch))
        while len(batch) + ahead < most:
            busy = bool(batch or ahead)
            ticket = self._next_at_once(alone=not busy)
            if ticket is None:
                break
            size += ticket.size
            if busy and (size > BUFFER_BYTES or ticket.attempts or (batch or self._ahead)[0].attempts):
                self._again.appendleft(ticket)
                break
            batch.append(ticket)
        for ticket in batch if len(batch) + ahead > 1 else ():
            ticket.slice_time()
        return batch

    def _send(self, batch: list[Ticket]) -> None:
        wanted = [ticket for ticket in batch if not ticket.cancelled]
        for ticket in batch:
            if ticket.cancelled:
                ticket.done(self.pool.unjudged(ticket, Status.CANCELLED, _UNWANTED))
        if not wanted:
            return
        self._ahead += wanted
        if self.worker is None:
            self.worker = self.pool.start_worker(self.processor)
            self._failed_starts = 0
            if self.pool.closing:  # meanwhile, so that there was none to interrupt
                raise WorkerFailed("the verifier was closed")
        self.worker.submit([ticket.job for ticket in wanted])

    def _collect(self) -> None:
        """Take outcomes and top up, until nothing is under way."""
        began = time.monotonic()
        while self._ahead and self.worker is not None:
            ticket = self._ahead[0]
            limits, conclude = ticket.job.limits, judge.describe if ticket.job.program else judge.judge
            before = self.worker.counters
            outcomes = self._await_outcomes(self.worker, ticket)
            if self.worker.counters is not before:
                self._watch_comparisons(before, self.worker.counters)
            self._unconfirmed.append(ticket.id[:_LOGGED_CHARACTERS])
            seconds = outcomes[0].wall_seconds + (outcomes[-1].wall_seconds if len(outcomes) > 1 else 0.0)
            self._seconds += (seconds - self._seconds) / 8
            if outcomes[-1].end is End.UNFINISHED:
                ticket.patient, ticket.lane, ticket.job.sliced = True, self, False
                self._ahead.popleft()
                self.pool.postpone(ticket)
            else:
                verdict = conclude(ticket.id, outcomes, limits, self.pool.level, self.pool.name)
                self._ahead.popleft()
                ticket.done(verdict)
            now = time.monotonic()
            if now - began > _AHEAD_SECONDS / 4 or not self._ahead:
                began = now
                self._send(self._batch())

    def _watch_comparisons(self, before: Counters, now: Counters) -> None:
        """Remember which tasks were judged since a comparison last found memory unchanged, and log them if one has found a difference."""
        if now.mismatches > before.mismatches:
            _LOG.error(
                "the snapshot engine did not put everything back: judge these tasks, of which it judged the last since it was last compared, again with "
                "engine='fork', and report this: %s",
                ", ".join(map(repr, self._unconfirmed)),
            )
        if now.checked > before.checked:
            self._unconfirmed.clear()

    def _await_outcomes(self, worker: Worker, ticket: Ticket) -> list[Outcome]:
        """What came of the ticket's job. Raises WorkerFailed, also if nobody waits for it any more."""
        if worker.ready(0.0):
            return worker.collect(GRACE_SECONDS)
        patience = RUNS * ticket.job.limits.wall_seconds + GRACE_SECONDS
        deadline = time.monotonic() + patience
        while not worker.ready(CANCEL_SECONDS):
            if ticket.cancelled or self.pool.closing:  # a worker that was only starting has missed `interrupt`
                raise WorkerFailed("it was on a cancelled job")
            if time.monotonic() > deadline:
                raise WorkerFailed(f"the worker did not answer within {patience:.0f} s")
        return worker.collect(deadline - time.monotonic())

    def _recover(self, error: Exception) -> None:
        """The worker is dead or can't be started: end what is left of it, and try its jobs again."""
        if self.worker is not None:
            self.counters += self.worker.counters
            self.worker.kill()
            self.worker = None
            self.restarts += 1
        elif not self.pool.closing:
            self._failed_starts += 1
            time.sleep(0.1)  # it could not be started: don't spin
        pending = list(self._ahead)
        self._ahead.clear()
        refused = 0 < self._failed_starts < STARTS and not isinstance(
            error, WorkerFailed
        )  # one that hung counts: time is bounded
        if pending and not refused:
            pending[0].attempts += 1
        for ticket in pending:
            if self.pool.closing:
                ticket.done(self.pool.unjudged(ticket, Status.CANCELLED, "the verifier was closed"))
            elif ticket.cancelled:
                ticket.done(self.pool.unjudged(ticket, Status.CANCELLED, _UNWANTED))
            elif ticket.attempts >= ATTEMPTS:
                ticket.done(self.pool.unjudged(ticket, Status.INTERNAL_ERROR, f"twice: {error}"))
            else:
                self._again.append(ticket)
