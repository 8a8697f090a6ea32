"""One daemon, as a client sees it: its connections, what it has to do, and whether it may be sent more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from selftaught.sandbox.backends import STRONGEST_FIRST
from selftaught.sandbox.client.attempts import BROKEN, Busy, Unavailable, content_of
from selftaught.sandbox.client.balance import Load, Pace
from selftaught.sandbox.client.lookup import PREFIX, Fixed
from selftaught.sandbox.errors import CannotConfine, ServerRefused

CHECK_SECONDS = 15.0
"""How long a daemon may take to say that it is ready; its canaries may take 10."""
QUIET_SECONDS = 5.0
"""A daemon that owes verdicts and has sent nothing for so long is asked whether it lives."""
ALIVE_SECONDS = 10.0
"""How long it may take to answer that."""

LEAST_AHEAD = 2
"""A daemon may have at least so many tasks of a stream for each worker: one that runs, and the next."""

_PAUSE_SECONDS = 1.0


class Daemon:
    """A daemon and the connections to it, for one event loop.

    Args:
        url: Its address, or a name with the prefix ``dns+``.
        token: The token that it requires, if it does.
        in_flight: The most requests, and tasks of streams, that it has at a time.
        address: The one of the name's addresses that is meant.

    Attributes:
        name: Its address, for people.
        about: Its configuration, once it has been asked.
        problem: Why it is sent nothing; empty if it may be.
        refusal: The same as an exception, if waiting would not help.
        reason: What failed last.
        outstanding: Tasks that it was sent and has not answered.
    """

    def __init__(self, url: str, token: str | None, in_flight: int, address: str | None = None) -> None:
        self.url, self.address = url.removeprefix(PREFIX), address
        self.name = self.url
        if address:
            parts = urlsplit(self.url)
            host = f"[{address}]" if ":" in address else address
            self.name = f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "")
        self._token, self._in_flight = token, in_flight
        self._base = "http://localhost" if url.startswith("unix:") else self.url.rstrip("/")
        self._sessions: dict[bool, aiohttp.ClientSession] = {}
        self.about: dict[str, Any] = {}
        self.problem = self.reason = ""
        self.refusal: Exception | None = None
        self.outstanding = 0
        self.busy_until = self.heard = 0.0
        self._pace: Pace | None = None

    @property
    def load(self) -> Load:
        """What it has to do."""
        now = asyncio.get_running_loop().time()
        room = self._pace.room if self._pace else self._in_flight
        return Load(self.outstanding, room, not self.problem, self.busy_until > now)

    def sent(self, count: int) -> None:
        """Note that it was sent so many tasks."""
        now = asyncio.get_running_loop().time()
        if not self.outstanding:
            self.heard = now
            if self._pace:
                self._pace.began(now)
        self.outstanding += count

    def received(self, count: int) -> None:
        """Note that so many verdicts have come."""
        now = self.heard = asyncio.get_running_loop().time()
        self.outstanding -= count
        if self._pace:
            self._pace.received(count, now)

    def lost(self, count: int) -> None:
        """Note that it will not answer so many tasks."""
        self.outstanding -= count

    def pause(self, seconds: float) -> None:
        """Leave it alone for so long, if there is another."""
        self.busy_until = max(self.busy_until, asyncio.get_running_loop().time() + seconds)

    def leave_out(self, problem: str, refusal: Exception | None = None) -> None:
        """Send it nothing for this reason."""
        self.problem = self.reason = problem
        self.refusal = refusal

    def session(self, for_checks: bool = False) -> aiohttp.ClientSession:
        """Return its connection pool, created on first use. Checks have one of their own: they never wait for it."""
        if for_checks not in self._sessions:
            limit = 0 if for_checks else self._in_flight
            connector: aiohttp.BaseConnector
            if self.url.startswith("unix:"):
                connector = aiohttp.UnixConnector(self.url.removeprefix("unix:"), limit=limit, force_close=for_checks)
            else:
                resolver = Fixed(self.address) if self.address else None
                connector = aiohttp.TCPConnector(limit=limit, resolver=resolver, force_close=for_checks)
            headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
            timeout = aiohttp.ClientTimeout(total=CHECK_SECONDS if for_checks else None, sock_connect=10)
            self._sessions[for_checks] = aiohttp.ClientSession(
                self._base, connector=connector, headers=headers, timeout=timeout
            )
        return self._sessions[for_checks]

    async def close(self) -> None:
        """Close every connection."""
        while self._sessions:
            await self._sessions.popitem()[1].close()

    async def check(self, response: aiohttp.ClientResponse) -> dict[str, Any] | None:
        """Check the status of a response.

        Args:
            response: The response, unread.

        Returns:
            None if the request was served; ``{"detail": ...}`` if the task is invalid.

        Raises:
            Busy: The request may be retried; Unavailable, a kind of it, if another daemon should have it.
            ServerRefused: Retrying would not help.
        """
        if response.status == 200:
            return None
        content = await content_of(response)
        detail = str(content.get("detail") or content.get("message") or content.get("status") or response.reason)
        if response.status in (429, 502, 503, 504):
            wait = response.headers.get("Retry-After", "")
            kind = Busy if response.status == 429 else Unavailable
            raise kind(float(wait) if wait.isdigit() else _PAUSE_SECONDS, f"HTTP {response.status}: {detail}")
        if response.status in (400, 413, 422):
            return {"detail": detail}
        raise ServerRefused(f"{self.name}: HTTP {response.status}: {detail}")

    async def ask(self, require: str | None) -> None:
        """Ask whether it is ready, and which level it has; say in `problem` what came of it.

        Args:
            require: The lowest acceptable level.
        """
        try:
            async with self.session(for_checks=True).get("/readyz") as response:
                await self._accept(response)
            async with self.session(for_checks=True).get("/v1/config") as response:
                await self._accept(response)
                self.about = await content_of(response)
            level, workers = self.about["level"], int(self.about.get("workers", 1))
        except Busy as busy:
            return self.leave_out(str(busy))
        except BROKEN as error:
            return self.leave_out(f"{type(error).__name__}: {error}".removesuffix(": "))
        except ServerRefused as error:
            return self.leave_out(str(error).removeprefix(f"{self.name}: "), error)
        except aiohttp.ClientError as error:
            refusal = self._not_understood(error)
            return self.leave_out(str(refusal).removeprefix(f"{self.name}: "), refusal)
        except (KeyError, TypeError, ValueError):
            what = "it is no daemon of selftaught: /v1/config has no level, or no number of workers"
            return self.leave_out(what, ServerRefused(f"{self.name}: {what}"))
        if require and level not in STRONGEST_FIRST[: STRONGEST_FIRST.index(require) + 1]:
            what = f"its level is {level}, below {require}"
            return self.leave_out(what, CannotConfine(f"{self.name}: {what}"))
        if self._pace is None:
            self._pace = Pace(LEAST_AHEAD * workers, self._in_flight)
        self.problem, self.refusal, self.busy_until = "", None, 0.0
        return None

    def _not_understood(self, error: aiohttp.ClientError) -> ServerRefused:
        """Return the refusal for an answer that is no HTTP, or leads nowhere: another service has this address."""
        return ServerRefused(f"{self.name}: its answer is not understood: {type(error).__name__}: {str(error)[:200]}")

    async def _accept(self, response: aiohttp.ClientResponse) -> None:
        if problem := await self.check(response):
            raise ServerRefused(f"{self.name}: HTTP {response.status}: {problem['detail']}")

    @asynccontextmanager
    async def watched(self, is_watched: bool = True) -> AsyncIterator[asyncio.Timeout]:
        """A timeout for a request, which also ends with TimeoutError when the daemon owes verdicts and does not live:
        a machine that is gone closes no connection.

        Args:
            is_watched: False for a timeout alone.

        Raises:
            ServerRefused: Its answer is no HTTP, or leads nowhere.
        """
        async with asyncio.timeout(None) as timer:
            watch = asyncio.create_task(self._watch(timer)) if is_watched else None
            try:
                yield timer
            except BROKEN:
                raise
            except aiohttp.ClientError as error:
                raise self._not_understood(error) from error
            finally:
                if watch is not None:
                    watch.cancel()

    async def _watch(self, timer: asyncio.Timeout) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(QUIET_SECONDS)
            if self.outstanding and clock() - self.heard >= QUIET_SECONDS and not await self._lives():
                self.leave_out(f"it owed verdicts, and has not answered for {clock() - self.heard:.0f} s")
                if not timer.expired():  # the tasks' deadline came while it was asked
                    timer.reschedule(clock())
                return

    async def _lives(self) -> bool:
        with suppress(*BROKEN):
            async with asyncio.timeout(ALIVE_SECONDS), self.session(for_checks=True).get("/healthz"):
                self.heard = asyncio.get_running_loop().time()
                return True
        return False
