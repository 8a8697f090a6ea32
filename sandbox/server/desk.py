"""Where requests are admitted: a bounded number of tasks waits and runs, and what nobody waits for any more is cancelled."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from sandbox.program import Ending, Program, Run
from sandbox.server.exchange import Gone, Receive, Refused
from sandbox.task import Limits, Task
from sandbox.verdict import Status, Verdict

Item = Task | Program
Found = Verdict | Run


class Judge(Protocol):
    """What the daemon needs of a verifier; `sandbox.server.metrics.Measured` is one round another."""

    workers: int
    limits: Limits

    @property
    def level(self) -> str:
        """The confinement level in force."""

    def submit(self, item: Item, done: Callable[[Any], None], repeat: int = 1) -> Callable[[], None]:
        """See `Verifier.submit`."""

    def count(self, verdict: Verdict) -> None:
        """A verdict that was not judged for its task, but for another that is the same."""


class Desk:
    """Admits up to `capacity` tasks at a time, all requests together. Lives in one event loop.

    A place is taken from admission until the verdict, or until the client is gone.
    """

    def __init__(self, judge: Judge, capacity: int) -> None:
        self.judge, self.capacity = judge, capacity
        self.inside = 0
        self.unanswered = 0  # cancelled by the end of the drain
        self.draining = asyncio.Event()
        self._line: deque[asyncio.Future[None]] = deque()
        self._mail: deque[tuple[Callable[[Found], None], Found]] = deque()
        self._mail_announced = False

    def check(self) -> None:
        """Raises Refused if nothing is admitted now."""
        if self.draining.is_set():
            raise Refused(503, "the server is shutting down", retry_after=5, close=True)
        if self.inside >= self.capacity:
            raise Refused(429, f"{self.inside} tasks wait already: try again later", retry_after=1)

    async def wait_for_place(self) -> None:
        """For the tasks of a batch, which wait in the request that brought them."""
        while self.inside >= self.capacity:
            place = asyncio.get_running_loop().create_future()
            self._line.append(place)
            try:
                await place
            finally:
                if place in self._line:
                    self._line.remove(place)

    def submit(self, item: Item, done: Callable[[Any], None], repeat: int = 1) -> Callable[[], None]:
        """Take a place and have the item judged; `done` is called in the loop. Returns what gives the place back and cancels."""
        loop = asyncio.get_running_loop()
        self.inside += 1
        left = False

        def leave() -> None:
            nonlocal left
            if not left:
                left = True
                self.inside -= 1
                if self._line:
                    self._line.popleft().set_result(None)

        def settle(found: Found) -> None:
            if not left:
                leave()
                self.unanswered += _is_cancelled(found)
                done(found)

        def post(found: Found) -> None:
            self._mail.append((settle, found))
            if not self._mail_announced:
                self._mail_announced = True
                try:
                    loop.call_soon_threadsafe(self._deliver)
                except RuntimeError:  # the loop is closed: nobody waits any more
                    return

        cancel = self.judge.submit(item, post, repeat)

        def abandon() -> None:
            if not left:
                leave()
                cancel()

        return abandon

    def count(self, verdict: Verdict) -> None:
        """A verdict goes to one more task, which is the same as the judged one and took no place."""
        self.unanswered += _is_cancelled(verdict)
        self.judge.count(verdict)

    def _deliver(self) -> None:
        """Settle what threads have posted: the loop is woken once for all that has come since."""
        self._mail_announced = False  # first: what is posted from here on announces itself
        while self._mail:
            settle, found = self._mail.popleft()
            settle(found)

    async def serve(self, item: Item, receive: Receive, repeat: int = 1) -> Any:
        """The verdict or run, for one request that has been read to its end. Raises Refused, or Gone if the client leaves first."""
        self.check()
        future: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
        abandon = self.submit(item, future.set_result, repeat)
        watch = asyncio.ensure_future(departure(receive))
        watch.add_done_callback(lambda _: future.cancel())
        try:
            found = await future
        except asyncio.CancelledError:
            if watch.done():
                raise Gone from None
            raise
        finally:
            watch.cancel()
            abandon()
        return found


def _is_cancelled(found: Found) -> bool:
    return (found.status is Status.CANCELLED) if isinstance(found, Verdict) else (found.ending is Ending.CANCELLED)


async def departure(receive: Receive) -> None:
    """Returns when the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        continue
