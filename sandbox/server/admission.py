"""Where requests are admitted: a bounded number of tasks waits and runs, and what nobody waits for any more is cancelled."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from selftaught.sandbox.program import Ending, Program, Run
from selftaught.sandbox.server.exchange import Gone, Refused, shutting_down
from selftaught.sandbox.server.memory import Memory
from selftaught.sandbox.task import Limits, Task
from selftaught.sandbox.verdict import Status, Verdict

Item = Task | Program
Found = Verdict | Run


class Judge(Protocol):
    """What the daemon needs of a verifier; `selftaught.sandbox.server.metrics.Measured` is one round another."""

    workers: int
    limits: Limits

    @property
    def level(self) -> str:
        """The confinement level in force."""

    def submit(self, item: Item, done: Callable[[Any], None], repeat: int = 1) -> Callable[[], None]:
        """See `Verifier.submit`."""

    def count(self, verdict: Verdict) -> None:
        """A verdict that was not judged for its task, but for another that is the same."""


class Admission:
    """Admits up to `capacity` tasks at a time, all requests together, as long as there is memory for them. Lives in one event loop.

    A place is taken from admission until the verdict, or until the client is gone.
    """

    def __init__(self, judge: Judge, capacity: int, memory: Memory) -> None:
        self.judge, self.capacity, self.memory = judge, capacity, memory
        self.inside = 0
        self.unanswered = 0  # cancelled by the end of the drain
        self.draining = asyncio.Event()
        self._line: deque[asyncio.Future[None]] = deque()
        self._mail: deque[tuple[Callable[[Found], None], Found]] = deque()
        self._mail_announced = False

    def check(self) -> None:
        """Raises Refused if nothing is admitted now."""
        if self.draining.is_set():
            raise shutting_down()
        if self.inside >= self.capacity:
            raise Refused(429, f"{self.inside} tasks wait already: try again later", retry_after=1)
        if self.memory.full:
            raise self.memory.refusal()

    async def wait_for_place(self) -> None:
        """For the tasks of a batch, which wait in the request that brought them."""
        while self.inside >= self.capacity:
            place = asyncio.get_running_loop().create_future()
            self._line.append(place)
            try:
                await place
            except asyncio.CancelledError:
                if place in self._line:
                    self._line.remove(place)
                else:  # it was given to one who has left: the next may have it
                    self._call_next()
                raise

    def _call_next(self) -> None:
        """Wake the first in the line. One whose request was just cancelled is still in it, and would take the call with it."""
        while self._line:
            place = self._line.popleft()
            if not place.done():
                place.set_result(None)
                return

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
                self._call_next()

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

    async def serve(self, item: Item, lost: asyncio.Event) -> Any:
        """The verdict or run, for one request. Raises Refused, or Gone if the connection is lost first."""
        self.check()
        future: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
        abandon = self.submit(item, future.set_result)
        watch = asyncio.ensure_future(lost.wait())
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
