"""What Ray costs: the same tasks on two Ray nodes of this machine with one worker each, and on a local verifier.

    python -m tests.benchmarks.cluster [--pairs 5]

Prints for each length of a task the rates, their ratio in pairs of runs, and the driver's own CPU time a task, from
which follows how many nodes one driver can feed. Needs selftaught[ray]; best in a network of its own (`unshare -n` with
the loopback up). It does not show what a network between machines adds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from typing import Any

import ray
from ray.cluster_utils import Cluster

from selftaught.ray import RayVerifier
from selftaught.sandbox import Task, Verifier
from tests.benchmarks.machine import busy, machine, spread

SAT = "def sat(x: int, n={n}):\n    return x == n + 1"
SOL = "def sol(n={n}):\n    for _ in range({loops}): pass\n    return n + 1"
SHAPES = {"trivial": (0, 20_000), "1 ms": (30_000, 4_000), "10 ms": (300_000, 600)}


def tasks(loops: int, count: int) -> Iterator[Task]:
    for number in range(count):
        yield Task(str(number), SAT.format(n=number), SOL.format(n=number, loops=loops))


def measure(verifier: Any, loops: int, count: int) -> tuple[float, float]:
    """Return tasks a second, and microseconds of this process's CPU time a task."""
    began, used = time.monotonic(), time.process_time()
    assert all(verdict.accepted for verdict in verifier.verify_many(tasks(loops, count)))
    return count / (time.monotonic() - began), (time.process_time() - used) / count * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    pairs = parser.parse_args().pairs
    print(*machine().values(), busy(), sep="\n")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 80 << 20})
    for _ in range(2):
        cluster.add_node(num_cpus=1, object_store_memory=80 << 20)
    ray.init(address=cluster.address, log_to_driver=False, logging_level=30)
    with RayVerifier(workers=1, min_nodes=2) as remote, Verifier(workers=2) as local:
        for name, (loops, count) in SHAPES.items():
            found = [(measure(remote, loops, count), measure(local, loops, count)) for _ in range(pairs + 1)]
            del found[0]  # to warm up
            rates = [statistics.median(run[side][0] for run in found) for side in (0, 1)]
            ratio = spread([one[0] / other[0] for one, other in found], 2)
            driver = spread([one[1] for one, _ in found], 0)
            print(f"{name:8} Ray {rates[0]:,.0f}/s, local {rates[1]:,.0f}/s, ratio {ratio}, driver {driver} us a task")
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main()
