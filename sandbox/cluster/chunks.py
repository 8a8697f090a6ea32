"""Chunks: how many tasks travel together, and what becomes of them if their node is lost.

One call for each task would cost Ray more than judging it. A chunk has about `TARGET_SECONDS` of work for its node, by
what the last chunks took there, and no more than the node's share of what waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from selftaught.sandbox.judging import PUZZLE_PHASES, Checked, PackedTask
from selftaught.sandbox.program import Ending, Program, Run
from selftaught.sandbox.task import Limits, Task
from selftaught.sandbox.verdict import Status, Verdict

TARGET_SECONDS = 0.2
MOST_TASKS, MOST_BYTES = 512, 8 << 20
"""Bounds of a chunk."""
TRIES = 3
"""On how many nodes a task may be tried that were lost, or failed, while they had it."""
OVERHEAD_SECONDS = 300.0
"""How long a chunk may take beyond what the limits of its tasks allow: a node may have to start its workers again."""
_FIRST_SECONDS = 0.01
"""What a task is expected to take on a node that has judged none."""


@dataclass(slots=True, eq=False)
class Ticket:
    """A task or program, and the callback that receives its result.

    Attributes:
        item: What is judged or run.
        repeat: How often.
        done: Called once with the Verdict or the Run.
        limits: Its limits, or the verifier's.
        tries: How many nodes have failed on it.
        cancelled: Its result is no longer needed.
    """

    item: Checked | Program
    repeat: int
    done: Callable[[Any], None]
    limits: Limits
    tries: int = 0
    cancelled: bool = False

    @property
    def most_seconds(self) -> float:
        """How long judging it may take in elapsed time, with a second attempt."""
        phases = self.item.phases if isinstance(self.item, PackedTask) else PUZZLE_PHASES
        return 2 * (2 * phases + 4) * self.limits.wall_seconds * self.repeat

    @property
    def size(self) -> int:
        """Size of its sources in bytes, roughly."""
        item = self.item
        if isinstance(item, Task):
            return len(item.sat) + len(item.sol)
        return len(item.code) + len(item.stdin) if isinstance(item, Program) else len(item.judge) + len(item.sol)

    def unjudged(self, status: Status, message: str) -> Verdict | Run:
        """Return a verdict, or for a program a run, that says why there is no result."""
        if isinstance(self.item, Program):
            return Run(self.item.id, Ending(status), message=message, retryable=True)
        return Verdict(self.item.id, status, message=message, retryable=True)


@dataclass(slots=True, eq=False)
class Chunk:
    """Tickets that were sent to a node together.

    Attributes:
        number: Identifies it.
        tickets: Those whose results have not come, by their place in the chunk.
        size: How many there were.
        workers: How many of them the node judges at a time.
        sent: When it was sent (`time.monotonic`).
    """

    number: int
    tickets: dict[int, Ticket]
    size: int
    workers: int
    sent: float = field(default_factory=time.monotonic)

    @property
    def deadline(self) -> float:
        """When it is given up: the limits of its tasks have no relation to how long it takes."""
        total, longest = 0.0, 0.0
        for ticket in self.tickets.values():
            total, longest = total + ticket.most_seconds, max(longest, ticket.most_seconds)
        return self.sent + total / self.workers + longest + OVERHEAD_SECONDS

    @property
    def cancelled(self) -> bool:
        """True if none of its results is needed any more."""
        return all(ticket.cancelled for ticket in self.tickets.values())


class Pace:
    """How long tasks take on a node.

    Attributes:
        seconds: Elapsed time for a task, with the node's workers working at once: a moving average.
    """

    def __init__(self) -> None:
        self.seconds = _FIRST_SECONDS

    def chunk_ended(self, seconds: float, tasks: int) -> None:
        """Adapt to a chunk that took so long."""
        self.seconds += (seconds / tasks - self.seconds) / 4

    def tasks(self, share: int) -> int:
        """Return how many tasks to send, of a share of those that wait."""
        return max(1, min(MOST_TASKS, share, round(TARGET_SECONDS / self.seconds)))
