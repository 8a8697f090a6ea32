"""The thread of a driver that sends chunks to nodes and delivers what they return.

Everything that happens reaches it through one queue: a new ticket, a finished chunk, a node's description. Judging has
no side effects, so a chunk whose node is lost goes elsewhere. Nothing is delivered twice: a chunk that is no longer
its node's is forgotten.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

from ray.exceptions import RayError

from selftaught.sandbox.cluster.actor import IN_FLIGHT, Key
from selftaught.sandbox.cluster.chunks import MOST_BYTES, TRIES, Chunk, Ticket
from selftaught.sandbox.cluster.metrics import Metrics
from selftaught.sandbox.cluster.nodes import Node, Nodes
from selftaught.sandbox.verdict import Status

_LOG = logging.getLogger("selftaught")
_LOOK_SECONDS = 1.0
"""How often it looks for nodes that joined or left, for cancelled chunks, and at deadlines."""

NO_NODE_SECONDS = 180.0
"""How long tasks wait while no node is ready: as long as one may take to start."""

Event = Callable[[], None]
OnNode = Callable[[Node, Any], None]


class Dispatcher(threading.Thread):
    """Sends chunks. All its state belongs to its thread; `submit` and `stop` may be called from any."""

    def __init__(self, make_nodes: Callable[[OnNode], Nodes], metrics: Metrics) -> None:
        """Prepare the thread.

        Args:
            make_nodes: Makes the nodes, with what they call when an actor has described itself.
            metrics: Count the results.
        """
        super().__init__(name="selftaught-ray", daemon=True)
        self._events: SimpleQueue[Event | None] = SimpleQueue()
        self._metrics = metrics
        self._no_node_since: float | None = None
        self._failure = ""
        self.nodes = make_nodes(lambda node, about: self._events.put(partial(self._described, node, about)))
        self._waiting: deque[Ticket] = deque()
        self._numbers = itertools.count()
        self._next_look = 0.0
        self.changed = threading.Condition()
        self.lost_chunks = 0

    @property
    def queued(self) -> int:
        """The number of tickets that no node has, roughly."""
        return len(self._waiting)

    def submit(self, ticket: Ticket) -> None:
        """Queue a ticket."""
        self._events.put(partial(self._waiting.append, ticket))

    def stop(self) -> None:
        """Cancel every ticket, end the actors and the thread."""
        self._events.put(None)
        self.join()

    def run(self) -> None:
        """Handle events until `stop`."""
        while True:
            try:
                if not self._turn():
                    self._end(Status.CANCELLED, "the verifier was closed")
                    return
            except Exception as error:  # a bug of ours: nobody waits forever
                _LOG.exception("tasks can't be sent to the cluster any more: please report this")
                self._failure = f"{type(error).__name__}: {error}"
                self._end(Status.INTERNAL_ERROR, self._failure)

    def _turn(self) -> bool:
        """Handle the events that there are, and send chunks. Return False at the end."""
        if time.monotonic() >= self._next_look and not self._failure:
            self._look()
        try:
            event = self._events.get(timeout=max(0.0, self._next_look - time.monotonic()))
            while event is not None:
                event()
                event = self._events.get_nowait()
            return False
        except Empty:
            if self._failure:
                self._next_look = time.monotonic() + _LOOK_SECONDS
                self._give_up(Status.INTERNAL_ERROR, self._failure)
            self._send()
            return True

    def _look(self) -> None:
        """Look after the nodes and their chunks."""
        self._next_look = time.monotonic() + _LOOK_SECONDS
        self._metrics.tell()
        self._look_for_any_node()
        try:
            gone = self.nodes.update()
        except (RayError, ConnectionError, OSError) as error:
            _LOG.warning("the cluster can't be asked for its nodes: %s", error)
            return
        self.nodes.call_on()
        for node in gone:
            self._lose(node, f"node {node.address} has left the cluster")
        for node in self.nodes.all:
            for chunk in [chunk for chunk in node.chunks.values() if chunk.cancelled]:
                node.actor.cancel.remote(self._key(chunk))
            if any(time.monotonic() > chunk.deadline for chunk in node.chunks.values()):
                self.nodes.drop(node)
                self._lose(node, f"node {node.address} did not answer in time")
        with self.changed:
            self.changed.notify_all()

    def _look_for_any_node(self) -> None:
        """Give up what waits if there has been no node for too long: every call ends."""
        now = time.monotonic()
        if self.nodes.ready or not self._waiting:
            self._no_node_since = None
        elif self._no_node_since is None:
            self._no_node_since = now
        elif now - self._no_node_since > NO_NODE_SECONDS:
            self._give_up(Status.INTERNAL_ERROR, f"no node of the cluster was ready for {NO_NODE_SECONDS:.0f} s")

    def _give_up(self, status: Status, reason: str) -> None:
        """End all tickets that wait."""
        while self._waiting:
            ticket = self._waiting.popleft()
            ticket.done(ticket.unjudged(status, reason))

    def _described(self, node: Node, about: Any) -> None:
        self.nodes.described(node, about)
        with self.changed:
            self.changed.notify_all()

    def _send(self) -> None:
        """Send chunks to all nodes that have room, the idlest first."""
        while self._waiting:
            ready = self.nodes.ready
            node = min(ready, key=lambda node: (len(node.chunks), -node.workers), default=None)
            if node is None or len(node.chunks) >= IN_FLIGHT:
                return
            room = sum((IN_FLIGHT - len(other.chunks)) * other.workers for other in ready)
            tickets = self._take(node.pace.tasks(-(-len(self._waiting) * node.workers // room)))
            if not tickets:
                continue
            chunk = Chunk(next(self._numbers), dict(enumerate(tickets)), len(tickets), node.workers)
            node.chunks[chunk.number] = chunk
            items = [(one.item, one.repeat) for one in tickets]
            self._call(node, chunk, partial(node.actor.judge.remote, self._key(chunk), items))

    def _call(self, node: Node, chunk: Chunk, call: Callable[[], Any]) -> None:
        """Call the actor of a node; what it returns for the chunk becomes an event."""
        try:
            reference = call()
        except RayError as error:
            self._events.put(partial(self._returned, node, chunk, error))
            return
        reference.future().add_done_callback(
            lambda future: self._events.put(partial(self._returned, node, chunk, future.exception() or future.result()))
        )

    def _key(self, chunk: Chunk) -> Key:
        return self.nodes.driver, chunk.number

    def _take(self, most: int) -> list[Ticket]:
        """Take the next tickets from the queue. Those that have failed before travel alone."""
        tickets: list[Ticket] = []
        size = 0
        while self._waiting and len(tickets) < most and size < MOST_BYTES:
            if tickets and self._waiting[0].tries:
                break
            ticket = self._waiting.popleft()
            if ticket.cancelled:
                ticket.done(ticket.unjudged(Status.CANCELLED, "the caller cancelled it"))
                continue
            tickets.append(ticket)
            size += ticket.size
            if ticket.tries:
                break
        return tickets

    def _returned(self, node: Node, chunk: Chunk, results: Any) -> None:
        """Deliver results of a chunk, and ask for more; or have what is left of it judged elsewhere."""
        if chunk.number not in node.chunks:
            return  # it was given up, and its tickets are elsewhere
        if isinstance(results, BaseException):
            del node.chunks[chunk.number]
            self._again(chunk, f"node {node.address}: {type(results).__name__}: {str(results).strip()[:300]}")
            if isinstance(results, RayError) and node.ready:
                self.nodes.describe(node)  # its actor is being restarted
            return
        for place, result in results:
            self._metrics.count(node, result)
            chunk.tickets.pop(place).done(result)
        if chunk.tickets:
            self._call(node, chunk, partial(node.actor.collect.remote, self._key(chunk)))
        else:
            del node.chunks[chunk.number]
            node.pace.chunk_ended(time.monotonic() - chunk.sent, chunk.size)

    def _lose(self, node: Node, reason: str) -> None:
        """Have all chunks of a node judged elsewhere."""
        for chunk in list(node.chunks.values()):
            node.chunks.pop(chunk.number)
            self._again(chunk, reason)

    def _again(self, chunk: Chunk, reason: str) -> None:
        self.lost_chunks += 1
        _LOG.warning("a chunk of %s tasks is judged again: %s", len(chunk.tickets), reason)
        for ticket in reversed(chunk.tickets.values()):
            ticket.tries += 1
            if ticket.tries < TRIES:
                self._waiting.appendleft(ticket)
            else:
                ticket.done(ticket.unjudged(Status.INTERNAL_ERROR, f"{TRIES} times: {reason}"))

    def _end(self, status: Status, reason: str) -> None:
        """Give up every ticket, and leave the nodes."""
        for node in self.nodes.all:
            for chunk in node.chunks.values():
                self._waiting.extend(chunk.tickets.values())
            node.chunks.clear()
        self._give_up(status, reason)
        self._metrics.tell()
        self.nodes.leave()
