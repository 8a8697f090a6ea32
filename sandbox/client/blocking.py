"""`Client`, the client for threads, and for coroutines of any event loop."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

from selftaught.sandbox.client.asynchronous import DEADLINE_SECONDS, AsyncClient
from selftaught.sandbox.client.batch import BatchRequest
from selftaught.sandbox.judging import Checked
from selftaught.sandbox.program import Program, Run
from selftaught.sandbox.stream import Cancel, Done, ajudge_many, cancel_nothing, in_loop, judge_many
from selftaught.sandbox.task import AnyTask, Limits
from selftaught.sandbox.validation import check_task
from selftaught.sandbox.verdict import Verdict

T = TypeVar("T")


class Client:
    """A client of one or several daemons with the methods of `Verifier`, so that code changes in one line only.

    How it shares the work among several, see `AsyncClient`.

    Thread-safe, and usable from asyncio and after a fork of the caller. Use it as a context manager, or call `close`.

    Args:
        url: See `AsyncClient`.
        token: See `AsyncClient`.
        deadline_seconds: See `AsyncClient`.
        in_flight: See `AsyncClient`.
        require: See `AsyncClient`.
        limits: See `AsyncClient`.

    Raises:
        ValueError: An argument is invalid.
    """

    def __init__(
        self,
        url: str | Sequence[str],
        *,
        token: str | None = None,
        deadline_seconds: float = DEADLINE_SECONDS,
        in_flight: int = 256,
        require: str | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._arguments: dict[str, Any] = {"token": token, "deadline_seconds": deadline_seconds, "in_flight": in_flight}
        self._arguments |= {"require": require, "limits": limits}
        self.url, self._limits = url, limits
        self._make()  # raises ValueError for invalid arguments
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: AsyncClient | None = None
        self._parents: AsyncClient | None = None
        self._pid = 0
        self._closed = False

    def verify(self, task: AnyTask) -> Verdict:
        """See `Verifier.verify`."""
        return self._wait(lambda client: client.verify(task))

    def run(self, program: Program) -> Run:
        """See `Verifier.run`."""
        return self._wait(lambda client: client.run(program))

    async def averify(self, task: AnyTask) -> Verdict:
        """See `Verifier.averify`."""
        return await asyncio.wrap_future(self._start(lambda client: client.verify(task)))

    async def arun(self, program: Program) -> Run:
        """See `Verifier.arun`."""
        return await asyncio.wrap_future(self._start(lambda client: client.run(program)))

    def verify_many(self, tasks: Iterable[AnyTask], ordered: bool = True, repeat: int = 1) -> Iterator[Verdict]:
        """See `Verifier.verify_many`."""
        with self._request(repeat) as request:
            window, several = self._wait(lambda client: client.window()), request.is_for_several
            # One daemon finds duplicates itself.
            yield from judge_many(tasks, check_task, request.submit, window, ordered, deduplicate=several)
            request.end().result()

    async def averify_many(
        self, tasks: Iterable[AnyTask] | AsyncIterable[AnyTask], ordered: bool = True, repeat: int = 1
    ) -> AsyncIterator[Verdict]:
        """See `Verifier.averify_many`."""
        loop = asyncio.get_running_loop()
        with self._request(repeat) as request:

            async def submit(task: Checked, done: Done) -> Cancel:
                return request.submit(task, in_loop(loop, done))

            window = await asyncio.wrap_future(self._start(lambda client: client.window()))
            found = ajudge_many(tasks, check_task, submit, window, ordered, deduplicate=request.is_for_several)
            async with aclosing(found) as verdicts:
                async for verdict in verdicts:
                    yield verdict
            await asyncio.wrap_future(request.end())

    def config(self) -> dict[str, Any]:
        """See `AsyncClient.config`."""
        return self._wait(lambda client: client.config())

    def wait_until_ready(self, within_seconds: float) -> None:
        """See `AsyncClient.wait_until_ready`."""
        self._wait(lambda client: client.wait_until_ready(within_seconds))

    @property
    def daemons(self) -> dict[str, str]:
        """See `AsyncClient.daemons`."""
        return self._running()[1].daemons

    @property
    def refused(self) -> dict[str, str]:
        """See `AsyncClient.refused`."""
        return self._running()[1].refused

    @property
    def level(self) -> str:
        """The confinement level in force: the lowest among the daemons."""
        return str(self.config()["level"])

    @property
    def engine(self) -> str:
        """The engine in use: that of the daemon with the lowest level."""
        return str(self.config()["engine"])

    @property
    def workers(self) -> int:
        """How many workers the daemons have together."""
        return int(self.config()["workers"])

    @property
    def limits(self) -> Limits:
        """The limits for tasks that have none of their own. If none were given, those of the daemons, which are also
        the highest that a task may have."""
        return self._limits or Limits(**self.config()["limits"])

    @property
    def required_isolation(self) -> str:
        """See `Verifier.required_isolation`."""
        return str(self.config()["required_isolation"])

    @property
    def packages(self) -> dict[str, str]:
        """See `Verifier.packages`."""
        return dict(self.config()["packages"])

    def close(self) -> None:
        """Close every connection. May be called again."""
        with self._lock:
            loop, client, self._loop, self._closed = self._loop, self._client, None, True
        if loop is not None and client is not None and self._pid == os.getpid():
            asyncio.run_coroutine_threadsafe(client.close(), loop).result(10)
            loop.call_soon_threadsafe(loop.stop)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _make(self) -> AsyncClient:
        return AsyncClient(self.url, **self._arguments)

    def _running(self) -> tuple[asyncio.AbstractEventLoop, AsyncClient]:
        """Return the thread's loop and client. They are created on first use, and again after a fork of the caller."""
        if self._pid != os.getpid():
            self._lock = threading.Lock()
            self._parents = self._client  # kept: its destructor would close the parent's connections
            self._loop, self._client, self._pid = None, None, os.getpid()
        with self._lock:
            if self._closed:
                raise ValueError("the client is closed")
            if self._loop is None or self._client is None:
                self._loop, self._client = asyncio.new_event_loop(), self._make()
                threading.Thread(target=_run_loop, args=(self._loop,), name="selftaught-client", daemon=True).start()
            return self._loop, self._client

    def _start(self, ask: Callable[[AsyncClient], Coroutine[Any, Any, T]]) -> Any:
        loop, client = self._running()
        return asyncio.run_coroutine_threadsafe(ask(client), loop)

    def _wait(self, ask: Callable[[AsyncClient], Coroutine[Any, Any, T]]) -> T:
        future = self._start(ask)
        try:
            found: T = future.result()
            return found
        finally:
            future.cancel()

    @contextmanager
    def _request(self, repeat: int) -> Iterator[_Request]:
        """Open a request for a stream of tasks; at exit cancel the unfinished ones."""
        loop, client = self._running()
        request = client.batch(repeat)
        driving = asyncio.run_coroutine_threadsafe(request.drive(), loop)
        try:
            yield _Request(loop, request, driving, client.is_for_several)
        finally:
            driving.cancel()


@dataclass(slots=True)
class _Request:
    """A BatchRequest that is used from another thread."""

    loop: asyncio.AbstractEventLoop
    request: BatchRequest
    driving: Future[None]
    is_for_several: bool

    def submit(self, task: Checked, done: Done) -> Cancel:
        """See `BatchRequest.add`."""
        self.loop.call_soon_threadsafe(self.request.add, task, done)
        return cancel_nothing  # the request is cancelled as a whole

    def end(self) -> Future[None]:
        """See `BatchRequest.end`; the future is done when the request has ended."""
        self.loop.call_soon_threadsafe(self.request.end)
        return self.driving


def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    loop.run_forever()
    loop.close()
