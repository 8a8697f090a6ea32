"""Requests over several servers of one model: the least busy one is asked, one that fails is left out for a while."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from selftaught.generator.models import ModelFailed
from selftaught.generator.models.server import Failed, Server, headers
from selftaught.generator.models.window import Window

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Patience:
    """When a request is tried again, and when it is given up.

    Attributes:
        max_tries: Maximum number of tries of a request.
        backoff_factor: Seconds before the second try, about; doubled before each one after it, up to a minute.
        timeout: Seconds to wait for an answer.
        patience: Seconds after the first try of a request in which another one may begin.
    """

    max_tries: int = 20
    backoff_factor: float = 0.5
    timeout: float = 600.0
    patience: float = 900.0


class Balancer:
    """Sends each request to the server that has the fewest in relation to how many it is sent at once.

    A request is tried again after connection errors, time-outs, HTTP 429 and 5xx: elsewhere if a server answers, else
    with exponential backoff and jitter, not before the time in ``Retry-After``. A server that can't be reached, or says
    that it has too much to do, is left out until one request to it has been answered. Everything but the constructor is
    for one event loop.

    Args:
        addresses: The servers' base addresses.
        concurrency: Number of requests in flight, at all servers together (None: see `Window`).
        patience: When a request is tried again.
    """

    def __init__(self, addresses: Sequence[str], concurrency: int | None, patience: Patience) -> None:
        shares = [None] * len(addresses) if concurrency is None else _shares(concurrency, len(addresses))
        self.servers = [
            Server(address, Window(share), patience.backoff_factor)
            for address, share in zip(addresses, shares, strict=True)
        ]
        self._patience = patience
        self._session: aiohttp.ClientSession | None = None
        self._waiting: list[tuple[int, int, asyncio.Future[Server]]] = []
        self._count = itertools.count()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def capacity(self) -> int:
        """Number of requests in flight at all servers that answer."""
        return sum(server.limit for server in self.servers)

    async def ask(self, path: str, body: object, *, priority: int = 0, root: bool = False) -> dict[str, Any]:
        """Return what one of the servers answers to a POST request.

        Args:
            path: The path below the base address.
            body: What is sent, as JSON.
            priority: Requests with a lower number are sent first.
            root: The path is below the base address without ``/v1``.

        Raises:
            Refused, Absent, ModelFailed: See these.
        """
        began = 0.0
        for number in itertools.count(1):
            server = await self._place(priority)
            began = began or time.monotonic()
            try:
                answer = await server.json(self.session(), "POST", path, body, root=root)
            except Failed as failure:
                self._note(server, failure)
                pause = 0.0 if failure.down else max(failure.wait, server.pause(number - 1))
                self._check(failure, number, began, pause)
            except ModelFailed:
                self._answered(server)
                raise
            else:
                self._answered(server)
                return answer
            finally:
                server.outstanding -= 1
                self._wake()
            await asyncio.sleep(pause)
        raise AssertionError

    async def ask_each(self, path: str, patience: float) -> list[dict[str, Any] | ModelFailed]:
        """Return what each server answers to a GET request, or why it does not. Those that can't be reached are left
        out at first.

        Args:
            path: The path below the base address.
            patience: Seconds after the first try of a request in which another one may begin.
        """
        return await asyncio.gather(*(self._ask_one(server, path, patience) for server in self.servers))

    async def _ask_one(self, server: Server, path: str, patience: float) -> dict[str, Any] | ModelFailed:
        began = time.monotonic()
        for number in itertools.count(1):
            try:
                return await server.json(self.session(), "GET", path)
            except Failed as failure:
                pause = max(failure.wait, server.pause(number - 1))
                spent = time.monotonic() - began
                if number >= self._patience.max_tries or spent + pause > patience:
                    server.rest(failure.wait)
                    return ModelFailed(f"{failure} (tries: {number}, in {spent:.0f} s)")
                await asyncio.sleep(pause)
            except ModelFailed as error:
                return error
        raise AssertionError

    def _check(self, failure: Failed, tries: int, began: float, pause: float) -> None:
        """Raise ModelFailed if there is no point in another try."""
        now = time.monotonic()
        left = began + self._patience.patience - now
        wait = pause or max(0.0, min(server.free_at for server in self.servers) - now)
        if tries >= self._patience.max_tries or wait > left:
            asked = f", and the server asks to wait {failure.wait:.0f} s" if failure.wait > left else ""
            raise ModelFailed(f"{failure} (tries: {tries}, in {now - began:.0f} s{asked})") from failure

    def _note(self, server: Server, failure: Failed) -> None:
        if failure.down and server.rest(failure.wait) and len(self.servers) > 1:
            logger.warning("%s is left out for now: %s", server.address, failure)

    def _answered(self, server: Server) -> None:
        if server.failures and len(self.servers) > 1:
            logger.warning("%s answers again", server.address)
        server.failures = 0
        server.window.count(time.monotonic(), bool(self._waiting))

    async def _place(self, priority: int) -> Server:
        """Wait until a server may be sent another request, and return it."""
        waiter: asyncio.Future[Server] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (priority, next(self._count), waiter))
        self._wake()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                waiter.result().outstanding -= 1
                self._wake()
            raise

    def _wake(self) -> None:
        """Give free places to requests that wait."""
        while self._waiting:
            free = [server for server in self.servers if server.is_free]
            if not free:
                break
            waiter = heapq.heappop(self._waiting)[2]
            if not waiter.done():
                server = min(free, key=lambda one: one.outstanding / one.limit)
                server.outstanding += 1
                waiter.set_result(server)
        resting = [server.free_at for server in self.servers if server.free_at > time.monotonic()]
        if self._waiting and resting and self._timer is None:
            pause = min(resting) - time.monotonic() + 0.001
            self._timer = asyncio.get_running_loop().call_later(pause, self._wake_later)

    def _wake_later(self) -> None:
        self._timer = None
        self._wake()

    def session(self) -> aiohttp.ClientSession:
        """Return the connections, opened on first use."""
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=self._patience.timeout, sock_connect=10)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), timeout=timeout, headers=headers(), trust_env=True
            )
        return self._session

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None


def _shares(total: int, parts: int) -> list[int]:
    """Return a number in parts as equal as can be, each at least 1."""
    return [max(1, total // parts + (place < total % parts)) for place in range(parts)]
