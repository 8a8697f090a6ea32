"""The pool of workers: one queue, and one thread for each worker (`selftaught.sandbox.worker_thread`).

Preemption: a multilevel feedback queue (`selftaught.sandbox.time_slice`). A job runs in a time slice first. A job that
needs more is demoted: it runs again, alone, when the queue is empty, those first that have had the fewest slices, and
preferably on the same worker, which may have suspended it and can resume it. When others come and no worker is idle,
the next of them is sent to it, which preempts it. So endless loops, which use up their whole limit, delay nobody. And
no stream of short jobs starves a longer one: a worker gives demoted jobs as much time as all others. A job that has to
start over each time is no longer preempted once it has lost as much time as it may take; all workers but one may be
occupied by such jobs.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from queue import Empty, SimpleQueue

from selftaught.sandbox.backends.worker import Backend, Worker
from selftaught.sandbox.outcome import Counters
from selftaught.sandbox.program import Ending, Run
from selftaught.sandbox.task import Limits
from selftaught.sandbox.ticket import Ticket
from selftaught.sandbox.time_slice import Needed
from selftaught.sandbox.verdict import Status, Verdict
from selftaught.sandbox.worker_thread import CHECK_DEMOTED, WorkerThread

_LOG = logging.getLogger("selftaught")


class Pool:
    """The workers of a verifier, all of one confinement level. Thread-safe.

    Args:
        backend: Where workers run.
        workers: How many.
        limits: Limits that a worker must be able to serve from the start.
        level: The confinement level that every worker must reach.
        name: Program and version, as verdicts name them.

    Attributes:
        queue: Jobs that no thread has taken; `demoted` has those that had a turn.
        demoted: Jobs whose time slice was over.
        needed: What judging by the same tests or cases needed before.
        closing: `close` was called: nothing more is judged.

    Raises:
        CannotConfine: The first worker can't reach the level.
    """

    def __init__(self, backend: Backend, workers: int, limits: Limits, level: str, name: str) -> None:
        self.backend, self.level, self.limits = backend, level, limits
        self.queue: SimpleQueue[Ticket] = SimpleQueue()
        self._idle: list[WorkerThread] = []
        self._lock = threading.Lock()
        self.demoted: deque[Ticket] = deque()
        self.needed = Needed()
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
        self._threads = [WorkerThread(self, processor) for processor in processors]
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
            (self._idle.pop().inbox if self._idle else self.queue).put(ticket)

    def mark_idle(self, thread: WorkerThread) -> bool:
        """Mark this worker thread idle; return False if there is work for it after all."""
        with self._lock:
            if not self.queue.empty() or self._able():
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

    def take_demoted(self, thread: WorkerThread) -> Ticket | None:
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
            self._idle.pop().inbox.put(CHECK_DEMOTED)

    @property
    def workers(self) -> int:
        """How many workers there are."""
        return len(self._threads)

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
        return self.queue.qsize() + len(self.demoted)

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
                    ticket = self.demoted.popleft() if self.demoted else self.queue.get_nowait()
            except Empty:
                return
            ticket.done(self.unjudged(ticket, Status.CANCELLED, "the verifier was closed"))

    def unjudged(self, ticket: Ticket, status: Status, message: str) -> Verdict | Run:
        """Return a verdict, or for a program a run, that says why there is no result."""
        if ticket.job.program:
            return Run(ticket.id, Ending(status), message=message, retryable=True, verifier=self.name)
        return Verdict(ticket.id, status, message=message, retryable=True, verifier=self.name)
