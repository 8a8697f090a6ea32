"""Many tasks through one open request to each daemon, and through another if that breaks.

add -> waiting -> [balance] -> channel of a daemon -> request -> verdict
          ^                           |
          +--------- broken ----------+
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace

from selftaught.sandbox.client.attempts import ATTEMPTS, BROKEN, Busy, Waits, encode
from selftaught.sandbox.client.balance import choose, share
from selftaught.sandbox.client.daemon import Daemon
from selftaught.sandbox.client.daemons import Daemons
from selftaught.sandbox.errors import ServerRefused
from selftaught.sandbox.judging import Checked
from selftaught.sandbox.records import parse
from selftaught.sandbox.stream import Done
from selftaught.sandbox.task import Limits
from selftaught.sandbox.validation import check_repeat
from selftaught.sandbox.verdict import Status, Verdict

LINES = "application/x-ndjson"
_END_SECONDS = 2.0
"""When all tasks have verdicts, a daemon may take so long to end its request in order."""


@dataclass(slots=True)
class _Pending:
    line: bytes
    id: str
    done: Done
    deadline: float
    attempts: int = 0
    failed_at: Daemon | None = None


@dataclass(eq=False, slots=True)
class _Channel:
    """The way to one daemon.

    Attributes:
        daemon: The daemon.
        unsent: Numbers of the tasks that are to be sent next.
        held: Numbers of those that it has, or is to be sent, and has not answered.
        changed: Set when there is something to do.
        waits: Pauses after failures.
        timer: The timeout of the open request, if one is open.
        is_late: A deadline ends the request, not a failure.
    """

    daemon: Daemon
    unsent: list[int] = field(default_factory=list)
    held: dict[int, None] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    waits: Waits = field(default_factory=Waits)
    timer: asyncio.Timeout | None = None
    is_late: bool = False


class BatchRequest:
    """The tasks of one stream, sent through a request to each daemon that stays open. Runs in the client's event loop.

    If a request breaks, another one sends what it had not answered: to another daemon, if there is one.

    Args:
        daemons: Who is asked.
        repeat: How often each task is judged.
        limits: Those of tasks that have none of their own; None leaves them to the daemon.
        deadline_seconds: The most time from `add` to the verdict.
        on_failure: Awaited with a daemon and the error that ended a request to it. What it raises ends everything.

    Raises:
        ValueError: `repeat` is invalid.
    """

    def __init__(
        self,
        daemons: Daemons,
        repeat: int,
        limits: Limits | None,
        deadline_seconds: float,
        on_failure: Callable[[Daemon, Exception], Awaitable[None]],
    ) -> None:
        check_repeat(repeat)
        self._daemons, self._repeat, self._limits = daemons, repeat, limits
        self._deadline_seconds, self._on_failure = deadline_seconds, on_failure
        self._added = 0
        self._pending: dict[int, _Pending] = {}
        self._waiting: deque[int] = deque()
        self._channels: dict[Daemon, _Channel] = {}
        self._serving: dict[Daemon, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()
        self._ended = False
        self._error: Exception | None = None

    def add(self, task: Checked, done: Done) -> None:
        """Send a task.

        Args:
            task: The task.
            done: Called once with its verdict, or with the exception that ended the request.
        """
        if self._error is not None:
            done(self._error)
            return
        deadline = asyncio.get_running_loop().time() + self._deadline_seconds
        line = encode(task, self._limits) + b"\n"
        self._pending[self._added] = _Pending(line, task.id, done, deadline)
        self._waiting.append(self._added)
        self._added += 1
        self._changed.set()

    def end(self) -> None:
        """Make `drive` return when all tasks have verdicts: there are no more tasks."""
        self._ended = True
        self._changed.set()

    async def drive(self) -> None:
        """Send tasks and receive verdicts until `end` was called and every task has one."""
        try:
            with self._daemons.in_use(self._changed.set):
                while self._error is None and not self._is_over:
                    self._expire()
                    self._dispatch()
                    await self._wait_for_change()
                if self._error is None:
                    await self._end_requests()
        except Exception as error:
            self._error = error
        finally:
            for serving in self._serving.values():
                serving.cancel()
        if self._error is not None:
            for pending in self._pending.values():
                pending.done(self._error)

    async def _end_requests(self) -> None:
        """Let the open requests end in order."""
        for channel in self._channels.values():
            channel.changed.set()
        serving = [self._serving[daemon] for daemon, channel in self._channels.items() if channel.timer is not None]
        if serving:
            await asyncio.wait(serving, timeout=_END_SECONDS)

    @property
    def _is_over(self) -> bool:
        return self._ended and not self._pending

    async def _wait_for_change(self) -> None:
        """Wait until there is something to do, the first deadline has come, or a busy daemon may be asked again."""
        times = [next(iter(self._pending.values())).deadline] if self._pending else []
        if self._waiting:
            now = asyncio.get_running_loop().time()
            times += [daemon.busy_until for daemon in self._daemons.all if daemon.busy_until > now]
        try:
            async with asyncio.timeout_at(min(times, default=None)):
                await self._changed.wait()
        except TimeoutError:
            return
        self._changed.clear()

    def _dispatch(self) -> None:
        """Give waiting tasks to daemons that have room. Raises what `Daemons.refusal` is."""
        while self._waiting:
            daemons = self._daemons.all
            failed_at = self._pending[self._waiting[0]].failed_at
            avoid = [number for number, daemon in enumerate(daemons) if daemon is failed_at]
            loads = [daemon.load for daemon in daemons]
            number = choose(loads, self._added, avoid, limited=self._daemons.are_several)
            if number is None:
                if refusal := self._daemons.refusal:
                    raise refusal
                return
            if loads[number].busy and self._daemons.are_several:
                return
            count = share(loads[number], len(self._waiting)) if self._daemons.are_several else len(self._waiting)
            channel = self._channel(daemons[number])
            taken = [self._waiting.popleft() for _ in range(count)]
            channel.unsent += taken
            channel.held.update(dict.fromkeys(taken))
            channel.daemon.sent(count)
            channel.changed.set()

    def _channel(self, daemon: Daemon) -> _Channel:
        if daemon not in self._channels:
            self._channels[daemon] = channel = _Channel(daemon)
            self._serving[daemon] = asyncio.create_task(self._serve(channel))
        return self._channels[daemon]

    def _take_back(self, channel: _Channel) -> None:
        """Let the tasks that a daemon has not answered wait for another."""
        held = list(channel.held)
        channel.daemon.lost(len(held))
        channel.held.clear()
        channel.unsent.clear()
        for number in held:
            self._pending[number].failed_at = channel.daemon
        self._waiting.extendleft(reversed(held))
        self._changed.set()

    async def _serve(self, channel: _Channel) -> None:
        """Send requests to a daemon as long as it is given tasks."""
        try:
            while not self._is_over:
                if not channel.held:
                    await channel.changed.wait()
                    channel.changed.clear()
                    continue
                pause = 0.0
                try:
                    await self._request(channel)
                except _Rejected:
                    raise
                except (Busy, ServerRefused, *BROKEN) as error:
                    pause = error.seconds if isinstance(error, Busy) else 0.0
                    if not channel.is_late:
                        await self._on_failure(channel.daemon, error)
                channel.timer, channel.is_late = None, False
                if channel.held or pause:
                    self._take_back(channel)
                    await channel.waits.wait(pause)
        except Exception as error:
            self._error = error
            self._changed.set()
        finally:
            channel.daemon.lost(len(channel.held))
            channel.held.clear()

    async def _request(self, channel: _Channel) -> None:
        """Send one request with the tasks of a channel and those that it is given later. Returns at its regular end."""
        sent: dict[int, int] = {}
        path = f"/v1/verify/batch?order=completion&repeat={self._repeat}"
        async with channel.daemon.watched(self._daemons.are_checked) as channel.timer:
            body, headers = self._lines(channel, sent), {"Content-Type": LINES}
            async with channel.daemon.session().post(path, data=body, headers=headers) as response:
                if problem := await channel.daemon.check(response):
                    raise _Rejected(f"{channel.daemon.name}: {problem['detail']}")
                if response.content_type != LINES:
                    raise ServerRefused(f"{channel.daemon.name}: its answer is not understood: {response.content_type}")
                rest = b""
                async for data in response.content.iter_any():
                    *lines, rest = (rest + data).split(b"\n")
                    if lines:
                        self._receive(channel, sent, lines)

    async def _lines(self, channel: _Channel, sent: dict[int, int]) -> AsyncIterator[bytes]:
        """Yield the request's body. It stays open while verdicts are pending: a task may have to be sent again.

        Args:
            channel: Whose tasks are sent.
            sent: The number of each task by its place in the request, as long as it has no verdict.
        """
        channel.unsent = list(channel.held)
        place = 0
        while not self._is_over:
            numbers, channel.unsent = [number for number in channel.unsent if number in channel.held], []
            if numbers:
                sent.update(enumerate(numbers, place))
                place += len(numbers)
                yield b"".join(self._pending[number].line for number in numbers)
            else:
                await channel.changed.wait()
                channel.changed.clear()

    def _receive(self, channel: _Channel, sent: dict[int, int], lines: list[bytes]) -> None:
        """Process verdicts: pass each on, or send its task again. Raises ServerRefused for what is no verdict."""
        channel.waits.reset()
        answered = 0
        try:
            for line in lines:
                number, verdict = _read(channel.daemon, sent, line)
                if number not in channel.held:
                    continue
                del channel.held[number]
                answered += 1
                pending = self._pending[number]
                verdict = replace(verdict, id=pending.id)  # that on a line that was too long has no id
                pending.attempts += verdict.status is Status.INTERNAL_ERROR
                if verdict.retryable and pending.attempts < ATTEMPTS:
                    pending.failed_at = channel.daemon
                    self._waiting.appendleft(number)
                else:
                    del self._pending[number]
                    pending.done(verdict)
        finally:
            channel.daemon.received(answered)
            self._changed.set()

    def _expire(self) -> None:
        """Give up the tasks whose deadline has come, and the requests that they are in."""
        now = asyncio.get_running_loop().time()
        late = []
        for number, pending in self._pending.items():
            if pending.deadline > now:
                break
            late.append(number)
        if not late:
            return
        reason = f"no verdict within {self._deadline_seconds:g} s: {self._daemons.why()}"
        for number in late:
            pending = self._pending.pop(number)
            pending.done(Verdict(pending.id, Status.INTERNAL_ERROR, message=reason, retryable=True))
        gone = {*late}
        self._waiting = deque(number for number in self._waiting if number not in gone)
        for channel in self._channels.values():
            if given_up := gone & channel.held.keys():
                for number in given_up:
                    del channel.held[number]
                channel.daemon.lost(len(given_up))
                if channel.timer is not None and not channel.timer.expired():  # it ends already, and can't twice
                    channel.is_late = True
                    channel.timer.reschedule(now)


class _Rejected(ServerRefused):
    """A daemon refuses what the request asks for, as every other would."""


def _read(daemon: Daemon, sent: dict[int, int], line: bytes) -> tuple[int, Verdict]:
    """Return the number of a task and its verdict. Raises ServerRefused for a line that is none."""
    try:
        fields = parse(line)
        return sent.pop(fields.pop("index")), Verdict.from_dict(fields)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        said = line[:200].decode("utf-8", "replace")
        raise ServerRefused(f"{daemon.name}: its answer is not understood: {said}") from error
