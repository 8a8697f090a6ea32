"""Stream many tasks and look for leaks: ``python -m tests.benchmarks.soak [--tasks 100000]``.

It passes if every verdict is `accepted`; if no rollback of the snapshot engine left a difference; if in the last
quarter of the run the median of each figure (memory of this process, of its children, descriptors, processes) is at
most 5 % above that in the second quarter; and if no process or descriptor is left at the end. Exit code 1 otherwise.
Memory is proportional (PSS) where the kernel reports it, else resident (RSS). Children that run a task come and go, so
processes and the workers' memory are those at the moment of the mark.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import time
from dataclasses import dataclass, fields

import psutil

from selftaught.sandbox import Verifier
from tests.benchmarks import peers, workloads

MIB = 1 << 20
GROWTH = 1.05
MARKS = 40


@dataclass(frozen=True, slots=True)
class Mark:
    """Memory in MiB, of this process and of all below it; descriptors of both; processes below."""

    own_rss: float
    own_pss: float
    children_rss: float
    children_pss: float
    own_descriptors: int
    children_descriptors: int
    processes: int


def footprint() -> Mark:
    """Return what is used now. A process that ends during this counts as nothing."""
    own = psutil.Process()
    mine = _memory(own)
    totals, count = [0.0, 0.0, 0], 0
    for child in own.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            found = (*_memory(child), child.num_fds())
            totals = [total + value for total, value in zip(totals, found, strict=True)]
            count += 1
    return Mark(*mine, totals[0], totals[1], own.num_fds(), int(totals[2]), count)


def _memory(process: psutil.Process) -> tuple[float, float]:
    """Return RSS and PSS in MiB; RSS for both where the kernel reports no PSS."""
    info = process.memory_full_info()
    return info.rss / MIB, (getattr(info, "pss", 0) or info.rss) / MIB


def grown(marks: list[Mark]) -> list[str]:
    """Return the figures whose median in the last quarter is over 5 % above that in the second.

    Only marks with the usual number of processes count: snapshot processes come and go.
    """
    usual = statistics.mode(mark.processes for mark in marks)
    marks = [mark for mark in marks if mark.processes == usual]
    quarter = max(1, len(marks) // 4)
    found = []
    for name in (entry.name for entry in fields(Mark)):
        early = statistics.median(getattr(mark, name) for mark in marks[quarter : 2 * quarter])
        late = statistics.median(getattr(mark, name) for mark in marks[-quarter:])
        if late > GROWTH * early:
            found.append(f"{name} {early:.1f} -> {late:.1f}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="tests.benchmarks.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--level", default=None, help="full or restricted (default: the best that is reached)")
    options = parser.parse_args()
    before, marks, wrong = footprint(), [], 0
    with Verifier(workers=peers.WORKERS, level=options.level, require="restricted") as verifier:
        print(f"{options.tasks} tasks, {verifier.workers} workers, level {verifier.level}; memory is RSS/PSS in MiB")
        step, start = max(1, options.tasks // MARKS), time.perf_counter()
        pairs = workloads.trivial(options.tasks)  # all made first, so that they don't show as growth
        for number, verdict in enumerate(verifier.verify_many(peers.tasks(pairs)), 1):
            wrong += not verdict.accepted
            if number % step == 0:
                marks.append(footprint())
                show(number, number / (time.perf_counter() - start), marks[-1])
        counters = verifier.counters
    print(f"snapshot engine: {counters}")
    _conclude(before, marks, wrong, counters.mismatches)


def show(number: int, rate: float, mark: Mark) -> None:
    print(
        f"{number:8} tasks {rate:6.0f}/s  own {mark.own_rss:6.1f}/{mark.own_pss:6.1f}  children "
        f"{mark.children_rss:6.1f}/{mark.children_pss:6.1f}  descriptors {mark.own_descriptors}+"
        f"{mark.children_descriptors}  processes {mark.processes}",
        flush=True,
    )


def _conclude(before: Mark, marks: list[Mark], wrong: int, mismatches: int) -> None:
    after = footprint()
    problems = [f"grew: {figure}" for figure in grown(marks)] if len(marks) >= 8 else ["too few tasks to see growth"]
    if wrong:
        problems.append(f"{wrong} verdicts are not accepted")
    if mismatches:
        problems.append(f"{mismatches} rollbacks left a difference")
    if after.processes > before.processes:
        problems.append(f"{after.processes - before.processes} processes are left")
    if after.own_descriptors > before.own_descriptors:
        problems.append(f"{after.own_descriptors - before.own_descriptors} descriptors are left")
    print("pass" if not problems else "fail: " + "; ".join(problems))
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
