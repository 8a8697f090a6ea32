"""The nodes of a cluster: an actor for each that can judge.

Nodes that join get an actor, and nodes that leave lose theirs. A node whose verifier does not reach the required level,
or that has another version of selftaught, gets no work and is named.
"""

from __future__ import annotations

import hashlib
import json
import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import selftaught
from selftaught.sandbox.backends import STRONGEST_FIRST, WorkerConfig
from selftaught.sandbox.cluster.actor import FORGOTTEN_SECONDS, THREADS, NodeVerifier
from selftaught.sandbox.cluster.chunks import Chunk, Pace
from selftaught.sandbox.task import Limits

_LOG = logging.getLogger("selftaught")
_LEAVE_SECONDS = 5.0


@dataclass(eq=False)
class Node:
    """A node of the cluster.

    Attributes:
        id: Ray's id of it.
        address: Its address, for people.
        actor: The handle of its actor.
        workers: How many tasks it judges at a time.
        about: What `NodeVerifier.describe` returned; empty until then.
        chunks: The chunks that it has.
        pace: How long tasks take there.
    """

    id: str
    address: str
    actor: Any
    workers: int
    about: dict[str, Any] = field(default_factory=dict)
    chunks: dict[int, Chunk] = field(default_factory=dict)
    pace: Pace = field(default_factory=Pace)

    @property
    def ready(self) -> bool:
        """True if it can be sent chunks."""
        return bool(self.about)


def cluster_nodes() -> list[dict[str, Any]]:
    """Return what Ray knows of the cluster's nodes. Raises ConnectionError, or RayError."""
    found: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return found


class Nodes:
    """The nodes that judge, or may.

    Attributes:
        driver: What identifies this driver.
        refused: Why nodes get no work, after their addresses, by Ray's ids.
    """

    def __init__(
        self,
        config: WorkerConfig,
        workers: int | None,
        limits: Limits | None,
        most: int | None,
        on_described: Callable[[Node, Any], None],
    ) -> None:
        """Prepare; `update` looks for nodes.

        Args:
            config: See `Verifier.from_config`.
            workers: Workers of each node; ``None`` is one for each of its processors.
            limits: See `Verifier`.
            most: The most nodes that get an actor.
            on_described: Called in a thread of Ray's with a node and what describes it, or the error.
        """
        self._config, self._workers, self._limits, self._most = config, workers, limits, most
        self._on_described = on_described
        self.driver = uuid.uuid4().hex
        settings: list[Any] = [selftaught.__version__, workers, config.to_dict(), config.packages, config.site]
        settings.append(limits.to_tuple() if limits else None)
        self._settings = hashlib.sha256(json.dumps(settings, default=str).encode()).hexdigest()[:16]
        self._nodes: dict[str, Node] = {}
        self.refused: dict[str, str] = {}

    @property
    def ready(self) -> list[Node]:
        """The nodes that can be sent chunks."""
        return [node for node in self._nodes.values() if node.ready]

    @property
    def all(self) -> list[Node]:
        """The nodes that have an actor."""
        return list(self._nodes.values())

    @property
    def weakest(self) -> Node | None:
        """The node with the lowest level."""
        return max(self.ready, key=lambda node: STRONGEST_FIRST.index(node.about["level"]), default=None)

    def update(self) -> list[Node]:
        """Give new nodes an actor. Return the nodes that have left."""
        alive = {entry["NodeID"]: entry for entry in cluster_nodes() if entry["Alive"]}
        gone = [node for ident, node in self._nodes.items() if ident not in alive]
        for node in gone:
            self.drop(node)
        for ident, entry in alive.items():
            if ident not in self._nodes and ident not in self.refused and len(self._nodes) < (self._most or 1 << 30):
                self._start(ident, entry)
        return gone

    def _start(self, ident: str, entry: dict[str, Any]) -> None:
        processors = int(entry["Resources"].get("CPU", 0))
        workers = self._workers or processors
        if not processors:
            return  # such as a head node that is to run nothing
        actor = (
            ray.remote(NodeVerifier)
            .options(
                name=f"selftaught-{ident}-{self._settings}",
                namespace="selftaught",
                get_if_exists=True,  # drivers with the same settings share it
                lifetime="detached",
                num_cpus=min(workers, processors),
                max_concurrency=THREADS,
                max_restarts=-1,
                scheduling_strategy=NodeAffinitySchedulingStrategy(ident, soft=True),
            )
            .remote(self._config, workers, self._limits, FORGOTTEN_SECONDS)
        )
        node = self._nodes[ident] = Node(ident, entry["NodeManagerAddress"], actor, workers)
        self.describe(node)

    def describe(self, node: Node) -> None:
        """Ask an actor what it reaches: it is sent no chunks before it has answered."""
        node.about = {}
        node.actor.describe.remote(self.driver).future().add_done_callback(
            lambda future: self._on_described(node, future.exception() or future.result())
        )

    def described(self, node: Node, about: Any) -> None:
        """Take a node into use, or say why it gets no work."""
        if self._nodes.get(node.id) is not node:
            return
        if isinstance(about, RayError):
            _LOG.warning("node %s: its actor does not answer, and is started again: %s", node.address, about)
            self.drop(node)
            return
        problem = str(about) if isinstance(about, BaseException) else about["problem"]
        if not problem and about["version"] != selftaught.__version__:
            problem = f"it has selftaught {about['version']}, and the driver {selftaught.__version__}"
        if problem:
            self.refused[node.id] = f"{node.address}: {problem}"
            _LOG.warning("a node gets no work: %s", self.refused[node.id])
            self.drop(node)
        else:
            node.about = about

    def drop(self, node: Node) -> None:
        """Forget a node, and end its actor, whoever uses it. If the node lives, `update` starts another."""
        self._nodes.pop(node.id, None)
        ray.kill(node.actor, no_restart=True)

    def leave(self) -> None:
        """Leave all actors. Those that no other driver uses end."""
        nodes, self._nodes = self.all, {}
        left = [(node, node.actor.leave.remote(self.driver)) for node in nodes]
        for node, is_last in left:
            try:
                if ray.get(is_last, timeout=_LEAVE_SECONDS):
                    ray.kill(node.actor, no_restart=True)
            except RayError as error:  # it has ended, or does not answer: then it ends when it has heard of nobody
                _LOG.info("node %s: %s", node.address, error)

    def call_on(self) -> None:
        """Let all actors know that this driver lives."""
        for node in self.ready:
            node.actor.hear.remote(self.driver)
