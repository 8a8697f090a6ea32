"""The actor of a node: a `Verifier` that judges chunks of tasks, for all drivers that have the same settings.

It ends when the last driver has left, or has not been heard of for some time.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
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
THREADS = 64
"""The most calls that it serves at a time: `IN_FLIGHT` chunks for each driver, and short ones."""
FORGOTTEN_SECONDS = 60.0
"""After so long without a call a driver counts as dead."""

Item = tuple[Checked | Program, int]
"""A validated task or program, and how often it is judged."""
Numbered = tuple[int, Verdict | Run]
"""A result, after its place in the chunk."""
COLLECT_SECONDS, ALIVE_SECONDS = 0.1, 5.0
"""How long results are collected before they are returned, and how long a call waits for the first."""


Key = tuple[str, int]
"""What identifies a chunk: its driver, and its number there."""


class NodeVerifier:
    """Judges chunks of tasks in the workers of its node. The first driver makes it an actor with `THREADS` threads."""

    def __init__(self, config: WorkerConfig, workers: int, limits: Limits | None, forgotten_seconds: float) -> None:
        """Open the verifier; `describe` says what came of it.

        Args:
            config, workers, limits: See `Verifier.from_config`.
            forgotten_seconds: After so long without a call a driver counts as dead.
        """
        self._forgotten_seconds, self._began = forgotten_seconds, time.monotonic()
        self._verifier: Verifier | None = None
        self._lock = threading.Lock()
        self._running: dict[Key, _Running] = {}
        self._heard: dict[str, float] = {}
        self._problem = ""
        threading.Thread(target=self._end_when_forgotten, name="selftaught-forgotten", daemon=True).start()
        try:
            self._verifier = Verifier.from_config(config, workers=workers, limits=limits)
        except (CannotConfine, ValueError) as error:
            self._problem = str(error)

    def describe(self, driver: str) -> dict[str, Any]:
        """Return what the verifier reaches on this node, or as ``problem`` why it can't be opened, to a new driver."""
        self.hear(driver)
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

    def hear(self, driver: str) -> None:
        """Note that a driver lives."""
        with self._lock:
            self._heard[driver] = time.monotonic()

    def leave(self, driver: str) -> bool:
        """Forget a driver, and cancel its chunks. Return True if there is no other."""
        with self._lock:
            self._heard.pop(driver, None)
            keys = [key for key in self._running if key[0] == driver]
        for key in keys:
            self.cancel(key)
        return not self._heard

    def _end_when_forgotten(self) -> None:
        import ray

        while True:
            time.sleep(self._forgotten_seconds / 4)
            now = time.monotonic()
            with self._lock:
                dead = [name for name, heard in self._heard.items() if heard < now - self._forgotten_seconds]
                is_new = now < self._began + self._forgotten_seconds
            for driver in dead:
                self.leave(driver)
            if not (self._heard or is_new):
                ray.kill(ray.get_runtime_context().current_actor, no_restart=True)

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

    def judge(self, key: Key, items: Sequence[Item]) -> list[Numbered]:
        """Begin to judge the tasks and run the programs of a chunk. Returns what `collect` does.

        Args:
            key: Identifies the chunk.
            items: The tasks and programs, validated.
        """
        assert self._verifier is not None, "a node that can't judge is sent nothing"
        finished: SimpleQueue[Numbered] = SimpleQueue()
        cancels = [
            self._verifier.submit(item, partial(_put, finished, place), repeat)
            for place, (item, repeat) in enumerate(items)
        ]
        with self._lock:
            self._running[key] = _Running(finished, cancels, len(items))
        return self.collect(key)

    def collect(self, key: Key) -> list[Numbered]:
        """Return results of a chunk that have come since the last call: those of some time, so that one slow task
        delays no others; none after `ALIVE_SECONDS` without any.

        Raises:
            KeyError: The actor has been restarted since.
        """
        running = self._running[key]
        found: list[Numbered] = []
        began = time.monotonic()
        while running.left and (left := (COLLECT_SECONDS if found else ALIVE_SECONDS) - time.monotonic() + began) > 0:
            with contextlib.suppress(Empty):
                found.append(running.finished.get(timeout=left))
                running.left -= 1
        if not running.left:
            with self._lock:
                del self._running[key]
        return found

    def cancel(self, key: Key) -> None:
        """Cancel what is left of a chunk. Its results are no longer needed."""
        with self._lock:
            running = self._running.get(key)
        for cancel in running.cancels if running else ():
            cancel()


def _put(finished: SimpleQueue[Numbered], place: int, result: Verdict | Run) -> None:
    finished.put((place, result))


@dataclass(slots=True)
class _Running:
    """A chunk that is being judged: its results that were not returned, how to cancel it, and how many are to come."""

    finished: SimpleQueue[Numbered]
    cancels: list[Callable[[], None]]
    left: int
