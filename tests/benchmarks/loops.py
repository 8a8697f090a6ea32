"""What endless loops cost a batch: ``python -m tests.benchmarks.loops``.

Trivial tasks with 5 % endless loops among them, CPU limit 1 s. With the two-pass schedule what needs more than a moment is tried again
when nothing else waits; without it every task gets its whole time at once. Shown is, round by round in turn, the time until 95 % of the
verdicts were there (as they come), the time of all, and whether both gave every task the same status; then the same for pebble's pool.
Not shown: tasks that need between the time slice and the limit, which cost up to twice theirs with the schedule.
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
    """One in twenty loops for ever, each in its own way."""
    loop = "def sol():\n    while True: {}"
    return [
        Task(str(number), sat, loop.format(number) if number % SHARE == SHARE // 2 else sol)
        for number, (sat, sol) in enumerate(workloads.trivial(count))
    ]


def judge(items: list[Task], longest: float) -> tuple[float, float, dict[str, str]]:
    """Seconds to 95 % and to all, and every status. longest: time slice in seconds; as long as the limit: there are no time slices."""
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


def judge_by_pebble(items: list[Task]) -> tuple[float, float]:
    """Seconds to 95 % and to all, of a pool that kills a worker for each loop."""
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
    figures: dict[str, list[tuple[float, float]]] = {"two passes": [], "one pass": [], "pebble": []}
    for _ in range(options.rounds):
        two, one = judge(items, longest), judge(items, LIMIT_SECONDS)
        figures["two passes"].append(two[:2])
        figures["one pass"].append(one[:2])
        figures["pebble"].append(judge_by_pebble(items))
        print(
            f"statuses are the same: {two[2] == one[2]}; loops: {sum(status == 'time_limit' for status in two[2].values())}"
        )
    for name, found in figures.items():
        shown = [
            f"{statistics.median(column):.2f} ({min(column):.2f}..{max(column):.2f})"
            for column in zip(*found, strict=True)
        ]
        print(f"{name:12} 95 % after {shown[0]} s, all after {shown[1]} s")


if __name__ == "__main__":
    main()
