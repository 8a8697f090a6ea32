"""Admission control: bounds the tasks that are queued or running, and cancels those of clients that have left."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from selftaught.sandbox.judging import Checked
from selftaught.sandbox.program import Ending, Program, Run
from selftaught.sandbox.server.exchange import Gone, Refused, shutting_down
from selftaught.sandbox.server.memory import Memory
from selftaught.sandbox.server.unclaimed import Pending, Unclaimed
from selftaught.sandbox.task import AnyTask, Limits
from selftaught.sandbox.verdict import Status, Verdict

Item = AnyTask | Checked | Program
Result = Verdict | Run


class TaskVerifier(Protocol):
    """The part of a verifier that the daemon uses; `selftaught.sandbox.server.metrics.Measured` wraps one.

    Attributes:
        workers: See `Verifier`.
        limits: See `Verifier`.
    """

    workers: int
    limits: Limits

    @property
    def level(self) -> str:
        """The confinement level in force."""

    def submit(self, item: Item, done: Callable[[Any], None], repeat: int = 1) -> Callable[[], None]:
        """See `Verifier.submit`."""

    def count_duplicate(self, verdict: Verdict) -> None:
        """Count a verdict on a task that was a duplicate and not judged itself."""


class Admission:
    """Admits up to `capacity` tasks at a time, of all requests, as long as there is memory. Runs in one event loop.

    A task occupies a slot from its admission to its verdict, or until its client has left.

    Args:
        verifier: Judges the tasks.
        capacity: The number of slots.
        memory: The memory that requests use.

    Programs of clients that wait (`serve` with `within_seconds`) need no slot: they wait in the verifier's queue, where
    long ones let the others pass, as long as their clients do.

    Attributes:
        admitted: The number of occupied slots.
        waiting: The number of tasks and programs without a slot.
        cancelled: The number of tasks that were cancelled since the daemon ended first.
        draining: Set when the daemon ends: no task is admitted any more.
    """

    def __init__(self, verifier: TaskVerifier, capacity: int, memory: Memory) -> None:
        self.verifier, self.capacity, self.memory = verifier, capacity, memory
        self.admitted = self.waiting = 0
        self.cancelled = 0
        self.draining = asyncio.Event()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._unclaimed = Unclaimed()
        self._results: deque[tuple[Callable[[Result], None], Result]] = deque()
        self._delivery_scheduled = False

    def check(self) -> None:
        """Raise Refused if no task is admitted now."""
        if self.draining.is_set():
            raise shutting_down()
        if self.admitted >= self.capacity:
            raise Refused(429, f"{self.admitted} tasks wait already: try again later", retry_after=1)
        if self.memory.full:
            raise self.memory.refusal()

    async def wait_for_slot(self) -> None:
        """Wait for a free slot: the tasks of a batch wait in their request instead of being refused."""
        while self.admitted >= self.capacity:
            slot = asyncio.get_running_loop().create_future()
            self._waiting.append(slot)
            try:
                await slot
            except asyncio.CancelledError:
                if slot in self._waiting:
                    self._waiting.remove(slot)
                else:  # this one was woken and then cancelled: wake the next instead
                    self._wake_next()
                raise

    def _wake_next(self) -> None:
        """Wake the first that waits. Skip those that were just cancelled and have not left the queue yet."""
        while self._waiting:
            slot = self._waiting.popleft()
            if not slot.done():
                slot.set_result(None)
                return

    def submit(
        self, item: Item, done: Callable[[Any], None], repeat: int = 1, has_slot: bool = True
    ) -> Callable[[], None]:
        """Occupy a slot and submit the item to the verifier.

        Args:
            item: What to judge or to run.
            done: Called once with the result, in the event loop, unless the item was cancelled.
            repeat: See `Verifier.verify_many`.
            has_slot: False for an item that needs no slot.

        Returns:
            A function that frees the slot and cancels the item.
        """
        loop = asyncio.get_running_loop()
        self._count(1, has_slot)
        released = False

        def release() -> None:
            nonlocal released
            if not released:
                released = True
                self._count(-1, has_slot)

        def settle(result: Result) -> None:
            if not released:
                release()
                self.cancelled += _is_cancelled(result)
                done(result)

        def post(result: Result) -> None:
            self._results.append((settle, result))
            if not self._delivery_scheduled:
                self._delivery_scheduled = True
                try:
                    loop.call_soon_threadsafe(self._deliver)
                except RuntimeError:  # the loop is closed: the results are no longer needed
                    return

        cancel = self.verifier.submit(item, post, repeat)

        def abandon() -> None:
            if not released:
                release()
                cancel()

        return abandon

    def _count(self, change: int, has_slot: bool) -> None:
        if not has_slot:
            self.waiting += change
            return
        self.admitted += change
        if change < 0:
            self._wake_next()

    def count_duplicate(self, verdict: Verdict) -> None:
        """Count a verdict on a duplicate, which occupied no slot."""
        self.cancelled += _is_cancelled(verdict)
        self.verifier.count_duplicate(verdict)

    def _deliver(self) -> None:
        """Process all results that threads have posted. One wake-up of the loop serves all of them."""
        self._delivery_scheduled = False  # first: a result that is posted from now on schedules its own delivery
        while self._results:
            settle, result = self._results.popleft()
            settle(result)

    async def serve(self, item: Item, lost: asyncio.Event, within_seconds: float | None = None) -> Any:
        """Return the result for the item of one request.

        Args:
            item: What to judge or to run.
            lost: Set when the connection is lost.
            within_seconds: Its client waits so long, and asks again: admit it however many wait already, and go on
                with what the client asked for before.

        Raises:
            Refused: No task is admitted now; or there was no result within that time.
            Gone: The connection was lost first.
        """
        if within_seconds is None:
            self.check()
        elif self.draining.is_set():
            raise shutting_down()
        pending = self._unclaimed.take(item) if within_seconds is not None else None
        if pending is None:
            future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
            pending = Pending(future, self.submit(item, future.set_result, has_slot=within_seconds is None))
        watch = asyncio.ensure_future(lost.wait())
        kept = False
        try:
            await asyncio.wait((pending.future, watch), timeout=within_seconds, return_when=asyncio.FIRST_COMPLETED)
            if pending.future.done():
                return pending.future.result()
            if watch.done():
                raise Gone
            if kept := not self.draining.is_set():
                self._unclaimed.keep(item, pending)
            waiting = self.admitted + self.waiting
            raise Refused(504, f"no result within {within_seconds:.0f} s: {waiting} wait", retry_after=1)
        finally:
            watch.cancel()
            if not kept:
                pending.abandon()


def _is_cancelled(result: Result) -> bool:
    return (result.status is Status.CANCELLED) if isinstance(result, Verdict) else (result.ending is Ending.CANCELLED)
