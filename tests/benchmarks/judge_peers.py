"""The judges that are compared. A peer makes a context manager that yields a function: judge these problems' solutions,
each with a line of its own at the end, and return how many got which status.

Start-up of a pool is not measured; start-up that a judge pays for every task is.
"""

from __future__ import annotations

import contextlib
import functools
import json
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from selftaught.sandbox import Verifier
from tests.benchmarks.other_judges import JUDGES
from tests.benchmarks.problems import SECONDS, Problem
from tests.benchmarks.workloads import ROOT

WORKERS = 2
CLIENTS = 4
"""Requests that are sent to a daemon at a time."""
PEERS_FOLDER = ROOT / "out" / "peers"

Asked = list[tuple[int, str]]
"""Numbers of problems, each with the text that makes its solution another one."""
JudgeMany = Callable[[Asked], Counter[str]]


@dataclass(frozen=True, slots=True)
class Peer:
    """make: opens the judge, given all problems. for_tests, for_cases: which problems it judges."""

    make: Callable[[list[Problem]], AbstractContextManager[JudgeMany]]
    for_tests: bool = True
    for_cases: bool = True

    def judges(self, problem: Problem) -> bool:
        return self.for_cases if problem.cases else self.for_tests


@contextlib.contextmanager
def selftaught(problems: list[Problem], engine: str = "auto", workers: int = WORKERS) -> Iterator[JudgeMany]:
    """This project at level `full`. Raises CannotConfine if the host can't do it."""
    with Verifier(workers=workers, level="full", engine=engine) as verifier:

        def judge(asked: Asked) -> Counter[str]:
            tasks = (problems[number].task(answer) for number, answer in asked)
            if len(asked) == 1:
                return Counter([verifier.verify(next(tasks)).status.value])
            found: Counter[str] = Counter()
            for verdict in verifier.verify_many(tasks):
                found[verdict.status.value if verdict.accepted else f"{verdict.status.value} ({verdict.id})"] += 1
            return found

        yield judge
        if verifier.counters.mismatches:
            raise RuntimeError(f"{verifier.counters.mismatches} rollbacks left a difference")


@contextlib.contextmanager
def other(problems: list[Problem], name: str) -> Iterator[JudgeMany]:
    """A judge in a process of its own. Raises RuntimeError with the reason if there is none."""
    command = [sys.executable, str(Path(__file__).with_name("other_judges.py")), name, str(SECONDS), str(PEERS_FOLDER)]
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        ) as process,
    ):
        assert process.stdin and process.stdout
        questions, answers = process.stdin, process.stdout

        def ask(question: object) -> str:
            questions.write(json.dumps(question) + "\n")
            questions.flush()
            answer: str = answers.readline()
            if answer:
                return answer
            log.seek(0)
            raise RuntimeError((log.read().rstrip() or "it ended").rpartition("\n")[2])

        def judge(asked: Asked) -> Counter[str]:
            accepted = int(ask(asked))
            return +Counter(accepted=accepted, refused=len(asked) - accepted)

        try:
            ask([asdict(problem) for problem in problems])
            yield judge
        finally:
            with contextlib.suppress(BrokenPipeError):
                questions.close()


class _Connection:
    """A persistent connection to a daemon."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._answers = self._socket.makefile("rb")

    def run(self, code: str, given: str) -> str | None:
        """Return what a program prints, or None if it fails."""
        body = json.dumps({"code": code, "stdin": given, "language": "python", "run_timeout": SECONDS}).encode()
        head = "POST /run_code HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        self._socket.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        size = 0
        while (line := self._answers.readline()) not in (b"\r\n", b""):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                size = int(value)
        answer: dict[str, Any] = json.loads(self._answers.read(size))
        return answer["run_result"]["stdout"] if answer["status"] == "Success" else None

    def close(self) -> None:
        self._answers.close()
        self._socket.close()


@contextlib.contextmanager
def run_code(problems: list[Problem], checkout: Path = ROOT, python: str = sys.executable) -> Iterator[JudgeMany]:
    """`POST /run_code` of a checkout's daemon for each case, compared here. Requests are sent `CLIENTS` at a time,
    each on a connection of its own.
    """
    with _daemon(checkout, python) as port, ThreadPoolExecutor(CLIENTS) as threads:

        def judge(asked: Asked) -> Counter[str]:
            tasks = [problems[number].task(answer) for number, answer in asked]
            cases = [(task.sol, *case) for task in tasks for case in task.cases or ()]
            owners = [number for number, task in enumerate(tasks) for _ in task.cases or ()]
            with contextlib.ExitStack() as stack:  # the daemon closes idle connections
                free: SimpleQueue[_Connection] = SimpleQueue()
                for _ in range(min(CLIENTS, len(cases))):
                    free.put(stack.enter_context(contextlib.closing(_Connection(port))))

                def one(case: tuple[str, Any, Any]) -> bool:
                    connection = free.get()
                    try:
                        return connection.run(*case[:2]) == case[2]
                    finally:
                        free.put(connection)

                passed = list(threads.map(one, cases))
            wrong = {task for task, right in zip(owners, passed, strict=True) if not right}
            return +Counter(accepted=len(asked) - len(wrong), refused=len(wrong))

        yield judge


@contextlib.contextmanager
def _daemon(checkout: Path, python: str) -> Iterator[int]:
    """Start the daemon of a checkout. Yields its port."""
    command = [python, "-m", "selftaught.sandbox.cli", "serve", "--port", "0", "--workers", str(WORKERS)]
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(
            [*command, "--require", "restricted"], cwd=checkout, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        ) as process,
    ):
        try:
            deadline = time.monotonic() + 30
            while True:
                log.seek(0)
                said = log.read()
                if found := re.search(r"127\.0\.0\.1:(\d+)", said):
                    break
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the daemon of {checkout} did not start: {said[-500:]}")
                time.sleep(0.05)
            yield int(found[1])
        finally:
            process.terminate()


_BOTH = {"floor", "sandlock", "python"}
_FOR_CASES = {"livecodebench", "prime-code", "prime-code-1"}

PEERS: dict[str, Peer] = {
    "full": Peer(selftaught),
    "full-1": Peer(functools.partial(selftaught, workers=1)),
    "full-fork": Peer(functools.partial(selftaught, engine="fork")),
    **{
        name: Peer(
            functools.partial(other, name=name),
            for_tests=name not in _FOR_CASES,
            for_cases=name in _BOTH or name in _FOR_CASES,
        )
        for name in JUDGES
    },
    "run_code": Peer(run_code, for_tests=False),
}
