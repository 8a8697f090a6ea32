"""`AsyncClient`, the client for coroutines."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing, suppress
from types import TracebackType
from typing import Any, TypeVar

from selftaught.sandbox.client.attempts import ATTEMPTS, BROKEN, Busy, Waits, content_of, encode, to_json
from selftaught.sandbox.client.batch import BatchRequest
from selftaught.sandbox.client.configuration import combined
from selftaught.sandbox.client.daemon import Daemon
from selftaught.sandbox.client.daemons import Daemons
from selftaught.sandbox.errors import ServerRefused
from selftaught.sandbox.judging import Checked
from selftaught.sandbox.program import Ending, Program, Run
from selftaught.sandbox.stream import Cancel, Done, ajudge_many, cancel_nothing
from selftaught.sandbox.task import MIB, AnyTask, Limits
from selftaught.sandbox.validation import check_program, check_task
from selftaught.sandbox.verdict import Status, Verdict

T = TypeVar("T")
DEADLINE_SECONDS = 600.0


class AsyncClient:
    """A client of one or several daemons, for one event loop. Use it as an asynchronous context manager, or call
    `close`.

    Of several daemons, the one with the least to do for this client gets the next task, measured by its pace. Those
    that fail, shut down or refuse are left out until ``/readyz`` says that they are ready; what they have not judged
    is judged by the others. Judging has no side effects, and a task gets one verdict.

    Its methods raise ServerRefused if every daemon refuses this client's requests, and CannotConfine if all are below
    the required level.

    Args:
        url: ``http://HOST:PORT``, ``https://HOST:PORT``, or ``unix:PATH``; or several of them. ``dns+http://NAME:PORT``
            is one daemon for each address that the name has, which is looked up every few seconds.
        token: The daemons' token, if they require one.
        deadline_seconds: The most time from the call for a task to its verdict, retries included. After it the verdict
            is ``internal_error`` and `retryable`, and names each daemon with its reason.
        in_flight: The most requests, and the most tasks of a stream, that are pending at a time, for each daemon.
        require: The lowest acceptable level, ``"full"``, ``"container"`` or ``"restricted"``. A daemon below it is
            sent nothing. ``None`` takes any.
        limits: Limits for tasks that have none of their own. ``None`` leaves them to the daemon.

    Attributes:
        on_unreachable: Awaited after a broken connection, if set, before the next attempt.

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
        if deadline_seconds <= 0 or in_flight < 1:
            raise ValueError("deadline_seconds must be above 0 and in_flight at least 1")
        self._daemons = Daemons(url, token, in_flight, require)
        self.url, self.deadline_seconds, self.in_flight, self.limits = url, deadline_seconds, in_flight, limits
        self.on_unreachable: Callable[[], Awaitable[None]] | None = None

    async def verify(self, task: AnyTask) -> Verdict:
        """Judge one task.

        Args:
            task: A solution and what judges it.

        Returns:
            The verdict.
        """
        checked = check_task(task)
        if isinstance(checked, Verdict):
            return checked
        ident = checked.id

        def read(status: int, content: dict[str, Any]) -> Verdict:
            return (
                Verdict.from_dict(content)
                if "status" in content
                else Verdict(ident, Status.INVALID, message=content["detail"])
            )

        def fail(reason: str) -> Verdict:
            return Verdict(ident, Status.INTERNAL_ERROR, message=reason, retryable=True)

        return await self._ask("/v1/verify", encode(checked, self.limits), read, fail)

    async def run(self, program: Program) -> Run:
        """Run a program. This judges nothing.

        Args:
            program: The source and its standard input.

        Returns:
            What the program did.
        """
        checked = check_program(program)
        if isinstance(checked, Run):
            return checked
        ident = checked.id
        fields: dict[str, Any] = {"id": ident, "code": checked.code, "stdin": checked.stdin}
        if checked.limits:
            fields["limits"] = checked.limits.to_dict()
        if checked.files:
            fields["files"] = {path: base64.b64encode(content).decode() for path, content in checked.files.items()}
        if checked.fetch:
            fields["fetch"] = list(checked.fetch)

        def read(status: int, content: dict[str, Any]) -> Run:
            return (
                Run.from_dict(content) if "ending" in content else Run(ident, Ending.INVALID, message=content["detail"])
            )

        def fail(reason: str) -> Run:
            return Run(ident, Ending.INTERNAL_ERROR, message=reason, retryable=True)

        return await self._ask("/v1/run", to_json(fields), read, fail)

    async def verify_many(
        self, tasks: Iterable[AnyTask] | AsyncIterable[AnyTask], ordered: bool = True, repeat: int = 1
    ) -> AsyncIterator[Verdict]:
        """Judge a stream of tasks.

        Args:
            tasks: Any iterable, or asynchronous iterable.
            ordered: See `Verifier.verify_many`.
            repeat: See `Verifier.verify_many`.

        Yields:
            A verdict for each task.

        Raises:
            ValueError: `repeat` is invalid.
        """
        request = self.batch(repeat)

        async def submit(task: Checked, done: Done) -> Cancel:
            request.add(task, done)
            return cancel_nothing  # the request is cancelled as a whole

        driving = asyncio.create_task(request.drive())
        try:
            window, several = await self.window(), self._daemons.are_several
            found = ajudge_many(tasks, check_task, submit, window, ordered, deduplicate=several)  # one does it itself
            async with aclosing(found) as verdicts:
                async for verdict in verdicts:
                    yield verdict
            request.end()
            await driving
        finally:
            driving.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await driving

    async def config(self) -> dict[str, Any]:
        """Return the configuration: version, level, engine, limits, protections.

        Of several daemons it is what may be relied on whichever of them judges: that of the one with the lowest level,
        with the lowest limits, the packages that all have, and all workers.

        Raises:
            ConnectionError: No daemon answered before the deadline.
        """
        if self._daemons.are_checked:
            await self.wait_until_ready(self.deadline_seconds)
            return combined([daemon.about for daemon in self._daemons.ready])

        def fail(reason: str) -> dict[str, Any]:
            raise ConnectionError(reason)

        return await self._ask("/v1/config", None, lambda status, content: content, fail)

    async def wait_until_ready(self, within_seconds: float) -> None:
        """Wait until a daemon is ready, and each has been asked.

        Args:
            within_seconds: The most time. Those that have not answered by then are left out until they do.

        Raises:
            CannotConfine: All are below the required level.
            ConnectionError: None is ready in time; the message names each with its reason.
            ServerRefused: None would serve this client.
        """
        try:
            with self._daemons.in_use():
                async with asyncio.timeout(within_seconds):
                    await self._daemons.all_asked()
        except TimeoutError:
            if not self._daemons.ready:
                raise ConnectionError(self._too_late(within_seconds)) from None

    @property
    def daemons(self) -> dict[str, str]:
        """The daemons that judge, by address: level, workers and version. Empty if no more than one URL was given and
        nothing required of it: then nothing is known of it."""
        return self._daemons.described()

    @property
    def refused(self) -> dict[str, str]:
        """Why the other daemons get nothing at the moment, by address."""
        return self._daemons.refused

    @property
    def is_for_several(self) -> bool:
        """There may be more than one daemon."""
        return self._daemons.are_several

    def batch(self, repeat: int) -> BatchRequest:
        """Return a request for a stream of tasks."""
        return BatchRequest(self._daemons, repeat, self.limits, self.deadline_seconds, self.failed)

    async def window(self) -> int:
        """Return how many tasks of a stream may be pending at a time, at all daemons together."""
        with self._daemons.in_use():
            return self.in_flight * await self._daemons.count()

    async def close(self) -> None:
        """Close every connection."""
        await self._daemons.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def failed(self, daemon: Daemon, error: Exception) -> None:
        """Note that a request to a daemon failed, and call `on_unreachable` if the connection broke.

        Raises:
            ServerRefused: The error, if there is no other daemon.
        """
        self._daemons.failed(daemon, error)
        if self.on_unreachable is not None and not isinstance(error, (Busy, TimeoutError)):
            await self.on_unreachable()

    async def _ask(
        self, path: str, body: bytes | None, read: Callable[[int, dict[str, Any]], T], fail: Callable[[str], T]
    ) -> T:
        """Send a request, and retry it, of several daemons at another, until the deadline."""
        waits, attempts, failed = Waits(), 0, list[Daemon]()
        try:
            with self._daemons.in_use():
                async with asyncio.timeout(self.deadline_seconds):
                    while True:
                        daemon = await self._daemons.acquire(failed)
                        pause = 0.0
                        try:
                            return await self._ask_once(daemon, path, body, read)
                        except _NotJudged as found:
                            attempts += found.is_error
                            if attempts >= ATTEMPTS:
                                return fail(str(found))
                            daemon.reason, pause = str(found), found.seconds
                        except (Busy, ServerRefused, *BROKEN) as error:
                            await self.failed(daemon, error)
                            pause = error.seconds if isinstance(error, Busy) else 0.0
                        failed.append(daemon)
                        await waits.wait(0.0 if self._daemons.are_several else pause)
        except TimeoutError:
            return fail(self._too_late(self.deadline_seconds))

    def _too_late(self, seconds: float) -> str:
        return f"no answer within {seconds:g} s: {self._daemons.why()}"

    async def _ask_once(
        self, daemon: Daemon, path: str, body: bytes | None, read: Callable[[int, dict[str, Any]], T]
    ) -> T:
        headers = {"Content-Type": "application/json"}
        method = "GET" if body is None else "POST"
        data = (
            io.BytesIO(body) if body and len(body) > MIB else body
        )  # aiohttp warns if a large body is bytes, since it writes them at once
        daemon.sent(1)
        try:
            async with (
                daemon.watched(self._daemons.are_checked),
                daemon.session().request(method, path, data=data, headers=headers) as response,
            ):
                if response.status == 503:
                    content = await content_of(response)
                    if problem := content.get("status") or content.get("ending"):
                        raise _NotJudged(f"{problem} {content.get('message') or ''}".strip(), problem)
                content = await daemon.check(response) or await content_of(response)
                try:
                    found = read(response.status, content)
                except (KeyError, TypeError, ValueError) as error:
                    raise ServerRefused(f"{daemon.name}: its answer is not understood: {str(content)[:200]}") from error
        except BaseException:
            daemon.lost(1)
            raise
        daemon.received(1)
        return found


class _NotJudged(Busy):
    """A daemon answers that it could not judge."""

    def __init__(self, reason: str, status: str) -> None:
        super().__init__(0.2, reason)
        self.is_error = status == "internal_error"
