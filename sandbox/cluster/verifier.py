"""`RayVerifier`: the methods of `Verifier`, judged on all nodes of a Ray cluster."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from contextlib import aclosing
from functools import partial
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Unpack

import ray

from selftaught.sandbox.backends import WorkerConfig, WorkerOptions
from selftaught.sandbox.cluster.chunks import Ticket
from selftaught.sandbox.cluster.dispatcher import Dispatcher
from selftaught.sandbox.cluster.metrics import Metrics
from selftaught.sandbox.cluster.nodes import Node, Nodes, cluster_nodes
from selftaught.sandbox.errors import CannotConfine
from selftaught.sandbox.judging import Checked
from selftaught.sandbox.outcome import Counters
from selftaught.sandbox.program import Program, Run
from selftaught.sandbox.stream import Cancel, Done, ajudge_many, await_result, cancel_nothing, in_loop, judge_many
from selftaught.sandbox.task import AnyTask, Limits
from selftaught.sandbox.validation import check_program, check_repeat, check_task
from selftaught.sandbox.verdict import Verdict

_WINDOW = 1024
"""The most tasks of a stream that are being judged or queued at a time, for each worker."""
START_SECONDS = 180.0
"""How long the first nodes may take to be ready."""


class RayVerifier:
    """Judges tasks on all nodes of a Ray cluster, which need selftaught as the driver has it.

    Each node has one actor with a `Verifier`. Nodes that join are used; tasks of nodes that leave are judged elsewhere,
    on up to three nodes, and then get the status ``internal_error``, `retryable`. Thread-safe, and usable from asyncio,
    but not after a fork. Use it as a context manager, or call `close`.

    Args:
        address: The cluster, as `ray.init` takes it: ``"auto"``, ``HOST:PORT``, ``ray://HOST:PORT``. ``None`` starts
            one on this machine if there is none. Ignored if the program has called `ray.init` before.
        workers: How many tasks each node judges in parallel. ``None`` is one for each of its processors.
        min_nodes: How many nodes must be ready before it is; an autoscaler is asked for as many.
        max_nodes: How many nodes are used at most.
        config: All `options` as one value.
        limits: See `Verifier`.
        options: `require`, `level`, `engine`, `backend`, `image`, `runtime`, `require_isolation`, `packages` and
            `site`: see `Verifier`, on each node.

    Attributes:
        limits: Limits for tasks that have none of their own.

    Raises:
        CannotConfine: Too few nodes reach the level in time; the message names each that does not, with its reason.
        ConnectionError: There is no such cluster.
        ValueError: An argument is invalid, or arguments contradict each other.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        workers: int | None = None,
        min_nodes: int = 1,
        max_nodes: int | None = None,
        config: WorkerConfig | None = None,
        limits: Limits | None = None,
        **options: Unpack[WorkerOptions],
    ) -> None:
        if (workers is not None and workers < 1) or min_nodes < 1 or (max_nodes is not None and max_nodes < min_nodes):
            raise ValueError("workers and min_nodes must be at least 1, and max_nodes at least min_nodes")
        if config and options:
            raise ValueError(f"give config, or {', '.join(options)}, not both")
        self._config = config or WorkerConfig(**options)
        self.limits = limits or Limits()
        self._owns_ray = not ray.is_initialized()
        if self._owns_ray:
            ray.init(address=address, log_to_driver=False, logging_level=30)
        self._check = partial(check_task, require_isolation=self._config.require_isolation)
        self._closed = self._has_asked = False

        def make(on_described: Callable[[Node, Any], None]) -> Nodes:
            return Nodes(self._config, workers, self.limits, max_nodes, on_described)

        self._dispatcher = Dispatcher(make, Metrics())
        self._dispatcher.start()
        try:
            if min_nodes > 1:
                self._has_asked = True
                _ask_autoscaler(min_nodes, workers or 1)
            self._await_nodes(min_nodes)
        except BaseException:
            self.close()
            raise

    def _await_nodes(self, count: int) -> None:
        nodes, deadline = self._dispatcher.nodes, time.monotonic() + START_SECONDS
        with self._dispatcher.changed:
            while len(nodes.ready) < count:
                alive = sum(bool(entry["Alive"] and entry["Resources"].get("CPU")) for entry in cluster_nodes())
                left = deadline - time.monotonic()
                if left <= 0 or (nodes.refused and alive - len(nodes.refused) < count):
                    reasons = "; ".join(f"node {reason}" for reason in nodes.refused.values())
                    raise CannotConfine(
                        f"{len(nodes.ready)} of {count} nodes are ready to judge"
                        + (f": {reasons}" if reasons else f" after {START_SECONDS:.0f} s")
                    )
                self._dispatcher.changed.wait(min(left, 1.0))

    @property
    def nodes(self) -> dict[str, str]:
        """The nodes that judge, by Ray's ids: what each reaches."""
        return {node.id: f"{node.address}: {node.about['level']}" for node in self._dispatcher.nodes.ready}

    @property
    def refused(self) -> dict[str, str]:
        """Why nodes get no work, after their addresses, by Ray's ids."""
        return dict(self._dispatcher.nodes.refused)

    @property
    def workers(self) -> int:
        """How many tasks are judged in parallel, on all nodes together."""
        return sum(node.workers for node in self._dispatcher.nodes.ready)

    @property
    def level(self) -> str:
        """The lowest confinement level among the nodes."""
        return str(self._weakest["level"])

    @property
    def engine(self) -> str:
        """The engine of the node with the lowest level."""
        return str(self._weakest["engine"])

    @property
    def name(self) -> str:
        """Program, version and interpreter of the node with the lowest level."""
        return str(self._weakest["name"])

    @property
    def proof(self) -> list[dict[str, Any]]:
        """The protections in force on the node with the lowest level; see `Verifier.proof`."""
        return list(self._weakest["proof"])

    @property
    def packages(self) -> dict[str, str]:
        """The packages that tasks may import on every node: version by name."""
        found = [node.about["packages"].items() for node in self._dispatcher.nodes.ready]
        return dict(set.intersection(*map(set, found))) if found else {}

    @property
    def required_isolation(self) -> str:
        """See `Verifier.required_isolation`."""
        return self._config.require_isolation or "shared"

    @property
    def queued(self) -> int:
        """The number of tasks that no node has, roughly."""
        return self._dispatcher.queued

    @property
    def lost_chunks(self) -> int:
        """How many chunks of tasks were judged again, since their node was lost or failed."""
        return self._dispatcher.lost_chunks

    @property
    def restarts(self) -> int:
        """How many workers were replaced, on nodes that are there now."""
        return sum(count.get("restarts", 0) for count in self._counts())

    @property
    def counters(self) -> Counters:
        """See `Verifier.counters`: the sums over nodes that are there now."""
        names = ("given_up", "replaced", "checked", "mismatches")
        found = self._counts()
        return Counters(*(sum(count.get(name, 0) for count in found) for name in names))

    def verify(self, task: AnyTask) -> Verdict:
        """See `Verifier.verify`."""
        finished: SimpleQueue[Verdict] = SimpleQueue()
        self.submit(task, finished.put)
        return finished.get()

    def run(self, program: Program) -> Run:
        """See `Verifier.run`."""
        finished: SimpleQueue[Run] = SimpleQueue()
        self.submit(program, finished.put)
        return finished.get()

    def verify_many(self, tasks: Iterable[AnyTask], ordered: bool = True, repeat: int = 1) -> Iterator[Verdict]:
        """See `Verifier.verify_many`."""
        check_repeat(repeat)
        submit = partial(self._queue, repeat)
        yield from judge_many(tasks, self._check, submit, self._window, ordered)

    async def averify(self, task: AnyTask) -> Verdict:
        """See `Verifier.averify`."""
        verdict: Verdict = await await_result(lambda done: self.submit(task, done))
        return verdict

    async def arun(self, program: Program) -> Run:
        """See `Verifier.arun`."""
        run: Run = await await_result(lambda done: self.submit(program, done))
        return run

    async def averify_many(
        self, tasks: Iterable[AnyTask] | AsyncIterable[AnyTask], ordered: bool = True, repeat: int = 1
    ) -> AsyncIterator[Verdict]:
        """See `Verifier.averify_many`."""
        check_repeat(repeat)
        loop = asyncio.get_running_loop()

        async def submit(task: Checked, done: Done) -> Cancel:
            return self._queue(repeat, task, in_loop(loop, done))

        async with aclosing(ajudge_many(tasks, self._check, submit, self._window, ordered)) as verdicts:
            async for verdict in verdicts:
                yield verdict

    def submit(
        self, item: AnyTask | Checked | Program, done: Callable[[Any], None], repeat: int = 1
    ) -> Callable[[], None]:
        """See `Verifier.submit`."""
        check_repeat(repeat)
        checked = check_program(item) if isinstance(item, Program) else self._check(item)
        if isinstance(checked, Verdict | Run):
            done(checked)
            return cancel_nothing
        return self._queue(repeat, checked, done)

    def close(self) -> None:
        """End the actors. Unfinished tasks get the status ``cancelled``. May be called again."""
        if self._closed:
            return
        self._closed = True
        self._dispatcher.stop()
        if self._has_asked and ray.is_initialized():
            _ask_autoscaler(0, 1)  # what was asked for stays until it is withdrawn, and the nodes with it
        if self._owns_ray:
            ray.shutdown()

    def __enter__(self) -> RayVerifier:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _window(self) -> int:
        return _WINDOW * max(1, self.workers)

    @property
    def _weakest(self) -> dict[str, Any]:
        self._check_open()
        node = self._dispatcher.nodes.weakest
        if node is None:
            raise CannotConfine("no node of the cluster judges at the moment")
        return node.about

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError("the verifier is closed")

    def _queue(self, repeat: int, item: Checked | Program, done: Done) -> Cancel:
        self._check_open()
        ticket = Ticket(item, repeat, done, item.limits or self.limits)
        self._dispatcher.submit(ticket)

        def cancel() -> None:
            ticket.cancelled = True

        return cancel

    def _counts(self) -> list[dict[str, int]]:
        self._check_open()
        found: list[dict[str, int]] = ray.get([node.actor.counts.remote() for node in self._dispatcher.nodes.ready])
        return found


def _ask_autoscaler(nodes: int, processors: int) -> None:
    """Ask for so many nodes, instead of what was asked for before."""
    from ray.autoscaler.sdk import request_resources

    request_resources(bundles=[{"CPU": processors}] * nodes)
