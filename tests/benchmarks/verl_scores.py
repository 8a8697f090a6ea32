"""Whether load costs a score: ``python -m tests.benchmarks.verl_scores``.

Method: verl's own client, from PyPI, scores programs at a daemon with a small queue, beside endless loops of others: as
each ends, another comes. Each program has many cases, and the client sends a request a case, up to 64 at a time; it
waits 16 s for an answer and asks again on 504 alone. Of five programs two solve all cases, one half of them, one three
quarters, one all but one, on which one in five of these loops for ever; one in 25 needs half a second for one case.
Shown is how many scores are right, each that is not, how the daemon answered, the rate of requests, and how long a
program took from its first request to its score (with 64 requests shared by all programs side by side), in quarters of
the run.
Client, daemon and workers share the processors. The exit code is 1 if a score is wrong.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from pathlib import Path

if not __package__:  # python tests/benchmarks/verl_scores.py
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from tests.benchmarks.machine import busy, machine, spread
from tests.sandbox.server import verl_client
from tests.sandbox.server.conftest import Daemon
from tests.sandbox.server.verl_client import Score


def main() -> None:
    options = _options()
    print(__doc__)
    print("\n".join(f"{name}: {value}" for name, value in machine().items()))
    print(busy(), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        compute_score = verl_client.load(Path(folder))
        daemon = Daemon(Path(folder, "log"), "--workers", str(options.workers), "--queue", str(options.queue))
        try:
            began = time.monotonic()
            with verl_client.endless_loops(daemon, options.loops):
                scoring = verl_client.scores(
                    daemon, compute_score, options.programs, options.side_by_side, options.cases
                )
                found = []
                for score in scoring:
                    found.append(score)
                    if len(found) % 100 == 0:
                        print(f"{len(found)} programs after {time.monotonic() - began:.0f} s", flush=True)
                seconds = time.monotonic() - began
            answers = _answers(daemon)
        finally:
            daemon.stop()
    print(busy())
    _show(found, options.cases, seconds)
    print("answers of the daemon, those to the loops included:", ", ".join(answers))
    sys.exit(any(score.given != score.right for score in found))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tests.benchmarks.verl_scores", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--programs", type=int, default=1000)
    parser.add_argument("--cases", type=int, default=40, help="of each program, a multiple of 4, at least 8")
    parser.add_argument("--side-by-side", type=int, default=16, help="programs that are scored at a time")
    parser.add_argument("--loops", type=int, default=14, help="endless programs of others")
    parser.add_argument("--queue", type=int, default=4)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    if options.cases % 4 or options.cases < 8:
        parser.error("--cases is a multiple of 4, and at least 8")
    return options


def _show(found: list[Score], cases: int, seconds: float) -> None:
    wrong = [(number, score) for number, score in enumerate(found, 1) if score.given != score.right]
    print(f"{len(found) - len(wrong)} of {len(found)} scores are right")
    for number, score in wrong:
        print(f"program {number}: {score.given:.3f}, not {score.right:.3f}; {'; '.join(score.errors)[:300]}")
    requests = len(found) * cases
    print(f"{requests} requests in {seconds:.0f} s: {requests / seconds:.0f}/s")
    for quarter in range(4):
        part = found[len(found) * quarter // 4 : len(found) * (quarter + 1) // 4]
        print(f"quarter {quarter + 1}: a program took {spread([score.seconds for score in part], 1)} s")


def _answers(daemon: Daemon) -> list[str]:
    """Return how often each status was answered at ``/run_code``."""
    _, text, _ = daemon.ask("GET", "/metrics")
    pattern = r'^selftaught_http_responses_total\{path="/run_code",status="(\d+)"\} (\S+)$'
    found = re.findall(pattern, text.decode(), re.M)
    return [f"{status} {float(count):,.0f} times" for status, count in found]


if __name__ == "__main__":
    main()
