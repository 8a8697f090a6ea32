"""A verifier without a jail, for tests of formats: each task runs in a plain interpreter, and nothing is relayed.

It says what solutions are worth with the tasks that a format makes of them. Use it for known code only.
"""

from __future__ import annotations

import dataclasses
import pickle
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from selftaught.sandbox.task import FunctionTask, Limits, StdioTask
from selftaught.sandbox.verdict import CaseResult, Status, Verdict

_PROGRAM = r"""
import contextlib, io, pickle, signal, sys

sys.setrecursionlimit(10_000)
sys.set_int_max_str_digits(0)


class TimedOut(BaseException):
    pass


def stop(*_):
    raise TimedOut("timed out")


signal.signal(signal.SIGALRM, stop)


def load(task):
    scope = {"__name__": "solution"}
    exec(task["prelude"], scope)
    exec(task["sol"], scope)
    owner, _, name = task["entry_point"].rpartition(".")
    return scope, getattr(scope[owner](), name) if owner else scope[name]


def run_tests(task):
    scope, candidate = load(task)
    names = {name: value for name, value in scope.items() if name != "check" or "def check(" not in task["tests"]}
    exec(task["tests"], names)
    for name, value in list(names.items()):
        if name.startswith("test_") and value is not scope.get(name):
            value()
    if "def check(" in task["tests"]:
        names["check"](candidate)


def run_call(task, case):
    _, function = load(task)
    args, kwargs, expected = case
    found = function(*args, **kwargs)
    found = list(found) if isinstance(found, tuple) else found
    assert found == expected or (isinstance(expected, list) and expected and found == expected[0]), found


def run_program(task, case):
    sys.stdin, printed = io.StringIO(case[0]), io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(task["sol"], {"__name__": "__main__"})
    assert printed.getvalue().split() == case[1].split(), printed.getvalue()


def cases_of(task):
    if task.get("tests") is not None:
        yield lambda: run_tests(task)
        return
    run = run_call if "entry_point" in task else run_program
    for case in task["cases"]:
        yield lambda case=case: run(task, case)


def judge(task):
    found = []
    for case in cases_of(task):
        signal.setitimer(signal.ITIMER_REAL, task["seconds"])
        try:
            case()
            found.append(("accepted", ""))
        except TimedOut:
            found.append(("time_limit", ""))
        except BaseException as error:
            found.append(("rejected", f"{type(error).__name__}: {error}"))
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        if found[-1][0] != "accepted" and not task["all_cases"]:
            break
    return found


out = sys.stdout.buffer
tasks = pickle.load(sys.stdin.buffer)
out.write(pickle.dumps([judge(task) for task in tasks]))
"""


class PlainVerifier:
    """Judges tasks in one interpreter."""

    limits = Limits(cpu_seconds=10.0)

    def verify(self, task: Any) -> Verdict:
        return self._judge([task])[0]

    async def averify(self, task: Any) -> Verdict:
        return self.verify(task)

    def verify_many(self, tasks: Iterable[Any], ordered: bool = True, repeat: int = 1) -> Iterator[Verdict]:
        yield from self._judge(list(tasks))

    def close(self) -> None:
        """It holds nothing."""

    def _judge(self, tasks: Sequence[FunctionTask | StdioTask]) -> list[Verdict]:
        fields = [{**vars_of(task), "seconds": (task.limits or self.limits).cpu_seconds} for task in tasks]
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM], input=pickle.dumps(fields), capture_output=True, timeout=600, check=True
        )
        results: list[list[tuple[str, str]]] = pickle.loads(done.stdout)
        return [verdict(task, found) for task, found in zip(tasks, results, strict=True)]


def vars_of(task: FunctionTask | StdioTask) -> dict[str, Any]:
    return {field.name: getattr(task, field.name) for field in dataclasses.fields(task) if field.name != "limits"}


def verdict(task: FunctionTask | StdioTask, found: list[tuple[str, str]]) -> Verdict:
    cases = tuple(CaseResult(Status(status), message, score=float(status == "accepted")) for status, message in found)
    wrong = next((case for case in cases if case.status is not Status.ACCEPTED), None)
    return Verdict(
        task.id,
        wrong.status if wrong else Status.ACCEPTED,
        message=wrong.message if wrong else "",
        cases=cases,
        passed=sum(case.status is Status.ACCEPTED for case in cases),
        total=len(task.cases) if task.cases is not None else len(cases),
    )


def accepts(task: FunctionTask | StdioTask) -> bool:
    """Return True if a plain interpreter finds the solution right."""
    return PlainVerifier().verify(task).accepted
