"""All daemons of a client: which one is asked next, and who is left out until it is ready again.

One daemon alone, of which no level is required, is asked nothing but what the caller asks. If there may be several,
each is asked whether it is ready before it is sent anything, and again when it has failed, until it is.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager

from selftaught.sandbox.backends import STRONGEST_FIRST
from selftaught.sandbox.client import lookup
from selftaught.sandbox.client.attempts import Busy, Waits
from selftaught.sandbox.client.balance import choose
from selftaught.sandbox.client.configuration import described, differences
from selftaught.sandbox.client.daemon import Daemon
from selftaught.sandbox.errors import CannotConfine, ServerRefused

LOOKUP_SECONDS = 5.0
"""How often the addresses of a name are looked up, while there is something to do."""
START_SECONDS = 1.0
"""The first requests wait so long for all to have been asked: else the first to answer would get all of them."""

_LOG = logging.getLogger("selftaught")


class Daemons:
    """The daemons of a client, for one event loop.

    Args:
        urls: Their addresses.
        token: The token that they require, if they do.
        in_flight: The most requests, and tasks of streams, that each has at a time.
        require: The lowest acceptable level; None for any.

    Attributes:
        all: The daemons that may be asked.
        are_checked: They are asked whether they are ready.
        are_several: There may be more than one.

    Raises:
        ValueError: An argument is invalid.
    """

    def __init__(self, urls: str | Sequence[str], token: str | None, in_flight: int, require: str | None) -> None:
        if require is not None and require not in STRONGEST_FIRST:
            raise ValueError(f"no level {require!r}: choose from {', '.join(STRONGEST_FIRST)}")
        known = lookup.check(urls)
        self._token, self._in_flight, self._require = token, in_flight, require
        self._names: dict[str, str] = {url: "its name has not been looked up" for url in known if _is_name(url)}
        self.are_several = len(known) > 1 or bool(self._names)
        self.are_checked = self.are_several or require is not None
        self.all = [self._make(url) for url in known if not _is_name(url)]
        self._left: list[Daemon] = []
        self._users = 0
        self._began: float | None = None
        self._asking: dict[Daemon, asyncio.Task[None]] = {}
        self._following: asyncio.Task[None] | None = None
        self._asked: set[Daemon] = set()
        self._event = asyncio.Event()
        self._listeners: list[Callable[[], object]] = []
        self._told: set[str] = set()

    def _make(self, url: str, address: str | None = None) -> Daemon:
        made = Daemon(url, self._token, self._in_flight, address)
        if self.are_checked:
            made.problem = "it has not answered yet"
        return made

    @property
    def ready(self) -> list[Daemon]:
        """Those that may be sent tasks."""
        return [daemon for daemon in self.all if not daemon.problem]

    @property
    def refused(self) -> dict[str, str]:
        """Why the others are sent nothing, by name."""
        return {daemon.name: daemon.problem for daemon in self.all if daemon.problem} | self._unresolved()

    def described(self) -> dict[str, str]:
        """Return what those that are ready have, by name."""
        return {daemon.name: described(daemon.about) for daemon in self.ready if daemon.about}

    def _unresolved(self) -> dict[str, str]:
        return {name: problem for name, problem in self._names.items() if problem}

    def why(self) -> str:
        """Return why nothing came of a request, with the name of every daemon."""
        found = {daemon.name: daemon.problem or daemon.reason or "it did not answer" for daemon in self.all}
        return "; ".join(f"{name}: {reason}" for name, reason in (found | self._unresolved()).items())

    @property
    def refusal(self) -> Exception | None:
        """The error if all of them refuse this client or are below the required level: waiting would not help."""
        refusals = [daemon.refusal for daemon in self.all if daemon.refusal]
        if not refusals or len(refusals) < len(self.all) or self._unresolved():
            return None
        kind = CannotConfine if all(isinstance(each, CannotConfine) for each in refusals) else ServerRefused
        return kind("; ".join(map(str, refusals)))

    @contextmanager
    def in_use(self, on_change: Callable[[], object] | None = None) -> Iterator[None]:
        """While this is entered, those that are left out are asked whether they are ready.

        Args:
            on_change: Called when one was left out, or is ready again.
        """
        self._users += 1
        if on_change:
            self._listeners.append(on_change)
        self._begin()
        try:
            yield
        finally:
            self._users -= 1
            if on_change:
                self._listeners.remove(on_change)

    async def acquire(self, avoid: Collection[Daemon] = ()) -> Daemon:
        """Return the one that the next request is for, when there is one; see `balance.choose`.

        Args:
            avoid: Take these only if there is no other.

        Raises:
            CannotConfine: All are below the required level.
            ServerRefused: None would serve this client.
        """
        clock = asyncio.get_running_loop().time
        if self.are_several:
            await self._start()
        while True:
            avoided = [number for number, daemon in enumerate(self.all) if daemon in avoid]
            first = random.randrange(len(self.all)) if self.all else 0
            number = choose([daemon.load for daemon in self.all], first, avoided, limited=False)
            left = self.all[number].busy_until - clock() if number is not None and self.are_checked else None
            if number is not None and (left is None or left <= 0):
                return self.all[number]
            if number is None and (refusal := self.refusal):
                raise refusal
            await self._change(left and left * random.uniform(1.0, 1.5))

    async def _start(self) -> None:
        """Wait a moment until all have been asked."""
        now = asyncio.get_running_loop().time()
        self._began = self._began or now
        while (left := self._began + START_SECONDS - now) > 0 and not self._asked.issuperset(self.all):
            await self._change(left)
            now = asyncio.get_running_loop().time()

    async def all_asked(self) -> None:
        """Wait until each has been asked, and one is ready. Raises as `acquire` does."""
        while not self.ready or not self._asked.issuperset(self.all):
            if refusal := self.refusal:
                raise refusal
            await self._change()

    async def count(self) -> int:
        """Return how many there are, when all names have been looked up."""
        if self._names and not self.all:
            await self._change(LOOKUP_SECONDS)
        return max(1, len(self.all))

    def failed(self, daemon: Daemon, error: Exception) -> None:
        """Note that a request to a daemon failed: another may be asked, and it is asked whether it is ready.

        Raises:
            ServerRefused: The error, if it is the only one.
        """
        daemon.reason = str(error) if isinstance(error, Busy) else f"{type(error).__name__}: {error}".removesuffix(": ")
        if type(error) is Busy or (isinstance(error, Busy) and not self.are_checked):
            daemon.pause(error.seconds)
        elif isinstance(error, ServerRefused):
            if not self.are_checked:
                raise error
            self._leave_out(daemon, str(error).removeprefix(f"{daemon.name}: "), error)
        elif self.are_checked and not daemon.problem:
            self._leave_out(daemon, daemon.reason)
        self._begin()
        self._notify()

    def _leave_out(self, daemon: Daemon, problem: str, refusal: Exception | None = None) -> None:
        daemon.leave_out(problem, refusal)
        _LOG.warning("a daemon gets no tasks until it is ready: %s: %s", daemon.name, problem)

    async def close(self) -> None:
        """Close every connection."""
        tasks = [*self._asking.values(), *([self._following] if self._following else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for daemon in (*self.all, *self._left):
            await daemon.close()

    def _begin(self) -> None:
        """Have those that are left out asked."""
        if self._names and (self._following is None or self._following.done()):
            self._following = asyncio.create_task(self._follow_names())
        for daemon in self.all:
            if daemon.problem and daemon not in self._asking:
                self._asking[daemon] = asyncio.create_task(self._ask(daemon))

    async def _ask(self, daemon: Daemon) -> None:
        """Ask a daemon until it is ready, or there is nothing to do."""
        waits = Waits()
        try:
            while daemon in self.all:
                known = daemon.problem
                await daemon.ask(self._require)
                self._asked.add(daemon)
                self._notify()
                if not daemon.problem:
                    return self._compare()
                if daemon.problem != known:
                    _LOG.warning("a daemon gets no tasks: %s: %s", daemon.name, daemon.problem)
                if self._users:
                    await waits.wait()
                if not self._users:
                    return None
        finally:
            del self._asking[daemon]

    def _compare(self) -> None:
        """Tell once in what the daemons differ."""
        for sentence in differences({daemon.name: daemon.about for daemon in self.ready}):
            if sentence not in self._told:
                self._told.add(sentence)
                _LOG.warning("%s", sentence)

    async def _follow_names(self) -> None:
        """Look up the addresses of all names now and then."""
        while self._users:
            for url in self._names:
                try:
                    self._update(url, await lookup.addresses(url))
                    self._names[url] = ""
                except OSError as error:  # those that are known are kept
                    self._names[url] = f"its name can't be resolved: {error}"
            self._begin()
            self._notify()
            await self._close_left()
            await asyncio.sleep(LOOKUP_SECONDS)

    def _update(self, url: str, addresses: list[str]) -> None:
        plain = url.removeprefix(lookup.PREFIX)
        known = {daemon.address: daemon for daemon in self.all if daemon.address and daemon.url == plain}
        for address in known.keys() - {*addresses}:
            self.all.remove(known[address])
            self._left.append(known[address])
            known[address].problem = "its name no longer has this address"
        self.all += [self._make(url, address) for address in addresses if address not in known]

    async def _close_left(self) -> None:
        """Close the connections to those that have left and owe nothing."""
        for daemon in [daemon for daemon in self._left if not daemon.outstanding]:
            self._left.remove(daemon)
            await daemon.close()

    def _notify(self) -> None:
        event, self._event = self._event, asyncio.Event()
        event.set()
        for listener in self._listeners:
            listener()

    async def _change(self, within_seconds: float | None = None) -> None:
        """Wait until a daemon was left out, or is ready again, or for so long."""
        try:
            async with asyncio.timeout(within_seconds):
                await self._event.wait()
        except TimeoutError:
            return


def _is_name(url: str) -> bool:
    return url.startswith(lookup.PREFIX)
