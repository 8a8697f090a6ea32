"""The actor of a node: a `Verifier` that judges chunks of tasks."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

import selftaught
from selftaught.sandbox.backends import WorkerConfig
from selftaught.sandbox.errors import CannotConfine
from selftaught.sandbox.judging import Checked
from selftaught.sandbox.program import Program, Run
from selftaught.sandbox.task import Limits
from selftaught.sandbox.verdict import Verdict
from selftaught.sandbox.verifier import Verifier

IN_FLIGHT = 2
"""The most chunks that an actor is sent at a time: while it judges one, the next is on its way."""
THREADS = IN_FLIGHT + 2
"""Its threads: those of its chunks, one to cancel them, one to describe it."""

Item = tuple[Checked | Program, int]
"""A validated task or program, and how often it is judged."""
Numbered = tuple[int, Verdict | Run]
"""A result, after its place in the chunk."""
COLLECT_SECONDS, ALIVE_SECONDS = 0.1, 5.0
"""How long results are collected before they are returned, and how long a call waits for the first."""


class NodeVerifier:
    """Judges chunks of tasks in the workers of its node. A driver makes it an actor with `THREADS` threads."""

    def __init__(self, config: WorkerConfig, workers: int, limits: Limits | None) -> None:
        """Open the verifier; see `Verifier.from_config` for the arguments. `describe` says what came of it."""
        self._verifier: Verifier | None = None
        self._lock = threading.Lock()
        self._running: dict[int, _Running] = {}
        self._problem = ""
        try:
            self._verifier = Verifier.from_config(config, workers=workers, limits=limits)
        except (CannotConfine, ValueError) as error:
            self._problem = str(error)

    def describe(self) -> dict[str, Any]:
        """Return what the verifier reaches on this node, or as ``problem`` why it can't be opened."""
        verifier = self._verifier
        if verifier is None:
            return {"version": selftaught.__version__, "problem": self._problem}
        return {
            "version": selftaught.__version__,
            "problem": "",
            "name": verifier.name,
            "level": verifier.level,
            "engine": verifier.engine,
            "packages": verifier.packages,
            "proof": verifier.proof,
            "pid": os.getpid(),
        }

    def counts(self) -> dict[str, int]:
        """Return how many workers were replaced, and the counters of the snapshot engines."""
        verifier = self._verifier
        if verifier is None:
            return {}
        given_up, replaced, checked, mismatches = verifier.counters.to_tuple()
        return {
            "restarts": verifier.restarts,
            "given_up": given_up,
            "replaced": replaced,
            "checked": checked,
            "mismatches": mismatches,
        }

    def judge(self, number: int, items: Sequence[Item]) -> list[Numbered]:
        """Begin to judge the tasks and run the programs of a chunk. Returns what `collect` does.

        Args:
            number: The number of the chunk.
            items: The tasks and programs, validated.
        """
        assert self._verifier is not None, "a node that can't judge is sent nothing"
        finished: SimpleQueue[Numbered] = SimpleQueue()
        cancels = [
            self._verifier.submit(item, lambda result, place=place: finished.put((place, result)), repeat)  # type: ignore[misc]
            for place, (item, repeat) in enumerate(items)
        ]
        with self._lock:
            self._running[number] = _Running(finished, cancels, len(items))
        return self.collect(number)

    def collect(self, number: int) -> list[Numbered]:
        """Return results of a chunk that have come since the last call: those of some time, so that one slow task
        delays no others; none after `ALIVE_SECONDS` without any.

        Raises:
            KeyError: The actor has been restarted since.
        """
        running = self._running[number]
        found: list[Numbered] = []
        began = time.monotonic()
        while running.left and (left := (COLLECT_SECONDS if found else ALIVE_SECONDS) - time.monotonic() + began) > 0:
            with contextlib.suppress(Empty):
                found.append(running.finished.get(timeout=left))
                running.left -= 1
        if not running.left:
            with self._lock:
                del self._running[number]
        return found

    def cancel(self, number: int) -> None:
        """Cancel what is left of a chunk. Its results are no longer needed."""
        with self._lock:
            running = self._running.get(number)
        for cancel in running.cancels if running else ():
            cancel()


@dataclass(slots=True)
class _Running:
    """A chunk that is being judged: its results that were not returned, how to cancel it, and how many are to come."""

    finished: SimpleQueue[Numbered]
    cancels: list[Callable[[], None]]
    left: int
