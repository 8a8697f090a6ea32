"""`AsyncClient`, the client for coroutines."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing, suppress
from types import TracebackType
from typing import Any, TypeVar

import aiohttp

from selftaught.sandbox.client.attempts import ATTEMPTS, BROKEN, Busy, Waits, content_of, encode, to_json
from selftaught.sandbox.client.batch import BatchRequest
from selftaught.sandbox.errors import ServerRefused
from selftaught.sandbox.judging import Checked
from selftaught.sandbox.program import Ending, Program, Run
from selftaught.sandbox.stream import Cancel, Done, ajudge_many, cancel_nothing
from selftaught.sandbox.task import MIB, AnyTask
from selftaught.sandbox.validation import check_program, check_task
from selftaught.sandbox.verdict import Status, Verdict

T = TypeVar("T")
DEADLINE_SECONDS = 600.0


class AsyncClient:
    """A client of a daemon, for one event loop. Use it as an asynchronous context manager, or call `close`.

    Its methods raise ServerRefused if the server refuses this client's requests.

    Args:
        url: ``http://HOST:PORT``, ``https://HOST:PORT``, or ``unix:PATH``.
        token: The server's token, if it requires one.
        deadline_seconds: The most time from the call for a task to its verdict, retries included. After it the verdict
            is ``internal_error`` and `retryable`.
        in_flight: The most requests, and the most tasks of a stream, that are pending at a time.

    Attributes:
        on_unreachable: Awaited after a broken connection, if set, before the next attempt.

    Raises:
        ValueError: An argument is invalid.
    """

    def __init__(
        self, url: str, *, token: str | None = None, deadline_seconds: float = DEADLINE_SECONDS, in_flight: int = 256
    ) -> None:
        if deadline_seconds <= 0 or in_flight < 1:
            raise ValueError("deadline_seconds must be above 0 and in_flight at least 1")
        if not url.startswith(("http://", "https://", "unix:")):
            raise ValueError(f"{url!r} is not the address of a server: http://HOST:PORT or unix:PATH")
        self.url, self._token, self.deadline_seconds, self.in_flight = url, token, deadline_seconds, in_flight
        self._base = "http://localhost" if url.startswith("unix:") else url.rstrip("/")
        self._session: aiohttp.ClientSession | None = None
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

        return await self._ask("/v1/verify", encode(checked), read, fail)

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
        request = BatchRequest(self, repeat)

        async def submit(task: Checked, done: Done) -> Cancel:
            request.add(task, done)
            return cancel_nothing  # the request is cancelled as a whole

        driving = asyncio.create_task(request.drive())
        try:
            # The server deduplicates.
            found = ajudge_many(tasks, check_task, submit, self.in_flight, ordered, deduplicate=False)
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
        """Return the server's configuration: version, level, engine, limits, protections.

        Raises:
            ConnectionError: The server did not answer before the deadline.
        """

        def fail(reason: str) -> dict[str, Any]:
            raise ConnectionError(reason)

        return await self._ask("/v1/config", None, lambda status, content: content, fail)

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def session(self) -> aiohttp.ClientSession:
        """Return the connection pool, created on first use."""
        if self._session is None:
            path = self.url.removeprefix("unix:")
            connector: aiohttp.BaseConnector
            if path != self.url:
                connector = aiohttp.UnixConnector(path, limit=self.in_flight, force_close=False)
            else:
                connector = aiohttp.TCPConnector(limit=self.in_flight)
            headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
            self._session = aiohttp.ClientSession(self._base, connector=connector, headers=headers, timeout=timeout)
        return self._session

    async def check(self, response: aiohttp.ClientResponse) -> dict[str, Any] | None:
        """Check the status of a response.

        Args:
            response: The response, unread.

        Returns:
            None if the request was served; ``{"detail": ...}`` if the task is invalid.

        Raises:
            Busy: The request may be retried.
            ServerRefused: Retrying would not help.
        """
        if response.status == 200:
            return None
        content = await content_of(response)
        detail = str(content.get("detail") or content.get("message") or response.reason)
        if response.status in (429, 502, 503, 504):
            wait = response.headers.get("Retry-After", "1")
            raise Busy(float(wait) if wait.isdigit() else 1.0, f"HTTP {response.status}: {detail}")
        if response.status in (400, 413, 422):
            return {"detail": detail}
        raise ServerRefused(f"{self.url}: HTTP {response.status}: {detail}")

    async def _ask(
        self, path: str, body: bytes | None, read: Callable[[int, dict[str, Any]], T], fail: Callable[[str], T]
    ) -> T:
        """Send a request, and retry it until the deadline."""
        waits, attempts, reason = Waits(), 0, "it did not answer"
        try:
            async with asyncio.timeout(self.deadline_seconds):
                while True:
                    try:
                        attempts += 1
                        return await self._ask_once(path, body, read)
                    except Busy as busy:
                        reason = str(busy)
                        if attempts >= ATTEMPTS and "internal_error" in reason:
                            return fail(reason)
                        await waits.wait(busy.seconds)
                    except BROKEN as error:
                        reason = f"{type(error).__name__}: {error}"
                        await self.reconnect()
                        await waits.wait()
        except TimeoutError:
            return fail(f"no answer from {self.url} within {self.deadline_seconds:g} s: {reason}")

    async def _ask_once(self, path: str, body: bytes | None, read: Callable[[int, dict[str, Any]], T]) -> T:
        headers = {"Content-Type": "application/json"}
        method = "GET" if body is None else "POST"
        data = (
            io.BytesIO(body) if body and len(body) > MIB else body
        )  # aiohttp warns if a large body is bytes, since it writes them at once
        async with self.session().request(method, path, data=data, headers=headers) as response:
            if response.status == 503:
                content = await content_of(response)
                problem = content.get("status") or content.get("ending") or ""
                raise Busy(
                    0.2 if problem else 1.0,
                    f"{problem} {content.get('message') or content.get('detail') or ''}".strip(),
                )
            problem = await self.check(response)
            return read(response.status, problem or await content_of(response))

    async def reconnect(self) -> None:
        """After a broken connection: call `on_unreachable`, which may restart the server."""
        if self.on_unreachable is not None:
            await self.on_unreachable()
