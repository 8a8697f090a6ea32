"""The library's door."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from contextlib import aclosing
from functools import partial
from queue import SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Any

import selftaught
from selftaught.sandbox import judge, wire
from selftaught.sandbox.backends import Placement
from selftaught.sandbox.errors import CannotConfine
from selftaught.sandbox.pool import Pool, Ticket
from selftaught.sandbox.program import Program, Run
from selftaught.sandbox.stream import Cancel, Done, ajudge_many, in_loop, judge_many, nothing
from selftaught.sandbox.task import Limits, Task
from selftaught.sandbox.validation import check_program, check_repeat, check_task
from selftaught.sandbox.verdict import Verdict

if TYPE_CHECKING:
    from selftaught.sandbox.client.shared import Shared

_WINDOW = 256
"""Tasks under way in a stream, for each worker."""


class Verifier:
    """Judges tasks in confined workers. Thread-safe, and usable from asyncio and after a fork of the caller.

    workers: how many run side by side; ``None`` is one for each processor this process may use, ``-1`` leaves one of them to the caller.
    limits: for tasks that bring none of their own. require: the confinement level that must be reached, ``"full"`` or
    ``"restricted"``; the best that the host gives is used. level: exactly this level instead. engine: ``"snapshot"``, which is fast,
    ``"fork"``, which works everywhere, or ``"auto"``, the fastest that the host gives (see DESIGN.md).
    backend: ``"local"`` for processes of this machine, or ``"docker"`` for containers, whose level is ``"container"``; then `image` and
    `runtime` name what they are made of, if not our image of this version and the engine's own runtime.

    Raises CannotConfine if the level can't be reached, ValueError for arguments that make no sense.

    Every call is bounded in time, even if each worker fails, or hangs, at each task: one for a task that finds ``n`` others
    waiting takes at most ``(min(n, n / workers + 255) + 1) * 2 * (8 * wall_seconds + 150)`` seconds, with the largest ``wall_seconds``
    among them. Here 2 are the attempts at a task, 8 its phases and one of a neighbour's, each on one engine or both, and the puzzle alone, 255 the
    tasks that may lie ahead of it at its worker, and 150 the seconds that starting (four times, if it is refused), handing over, overrunning and ending a worker take at most.
    """

    def __init__(
        self,
        *,
        workers: int | None = None,
        limits: Limits | None = None,
        require: str | None = None,
        level: str | None = None,
        engine: str = "auto",
        backend: str = "local",
        image: str | None = None,
        runtime: str | None = None,
    ) -> None:
        self._begin(Placement(require, level, engine, backend, image, runtime), workers, limits)

    @classmethod
    def at(cls, placement: Placement, *, workers: int | None = None, limits: Limits | None = None) -> Verifier:
        """A verifier that is told by one value where code runs."""
        verifier = cls.__new__(cls)
        verifier._begin(placement, workers, limits)
        return verifier

    def _begin(self, placement: Placement, workers: int | None, limits: Limits | None) -> None:
        self._placement = placement
        processors = len(os.sched_getaffinity(0))
        self.workers = processors if workers is None else max(1, processors + workers) if workers < 0 else workers
        if self.workers < 1:
            raise ValueError("workers must not be 0")
        self.limits = limits or Limits()
        self._backend = placement.open()
        self._lock = threading.Lock()
        self._closed = False
        self._pool: Pool | None = self._open()
        _verifiers.add(self)

    def _open(self) -> Pool:
        """A pool of the best level allowed."""
        name = f"selftaught/{selftaught.__version__}"
        reasons = []
        for level in self._placement.levels:
            try:
                return Pool(self._backend, self.workers, self.limits, level, name)
            except CannotConfine as error:
                reasons.append(f"{level}: {error}")
        raise CannotConfine("; ".join(reasons))

    @staticmethod
    def shared(
        *,
        workers: int | None = None,
        limits: Limits | None = None,
        require: str | None = None,
        level: str | None = None,
        engine: str = "auto",
        backend: str = "local",
        image: str | None = None,
        runtime: str | None = None,
        idle_seconds: float = 60.0,
    ) -> Shared:
        """A client of the one daemon that all processes of this user on this machine share, for equal arguments.

        The arguments are those of a Verifier; who brings others gets another daemon. The first caller starts it. It ends `idle_seconds`
        after its last client has been closed or has died, or by `Shared.stop`. A client has the methods of a Verifier.
        Needs ``selftaught[server]``. Raises CannotConfine if the level can't be reached, ValueError for arguments that make no sense.
        """
        from selftaught.sandbox.client.shared import Shared

        placement = Placement(require, level, engine, backend, image, runtime)
        return Shared(placement, workers=workers, limits=limits or Limits(), idle_seconds=idle_seconds)

    @property
    def level(self) -> str:
        """The confinement level in force."""
        return self._running().level

    @property
    def engine(self) -> str:
        """The engine in force, ``"snapshot"`` or ``"fork"``. Programs that are run, not judged, always run on ``"fork"``."""
        return self._running().engine

    def verify(self, task: Task) -> Verdict:
        """Judge one task and wait for the verdict."""
        finished: SimpleQueue[Verdict] = SimpleQueue()
        self._submit(task, 1, finished.put)
        return finished.get()

    def verify_many(self, tasks: Iterable[Task], ordered: bool = True, repeat: int = 1) -> Iterator[Verdict]:
        """Judge a stream of tasks, in constant memory however long it is.

        ordered: verdicts in the order of the tasks, or else as they come. repeat: judge every task this many times, with
        other random seeds, and say ``unstable`` where the verdicts differ. What is no task gets the status ``invalid``. Tasks that
        are the same but for their ids are judged once. Leaving the iterator cancels what has not been judged.
        """
        check_repeat(repeat)
        check, submit = partial(check_task, verifier=self.name), partial(self._queue, repeat, True)
        yield from judge_many(tasks, check, submit, _WINDOW * self.workers, ordered)

    def run(self, program: Program) -> Run:
        """Run a program, confined as a solution is, and say what it did: this judges nothing."""
        finished: SimpleQueue[Run] = SimpleQueue()
        self._submit_program(program, finished.put)
        return finished.get()

    def submit(self, item: Task | Program, done: Callable[[Any], None], repeat: int = 1) -> Callable[[], None]:
        """Queue a task or a program and return at once; calling what is returned cancels it.

        done: gets the Verdict or the Run, once, from a thread of the verifier or at once; it must not block or raise.
        """
        if issubclass(type(item), Program):
            return self._submit_program(item, done)
        return self._submit(item, repeat, done)

    async def averify(self, task: Task) -> Verdict:
        """`verify` for coroutines; a task whose coroutine is cancelled is not run to its end."""
        verdict: Verdict = await _settled(lambda done: self._submit(task, 1, done))
        return verdict

    async def arun(self, program: Program) -> Run:
        """`run` for coroutines; a program whose coroutine is cancelled is not run to its end."""
        run: Run = await _settled(lambda done: self._submit_program(program, done))
        return run

    async def averify_many(
        self, tasks: Iterable[Task] | AsyncIterable[Task], ordered: bool = True, repeat: int = 1
    ) -> AsyncIterator[Verdict]:
        """`verify_many` for coroutines; the tasks may come from an asynchronous iterable."""
        check_repeat(repeat)
        loop, check = asyncio.get_running_loop(), partial(check_task, verifier=self.name)

        async def submit(task: Task, done: Done) -> Cancel:
            return self._queue(repeat, True, task, in_loop(loop, done))

        async with aclosing(ajudge_many(tasks, check, submit, _WINDOW * self.workers, ordered)) as verdicts:
            async for verdict in verdicts:
                yield verdict

    @property
    def name(self) -> str:
        """Program, version and interpreter, as verdicts name them."""
        return self._running().name

    @property
    def proof(self) -> list[dict[str, Any]]:
        """Every protection in force, with the evidence of the canary that was run for it."""
        return self._running().proof

    @property
    def queued(self) -> int:
        """About how many tasks wait for a worker."""
        return self._running().queued

    @property
    def restarts(self) -> int:
        """How many workers have died or been given up, and were replaced."""
        return self._running().restarts

    @property
    def counters(self) -> wire.Counters:
        """What the snapshot engines have done; `mismatches` is to be 0 for ever (see `selftaught.sandbox.worker.snapshot.engine`)."""
        return self._running().counters()

    def worker_pids(self) -> list[int]:
        """The process ids of the workers' supervisors."""
        return self._running().worker_pids()

    def close(self) -> None:
        """End every worker; tasks that wait get the status ``cancelled``. May be called again."""
        with self._lock:
            pool, self._pool, self._closed = self._pool, None, True
        if pool is not None:
            pool.close()

    def __enter__(self) -> Verifier:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _running(self) -> Pool:
        with self._lock:
            if self._closed:
                raise ValueError("the verifier is closed")
            if self._pool is None:  # after a fork of the caller
                self._pool = self._open()
            return self._pool

    def _submit(self, task: object, repeat: int, done: Done) -> Cancel:
        """Queue a task's judgements; `done` gets the verdict, at once if it is no task."""
        check_repeat(repeat)
        checked = check_task(task, self.name)
        if isinstance(checked, Task):
            return self._queue(repeat, False, checked, done)
        done(checked)
        return nothing

    def _queue(self, repeat: int, stream: bool, task: Task, done: Done) -> Cancel:
        """Queue the judgements of a task that has been checked. In a stream, others are waiting."""
        pool = self._pool or self._running()
        sat, sol = wire.to_bytes(task.sat), wire.to_bytes(task.sol)
        limits = task.limits or self.limits
        if repeat > 1:
            done = _gather(repeat, done)
        cancels = []
        for seed in range(repeat):
            ticket = Ticket(task.id, wire.Job(sat, sol, limits, seed), done)
            if stream:
                ticket.slice_time()
            pool.submit(ticket)
            cancels.append(ticket.cancel)
        return cancels[0] if repeat == 1 else partial(_call_all, cancels)

    def _submit_program(self, program: object, done: Done) -> Cancel:
        """Queue a program; `done` gets the run, at once if it is no program."""
        pool = self._running()
        checked = check_program(program, pool.name)
        if isinstance(checked, Run):
            done(checked)
            return nothing
        code, stdin = wire.to_bytes(checked.code), wire.to_bytes(checked.stdin)
        ticket = Ticket(checked.id, wire.Job(code, stdin, checked.limits or self.limits, program=True), done)
        pool.submit(ticket)
        return ticket.cancel

    def _after_fork(self) -> None:
        """In the child: the threads are gone and the workers are the parent's; start anew when first used."""
        self._lock = threading.Lock()
        if self._pool is not None:
            self._pool.abandon()
            self._pool = None


_verifiers: weakref.WeakSet[Verifier] = weakref.WeakSet()


def _reset_after_fork() -> None:
    for verifier in list(_verifiers):
        verifier._after_fork()


os.register_at_fork(after_in_child=_reset_after_fork)


def _gather(repeat: int, done: Callable[[Verdict], None]) -> Callable[[Verdict], None]:
    """Collect the verdicts of all repeats, then pass on the one that they make."""
    verdicts: list[Verdict] = []
    lock = threading.Lock()

    def add(verdict: Verdict) -> None:
        with lock:
            verdicts.append(verdict)
            complete = len(verdicts) == repeat
        if complete:
            done(judge.combine(verdicts))

    return add


def _call_all(cancels: list[Cancel]) -> None:
    for cancel in cancels:
        cancel()


async def _settled(submit: Callable[[Done], Cancel]) -> Any:
    """What `submit`'s callback gets; if the coroutine is cancelled, so is what was submitted."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def settle(value: Any) -> None:
        if not future.done():
            future.set_result(value)

    cancel = submit(in_loop(loop, settle))
    try:
        return await future
    finally:
        cancel()
