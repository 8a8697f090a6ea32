"""Reads what a model wrote: in this process, or in others when that takes much of this one's time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from selftaught.generator import candidate, example, prompts
from selftaught.generator.candidate import Candidate
from selftaught.generator.example import Sampling
from selftaught.generator.prompts import Prompt
from selftaught.generator.puzzle import NotAPuzzle, Puzzle, exact
from selftaught.generator.recipe import Recipe

T = TypeVar("T")
logger = logging.getLogger(__name__)

_SHARE, _SECONDS = 0.25, 2.0
"""The share of its time, in a span of so many seconds, that reading may take of this process."""

Read = tuple[str, str]
"""A solution and the digest of its normalised form; both empty if it doesn't parse."""


class Reader:
    """Reads completions.

    Args:
        processes: Number of other processes to start when they are needed (None: one for every four processors, at most
            four; 0: none).
        share: The share of this process's time above which they are needed.
    """

    def __init__(self, processes: int | None = None, share: float = _SHARE) -> None:
        available = len(os.sched_getaffinity(0))
        self._processes = min(4, -(-available // 4)) if processes is None else processes
        self._share, self._spent, self._began = share, 0.0, time.perf_counter()
        self._children: _Children | None = None

    async def puzzles(
        self,
        prompt: Prompt,
        texts: Sequence[str],
        origins: Sequence[Sampling],
        recipe: Recipe,
        drawn: Sequence[bool],
    ) -> list[Candidate]:
        """Return the completions of a prompt as candidates (see `selftaught.generator.candidate.read`)."""
        return await self._run(_puzzles, prompt, texts, origins, recipe, drawn)

    async def solutions(self, puzzle: Puzzle, prompt: Prompt, texts: Sequence[str]) -> list[Read]:
        """Return the solutions of a puzzle that completions make."""
        return await self._run(_solutions, puzzle, prompt, texts)

    async def _run(self, function: Callable[..., T], *given: object) -> T:
        if self._children:
            try:
                found: T = await self._children.call(function, *given)
                return found
            except (OSError, EOFError) as error:
                logger.warning("completions are read in this process alone: %s", error or "the other one has ended")
                self.close()
                self._processes = 0
        began = time.perf_counter()
        found = function(*given)
        now = time.perf_counter()
        self._spent += now - began
        if now > self._began + _SECONDS or not self._share:
            if self._processes and not self._children and self._spent >= self._share * (now - self._began):
                self._children = _Children(self._processes)
            self._spent, self._began = 0.0, now
        return found

    def close(self) -> None:
        """End the other processes."""
        if self._children:
            self._children.close()
            self._children = None


class _Children:
    """Processes that read completions, each asked by a thread.

    They are no children of multiprocessing, which would run the caller's script again in each of them.
    """

    def __init__(self, number: int) -> None:
        self._local = threading.local()
        self._connections: list[Connection] = []
        self._processes: list[subprocess.Popen[bytes]] = []
        self._threads = ThreadPoolExecutor(number, "reading", self._start)

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", __name__, str(theirs.fileno())]
            self._processes.append(subprocess.Popen(command, pass_fds=[theirs.fileno()]))
        self._local.connection = Connection(ours.detach())
        self._connections.append(self._local.connection)

    async def call(self, function: Callable[..., Any], *given: object) -> Any:
        """Return what a function of this module returns. Raises OSError or EOFError if a process has ended."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._ask, function.__name__, given)

    def _ask(self, name: str, given: tuple[object, ...]) -> Any:
        self._local.connection.send((name, given))
        return self._local.connection.recv()

    def close(self) -> None:
        """End the processes: they do when their connection is closed."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        for connection in self._connections:
            connection.close()
        for process in self._processes:
            process.wait()


def _serve(descriptor: int) -> None:
    """Read what the parent sends, until it closes the connection."""
    with Connection(descriptor) as parent, contextlib.suppress(EOFError, OSError, KeyboardInterrupt):
        while True:
            name, given = parent.recv()
            parent.send((_puzzles if name == "_puzzles" else _solutions)(*given))


def _puzzles(
    prompt: Prompt, texts: Sequence[str], origins: Sequence[Sampling], recipe: Recipe, drawn: Sequence[bool]
) -> list[Candidate]:
    return [candidate.read(prompt, *one[:2], recipe, one[2]) for one in zip(texts, origins, drawn, strict=True)]


def _solutions(puzzle: Puzzle, prompt: Prompt, texts: Sequence[str]) -> list[Read]:
    found = []
    for text in texts:
        try:
            solution = prompts.read_solution(puzzle, prompt, text)
            found.append((solution, example.digest(exact(solution))))
        except NotAPuzzle:
            found.append(("", ""))
    return found


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
