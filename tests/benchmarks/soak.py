"""Stream many tasks and watch for leaks: ``python -m tests.benchmarks.soak [--tasks 100000]``. Exit code 1: something grew."""

from __future__ import annotations

import argparse
import sys
import time

import psutil

from sandbox import Verifier
from tests.benchmarks import peers, workloads


def footprint() -> tuple[float, float, int, int]:
    """Proportional memory of this process and of a worker's processes in MiB, descriptors, and processes."""
    own = psutil.Process()
    children = own.children(recursive=True)
    workers = sum(child.memory_full_info().pss for child in children) / (1 << 20)
    descriptors = sum(process.num_fds() for process in (own, *own.children()))
    return own.memory_full_info().pss / (1 << 20), workers, descriptors, len(children)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=100_000)
    options = parser.parse_args()
    wrong, marks = 0, []
    with Verifier() as verifier:
        start = time.perf_counter()
        stream = verifier.verify_many(peers.tasks(workloads.trivial(options.tasks)))
        for number, verdict in enumerate(stream, 1):
            wrong += not verdict.accepted
            if number % (options.tasks // 10) == 0:
                ours, workers, descriptors, processes = footprint()
                marks.append((ours, workers))
                rate = number / (time.perf_counter() - start)
                print(f"{number:8} tasks {rate:6.0f}/s  verifier {ours:6.1f} MiB  {verifier.workers} workers {workers:6.1f} MiB  "
                      f"{descriptors} descriptors  {processes} processes", flush=True)  # fmt: skip
    left = psutil.Process().children(recursive=True)
    grown = marks[-1][0] > 1.05 * marks[4][0] + 1 or marks[-1][1] > 1.05 * marks[4][1] + 1
    print(f"wrong verdicts: {wrong}; processes left: {len(left)}; memory grew by over 5 % in the second half: {grown}")
    sys.exit(1 if wrong or left or grown else 0)


if __name__ == "__main__":
    main()
