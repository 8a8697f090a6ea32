"""Compare two verifiers in pairs: both verify the same tasks, one right after the other, and which begins alternates.

Method: each is warmed up, in workers of its own, and verifies the stream, again if that takes less than a second. The
ratio of a pair is the first one's tasks a second by the second one's, so that a drift of the machine that is slower
than a pair cancels out. Shown is every ratio; the median, the quartiles (half of the pairs lie between them) and the
extremes; and how many tasks got which status.
With --against the two are this checkout and another one, each in processes of its own with the interpreter of its own
environment. Then the ratio of the CPU time of all their processes is shown too, which other load changes less, which
engine verified how many, and each task whose two verdicts differ. The exit code is 1 if any does, or if the median of a
workload is below 0.97.
Not shown: start-up, latency, the first tasks of a cold worker, another machine, other load. A verifier that remembered
puzzles from one stream to the next would gain where the stream is verified again. Ten pairs show differences of some
percent, not of one: see the quartiles.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.benchmarks.machine import counts, quartiles
from tests.benchmarks.peers import PEERS, WARM_UP
from tests.benchmarks.workloads import ROOT, Workload, sample

LEAST_RATIO = 0.97
"""A change that makes a workload slower than this is one that is noticed."""
LEAST_SECONDS = 1.0
"""A stream that takes less is verified again: shorter measurements scatter too much."""
LONGEST_SECONDS = 3600
"""After that a run of a checkout has hung."""


@dataclass(frozen=True, slots=True)
class Run:
    """One of a pair.

    rate: tasks a second. counts: how many tasks got each status, in each stream or in all together. Of checkouts alone:
    cpu_ms of a task; statuses of every task in order; verifiers: which program and engine verified how many.
    """

    rate: float
    counts: tuple[Counter[str], ...]
    cpu_ms: float | None = None
    statuses: tuple[str, ...] = ()
    verifiers: Counter[str] = field(default_factory=Counter)


Pairs = list[tuple[Run, Run]]


def run(first: Callable[[], Run], second: Callable[[], Run], count: int) -> Pairs:
    """Return so many pairs."""
    pairs = []
    for number in range(count):
        if number % 2:
            other = second()
            pairs.append((first(), other))
        else:
            pairs.append((first(), second()))
        print(f"  {pairs[-1][0].rate / pairs[-1][1].rate:.3f}", end="", flush=True)
    print()
    return pairs


def peer_run(name: str, workload: Workload) -> Run:
    """Run one of the peers on its sample at most. Raises what the peer raises where the host can't run it."""
    peer = PEERS[name]
    tasks = sample(workload.pairs, peer.most)
    with peer.make(workload.seconds) as peer_verifier:
        streams, elapsed, start = [], 0.0, time.perf_counter()
        while elapsed < LEAST_SECONDS:
            streams.append(peer_verifier.stream(tasks))
            elapsed = time.perf_counter() - start
    return Run(len(streams) * len(tasks) / elapsed, tuple(streams))


@dataclass(frozen=True, slots=True)
class Checkout:
    """A folder with a commit of this project, and the interpreter that has what it needs."""

    folder: Path
    python: str

    def __str__(self) -> str:
        """Return folder and commit."""
        commit, changes = self._git("rev-parse", "--short", "HEAD"), self._git("status", "--porcelain")
        return f"{self.folder}, {commit or 'no commit'}{' with changes' if changes else ''}"

    def _git(self, *arguments: str) -> str:
        try:
            done = subprocess.run(["git", "-C", self.folder, *arguments], capture_output=True, text=True, check=False)
        except FileNotFoundError:
            return ""
        return done.stdout.strip()

    def run(self, workload: Workload, **arguments: Any) -> Run:
        """Verify with a Verifier of these arguments. Raises RuntimeError if it fails; standard error says why."""
        limits = {"cpu_seconds": workload.seconds, "least_seconds": LEAST_SECONDS}
        settings = {"verifier": arguments, "warm_up": len(WARM_UP), **limits}
        done = subprocess.run(
            [self.python, Path(__file__).with_name("timed_run.py"), self.folder],
            input="".join(json.dumps(line) + "\n" for line in (settings, *WARM_UP, *workload.pairs)),
            stdout=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            timeout=LONGEST_SECONDS,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"the run of {self.folder} failed with exit code {done.returncode}")
        found = json.loads(done.stdout)
        tasks = found["streams"] * len(workload.pairs)
        return Run(
            rate=tasks / found["elapsed_seconds"],
            cpu_ms=found["cpu_seconds"] / tasks * 1e3,
            counts=(Counter(found["statuses"]),),
            statuses=tuple(found["statuses"]),
            verifiers=Counter(found["verifiers"]),
        )


def ours() -> Checkout:
    return Checkout(ROOT, sys.executable)


def checkout(folder: Path) -> Checkout:
    """Return the checkout in a folder. Raises FileNotFoundError if it has no environment of its own."""
    folder = folder.resolve()
    python = folder / ".venv" / "bin" / "python"
    if not python.exists():
        raise FileNotFoundError(f"there is no {python}: the checkout needs an environment of its own")
    return Checkout(folder, str(python))


def ratios(pairs: Pairs) -> list[float]:
    """Return the ratio of tasks a second, pair by pair."""
    return [one.rate / other.rate for one, other in pairs]


def show(names: tuple[str, str], pairs: Pairs) -> None:
    """Print the results of the pairs of one workload."""
    print(f"  tasks/s: {_middles((one.rate, other.rate) for one, other in pairs)}; ratio: {quartiles(ratios(pairs))}")
    costs = [(one.cpu_ms, other.cpu_ms) for one, other in pairs if one.cpu_ms and other.cpu_ms]
    if len(costs) > 1:
        ratio = quartiles([one / other for one, other in costs])
        print(f"  CPU ms a task: {_middles(costs)}; ratio, less is better: {ratio}")
    for name, runs in zip(names, zip(*pairs, strict=True), strict=True):
        print(f"  {name}: {counts([stream for one in runs for stream in one.counts])}")
        if any(one.verifiers for one in runs):
            print(f"    verified by {counts([one.verifiers for one in runs])}")


def _middles(found: Iterable[tuple[float, float]]) -> str:
    first, second = (statistics.median(column) for column in zip(*found, strict=True))
    return " / ".join(f"{middle:.0f}" if middle >= 100 else f"{middle:.3f}" for middle in (first, second))


def differing(pairs: Pairs) -> Counter[tuple[int, str, str]]:
    """Count the tasks whose two verdicts differ, by number and both statuses, over the pairs."""
    return Counter(
        (number, one_status, other_status)
        for one, other in pairs
        for number, (one_status, other_status) in enumerate(zip(one.statuses, other.statuses, strict=True))
        if one_status != other_status
    )
