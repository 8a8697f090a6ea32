"""The public entry point of the library: `Verifier`."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from functools import partial
from queue import SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Any, Unpack

import selftaught
from selftaught.sandbox import decision, judging, wire
from selftaught.sandbox.backends import WorkerConfig, WorkerOptions
from selftaught.sandbox.errors import CannotConfine
from selftaught.sandbox.job import Job, Kind
from selftaught.sandbox.judging import PUZZLE_PHASES, Checked, PackedTask
from selftaught.sandbox.outcome import Counters
from selftaught.sandbox.pool import Pool
from selftaught.sandbox.program import Program, Run
from selftaught.sandbox.stream import Cancel, Done, ajudge_many, await_result, cancel_nothing, in_loop, judge_many
from selftaught.sandbox.task import AnyTask, Limits
from selftaught.sandbox.ticket import Ticket
from selftaught.sandbox.validation import check_program, check_repeat, check_task
from selftaught.sandbox.verdict import Verdict

if TYPE_CHECKING:
    from selftaught.sandbox.client.shared import Shared

_WINDOW = 1024
"""The most tasks of a stream that are being judged or queued at a time, for each worker."""


class Verifier:
    """Judges tasks in confined workers.

    It is thread-safe, and usable from asyncio and after a fork of the caller. Use it as a context manager, or call
    `close`, to end the workers; after that its methods raise ValueError.

    Every call is bounded in time, even if each worker fails or hangs at each task. A call for a task that finds ``n``
    others queued takes at most ``(min(n, n / workers + 255) + 1) * 2 * (phases * wall_seconds + 150)`` seconds, with
    the largest product among them. Here 255 are the tasks that its worker may run before it; 2 the attempts at a task;
    `phases` those that may run during an attempt, which are 8 for a puzzle, 10 for tests, 410 for tests with
    `all_cases`, and ``8 * n + 4`` for n cases; and 150 the seconds that it takes at most to start a worker (in four
    attempts), send the task, wait past its limits, and end the worker. With packages it takes 240 more.

    Args:
        workers: How many tasks are judged in parallel. ``None`` is one for each processor that this process may use,
            ``-1`` leaves one of them to the caller.
        limits: Limits for tasks that have none of their own.
        require: The lowest confinement level that is acceptable, ``"full"`` or ``"restricted"``; the best level that
            the host offers is used.
        level: Use exactly this level instead.
        engine: ``"snapshot"``, which is fast, ``"fork"``, which works everywhere, or ``"auto"``, the fastest that the
            host offers (see docs/security.md).
        backend: ``"local"`` for processes of this machine, or ``"docker"`` for containers, whose level is
            ``"container"``.
        image: The containers' image, if not that of this version of selftaught.
        runtime: The containers' OCI runtime, if not the container engine's default.
        require_isolation: ``"process"`` refuses tasks with ``isolation="shared"``, in which a solution can cheat: their
            status is ``invalid``. ``None`` and ``"shared"`` accept all.
        packages: Names of installed distributions that tasks may import, such as ``["numpy", "sympy"]``. They are
            imported before the jail closes, with what they require (see docs/packages.md). ``None`` is those that the
            environment variable `SELFTAUGHT_PACKAGES` names, and without it none.
        site: The folder where these are installed, such as a virtual environment's site-packages; a folder of the
            image with containers. By default it is where the caller imports from.

    Raises:
        CannotConfine: The level can't be reached, or a package is not available.
        ValueError: An argument is invalid, or arguments contradict each other.
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
        require_isolation: str | None = None,
        packages: Sequence[str] | None = None,
        site: str | os.PathLike[str] | None = None,
    ) -> None:
        where = backend, image, runtime
        config = WorkerConfig(require, level, engine, *where, require_isolation, packages, site)
        self._set_up(config, workers, limits)

    @classmethod
    def from_config(cls, config: WorkerConfig, *, workers: int | None = None, limits: Limits | None = None) -> Verifier:
        """Open a verifier from a `WorkerConfig`.

        Args:
            config: Where its workers run, how they are confined, and which tasks they are given.
            workers: See `Verifier`.
            limits: See `Verifier`.

        Raises:
            CannotConfine: The level can't be reached, or a package is not available.
            ValueError: `workers` is 0.
        """
        verifier = cls.__new__(cls)
        verifier._set_up(config, workers, limits)
        return verifier

    def _set_up(self, config: WorkerConfig, workers: int | None, limits: Limits | None) -> None:
        self._config = config
        processors = len(os.sched_getaffinity(0))
        self.workers = processors if workers is None else max(1, processors + workers) if workers < 0 else workers
        if self.workers < 1:
            raise ValueError("workers must not be 0")
        self.limits = limits or Limits()
        self._backend = config.open()
        self._check = partial(check_task, require_isolation=config.require_isolation)
        self._lock = threading.Lock()
        self._closed = False
        self._pool: Pool | None = self._open()
        _verifiers.add(self)

    def _open(self) -> Pool:
        """Open a pool with the best acceptable level. Raises CannotConfine."""
        name = f"selftaught/{selftaught.__version__}"
        reasons = []
        for level in self._config.levels:
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
        idle_seconds: float = 60.0,
        **options: Unpack[WorkerOptions],
    ) -> Shared:
        """Return a client of the daemon that all processes of this user on this machine share.

        The first call with certain arguments starts a daemon; later calls with equal arguments use the same one. The
        client has the methods of a Verifier. Needs ``selftaught[server]``.

        Args:
            workers: See `Verifier`.
            limits: See `Verifier`.
            options: The other arguments of `Verifier`.
            idle_seconds: The daemon ends this long after its last client was closed or died. `Shared.stop` ends it at
                once.

        Raises:
            CannotConfine: The level can't be reached, or a package is not available.
            ValueError: An argument is invalid, or arguments contradict each other.
        """
        from selftaught.sandbox.client.shared import Shared

        config = WorkerConfig(**options)
        return Shared(config, workers=workers, limits=limits or Limits(), idle_seconds=idle_seconds)

    @property
    def level(self) -> str:
        """The confinement level in force."""
        return self._running().level

    @property
    def engine(self) -> str:
        """The engine in use, ``"snapshot"`` or ``"fork"``. What the first can't run it leaves to the second."""
        return self._running().engine

    def verify(self, task: AnyTask) -> Verdict:
        """Judge one task.

        Args:
            task: A solution and what judges it.

        Returns:
            The verdict. A failure of the verifier is a verdict too, with status ``internal_error``.
        """
        finished: SimpleQueue[Verdict] = SimpleQueue()
        self._submit(task, 1, finished.put)
        return finished.get()

    def verify_many(self, tasks: Iterable[AnyTask], ordered: bool = True, repeat: int = 1) -> Iterator[Verdict]:
        """Judge a stream of tasks, in constant memory however long it is.

        Tasks that differ only in their ids are judged once. Leaving the iterator cancels the unfinished tasks.

        Args:
            tasks: Any iterable. Items that are not tasks get the status ``invalid``.
            ordered: Yield verdicts in the order of the tasks, or else as they are reached.
            repeat: Judge every task this many times, with different random seeds; its status is ``unstable`` if the
                verdicts differ.

        Yields:
            A verdict for each task.

        Raises:
            ValueError: `repeat` is invalid.
        """
        check_repeat(repeat)
        check, submit = partial(self._check, verifier=self.name), partial(self._queue, repeat)
        yield from judge_many(tasks, check, submit, _WINDOW * self.workers, ordered)

    def run(self, program: Program) -> Run:
        """Run a program, confined as a solution is. This judges nothing.

        Args:
            program: The source and its standard input.

        Returns:
            What the program did.
        """
        finished: SimpleQueue[Run] = SimpleQueue()
        self._submit_program(program, finished.put)
        return finished.get()

    def submit(
        self, item: AnyTask | Checked | Program, done: Callable[[Any], None], repeat: int = 1
    ) -> Callable[[], None]:
        """Queue a task or a program and return at once.

        Args:
            item: What to judge or to run.
            done: Called once with the Verdict or the Run, from a thread of the verifier or before `submit` returns. It
                must not block or raise.
            repeat: See `verify_many`. Ignored for a program.

        Returns:
            A function that cancels it.

        Raises:
            ValueError: `repeat` is invalid.
        """
        if issubclass(type(item), Program):
            return self._submit_program(item, done)
        return self._submit(item, repeat, done)

    async def averify(self, task: AnyTask) -> Verdict:
        """Judge one task, as `verify` does, from a coroutine. If the coroutine is cancelled, so is the task.

        Args:
            task: A solution and what judges it.

        Returns:
            The verdict.
        """
        verdict: Verdict = await await_result(lambda done: self._submit(task, 1, done))
        return verdict

    async def arun(self, program: Program) -> Run:
        """Run a program, as `run` does, from a coroutine. If the coroutine is cancelled, so is the program.

        Args:
            program: The source and its standard input.

        Returns:
            What the program did.
        """
        run: Run = await await_result(lambda done: self._submit_program(program, done))
        return run

    async def averify_many(
        self, tasks: Iterable[AnyTask] | AsyncIterable[AnyTask], ordered: bool = True, repeat: int = 1
    ) -> AsyncIterator[Verdict]:
        """Judge a stream of tasks, as `verify_many` does, from a coroutine.

        Args:
            tasks: Any iterable, or asynchronous iterable.
            ordered: See `verify_many`.
            repeat: See `verify_many`.

        Yields:
            A verdict for each task.

        Raises:
            ValueError: `repeat` is invalid.
        """
        check_repeat(repeat)
        loop, check = asyncio.get_running_loop(), partial(self._check, verifier=self.name)

        async def submit(task: Checked, done: Done) -> Cancel:
            return self._queue(repeat, task, in_loop(loop, done))

        async with aclosing(ajudge_many(tasks, check, submit, _WINDOW * self.workers, ordered)) as verdicts:
            async for verdict in verdicts:
                yield verdict

    @property
    def required_isolation(self) -> str:
        """``"process"`` if it refuses tasks with ``isolation="shared"``, else ``"shared"``."""
        return self._config.require_isolation or "shared"

    @property
    def name(self) -> str:
        """Program, version and interpreter, as in `Verdict.verifier`."""
        return self._running().name

    @property
    def proof(self) -> list[dict[str, Any]]:
        """Every protection in force, with the evidence of the canary that tested it."""
        return self._running().proof

    @property
    def packages(self) -> dict[str, str]:
        """The packages that tasks may import, with those that these require: version by name."""
        return self._running().packages

    @property
    def queued(self) -> int:
        """The number of tasks that wait for a worker, roughly."""
        return self._running().queued

    @property
    def restarts(self) -> int:
        """How many workers have died or were killed, and were replaced."""
        return self._running().restarts

    @property
    def counters(self) -> Counters:
        """Sums over the snapshot engines. `mismatches` above 0 means that a process was not restored completely."""
        return self._running().counters()

    def worker_pids(self) -> list[int]:
        """Return the process ids of the workers' supervisors."""
        return self._running().worker_pids()

    def close(self) -> None:
        """End every worker. Unfinished tasks get the status ``cancelled``. May be called again."""
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
            if self._pool is None:  # the caller has forked
                self._pool = self._open()
            return self._pool

    def _submit(self, task: object, repeat: int, done: Done) -> Cancel:
        """Validate a task and queue its judgements. `done` is called at once if it is invalid."""
        check_repeat(repeat)
        checked = self._check(task, self.name)
        if not isinstance(checked, Verdict):
            return self._queue(repeat, checked, done)
        done(checked)
        return cancel_nothing

    def _queue(self, repeat: int, task: Checked, done: Done) -> Cancel:
        """Queue the judgements of a validated task."""
        pool = self._pool or self._running()
        limits, phases = task.limits or self.limits, task.phases if isinstance(task, PackedTask) else PUZZLE_PHASES
        if repeat > 1:
            done = _gather(repeat, done)
        cancels = []
        for seed in range(repeat):
            ticket = Ticket(task.id, judging.pack(task, limits, seed), done, phases)
            pool.submit(ticket)
            cancels.append(ticket.cancel)
        return cancels[0] if repeat == 1 else partial(_call_all, cancels)

    def _submit_program(self, program: object, done: Done) -> Cancel:
        """Validate a program and queue it. `done` is called at once if it is invalid."""
        pool = self._running()
        checked = check_program(program, pool.name)
        if isinstance(checked, Run):
            done(checked)
            return cancel_nothing
        code, stdin = wire.to_bytes(checked.code), wire.to_bytes(checked.stdin)
        job = Job(code, stdin, checked.limits or self.limits, kind=Kind.PROGRAM)
        job.files = wire.pack_files(checked.files, checked.fetch)
        ticket = Ticket(checked.id, job, done)
        pool.submit(ticket)
        return ticket.cancel

    def _after_fork(self) -> None:
        """In a forked child: drop the pool. Its threads are gone, and its workers are the parent's."""
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
    """Return a callback that collects the verdicts of all repeats and passes on one for all of them."""
    verdicts: list[Verdict] = []
    lock = threading.Lock()

    def add(verdict: Verdict) -> None:
        with lock:
            verdicts.append(verdict)
            complete = len(verdicts) == repeat
        if complete:
            done(decision.combine(verdicts))

    return add


def _call_all(cancels: list[Cancel]) -> None:
    for cancel in cancels:
        cancel()
