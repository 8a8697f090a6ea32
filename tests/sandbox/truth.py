"""The truth about solutions: what a plain interpreter says, in which solution and tests share one namespace.

Each solution runs in a child of its own, under limits. Use it for known code only.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from selftaught.sandbox.task import FunctionTask

RIGHT, WRONG, SLOW = "right", "wrong", "slow"
SECONDS, MEMORY_BYTES = 0.5, 1 << 30
"""Limits of a child; one that needs more time is slow."""

_PROGRAM = rf"""
import json, os, resource, signal, sys

RIGHT, WRONG, SLOW = 0, 1, 2


def judge(prelude, sol, tests, entry_point):
    os.dup2(os.open(os.devnull, os.O_RDWR), 1)
    resource.setrlimit(resource.RLIMIT_AS, ({MEMORY_BYTES}, {MEMORY_BYTES}))
    signal.signal(signal.SIGPROF, lambda *_: os._exit(SLOW))
    signal.setitimer(signal.ITIMER_PROF, {SECONDS})
    signal.alarm(20)
    scope = {{"__name__": "truth"}}
    try:
        exec(prelude, scope)
        exec(sol, scope)
        exec(tests, scope)
        if "def check(" in tests:
            scope["check"](scope[entry_point])
    except BaseException:
        os._exit(WRONG)
    os._exit(RIGHT)


sys.setrecursionlimit(10_000)
sys.set_int_max_str_digits(0)
found = []
for task in json.load(sys.stdin):
    if not (child := os.fork()):
        judge(*task)
    status = os.waitpid(child, 0)[1]
    found.append(os.waitstatus_to_exitcode(status))
print(json.dumps([{{0: "right", 2: "slow", -14: "slow"}}.get(code, "wrong") for code in found]))
"""


def truths(tasks: Sequence[FunctionTask], processes: int = 2) -> list[str]:
    """Return RIGHT, WRONG or SLOW for each task."""

    def ask(part: Sequence[FunctionTask]) -> list[str]:
        fields = json.dumps([(task.prelude, task.sol, task.tests, task.entry_point) for task in part])
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM], input=fields, capture_output=True, text=True, check=True
        )
        found: list[str] = json.loads(done.stdout)
        return found

    found: list[str] = [""] * len(tasks)
    with ThreadPoolExecutor(processes) as executor:
        parts = [slice(start, None, processes) for start in range(processes)]
        for part, answer in zip(parts, executor.map(ask, [tasks[part] for part in parts]), strict=True):
            found[part] = answer
    return found
