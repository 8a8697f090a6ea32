"""What endless loops cost a batch: ``python -m tests.benchmarks.loops``.

Trivial tasks with 5 % endless loops among them, CPU limit 1 s. With time slices a task that needs more than a moment is
demoted and goes on when nothing else waits; without them every task gets its whole time at once. Shown is, round by
round in turn, the time until 95 % of the verdicts were there (as they come), the time of all, and whether both gave
every task the same status; then the same for pebble's pool. Not shown: tasks that need between the time slice and the
limit, which can cost up to twice as much with time slices.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import time
from collections.abc import Iterator
from unittest import mock

from selftaught.sandbox import Limits, Task, Verifier, time_slice
from tests.benchmarks import workloads
from tests.benchmarks.machine import busy, machine
from tests.benchmarks.peers import WORKERS, plain_exec, program

SHARE, LIMIT_SECONDS = 20, 1.0


def tasks(count: int) -> list[Task]:
    """Return trivial tasks of which one in twenty loops for ever, each with a different source."""
    loop = "def sol():\n    while True: {}"
    return [
        Task(str(number), sat, loop.format(number) if number % SHARE == SHARE // 2 else sol)
        for number, (sat, sol) in enumerate(workloads.trivial(count))
    ]


def verify(items: list[Task], longest: float) -> tuple[float, float, dict[str, str]]:
    """Return the seconds to 95 % of the verdicts and to all, and every status.

    Args:
        items: the tasks.
        longest: the longest time slice in seconds; as long as the limit means that there are none.
    """
    limits = Limits(cpu_seconds=LIMIT_SECONDS)
    with (
        mock.patch.object(time_slice, "LONGEST_SECONDS", longest),
        Verifier(workers=WORKERS, limits=limits) as verifier,
    ):
        list(verifier.verify_many([Task("0", *pair) for pair in workloads.trivial(300)]))
        started, most, statuses = time.perf_counter(), 0.0, {}
        for verdict in verifier.verify_many(items, ordered=False):
            statuses[verdict.id] = verdict.status.value
            if len(statuses) == round(0.95 * len(items)):
                most = time.perf_counter() - started
        return most, time.perf_counter() - started, statuses


def verify_by_pebble(items: list[Task]) -> tuple[float, float]:
    """Return the same seconds for a pool that kills a worker for each loop."""
    from pebble import ProcessPool

    with ProcessPool(max_workers=WORKERS) as workers:
        started = time.perf_counter()
        futures = [
            workers.schedule(plain_exec, args=[program((item.sat, item.sol))], timeout=LIMIT_SECONDS) for item in items
        ]
        ends = sorted(_ends(futures, started))
        return ends[round(0.95 * len(items)) - 1], ends[-1]


def _ends(futures: list, started: float) -> Iterator[float]:  # type: ignore[type-arg]
    for future in futures:
        with contextlib.suppress(Exception):
            future.result()
        yield time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="tests.benchmarks.loops", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    items, longest = tasks(options.tasks), time_slice.LONGEST_SECONDS
    print("\n".join(f"{name}: {value}" for name, value in machine().items()))
    print(busy())
    figures: dict[str, list[tuple[float, float]]] = {"time slices": [], "none": [], "pebble": []}
    for _ in range(options.rounds):
        two, one = verify(items, longest), verify(items, LIMIT_SECONDS)
        figures["time slices"].append(two[:2])
        figures["none"].append(one[:2])
        figures["pebble"].append(verify_by_pebble(items))
        loops = sum(status == "time_limit" for status in two[2].values())
        print(f"statuses are the same: {two[2] == one[2]}; loops: {loops}")
    for name, found in figures.items():
        shown = [
            f"{statistics.median(column):.2f} ({min(column):.2f}..{max(column):.2f})"
            for column in zip(*found, strict=True)
        ]
        print(f"{name:12} 95 % after {shown[0]} s, all after {shown[1]} s")


if __name__ == "__main__":
    main()
