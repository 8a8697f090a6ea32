"""A worker that judges in this process: what is tested with it is what lies between a caller and a worker.

``python -m tests.sandbox.fake_worker serve ...`` is the command `selftaught` with such workers. Each of their jobs
takes as many seconds as the environment variable ``FAKE_WORKER_SECONDS`` says.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from selftaught.sandbox import Verifier, codec, judging, wire
from selftaught.sandbox.backends import WorkerConfig
from selftaught.sandbox.errors import WorkerFailed
from selftaught.sandbox.job import Job, Kind
from selftaught.sandbox.outcome import Counters, End, Outcome, Phase
from selftaught.sandbox.task import Limits

Judge = Callable[[], bool]


class FakeWorker:
    """Has the attributes and methods of `backends.worker.Worker`.

    Args:
        level: The level that it claims.
        seconds: How long each job takes.
    """

    def __init__(self, level: str, seconds: float = 0.0) -> None:
        self.level, self.engine, self.reason, self.python, self.pid = level, "fork", "", "CPython 0", 0
        self.proof: list[dict[str, Any]] = []
        self.counters = Counters()
        self.packages: dict[str, str] = {}
        self.jobs: list[Job] = []
        self._seconds, self._ready_at = seconds, 0.0
        self._waiting: deque[Job] = deque()

    def submit(self, jobs: list[Job]) -> None:
        """Take jobs, as they come out of the frames of the real one."""
        jobs = [wire.unpack_job(wire.pack_job(job)) for job in jobs]
        self.jobs += jobs
        self._waiting += jobs
        self._ready_at = time.monotonic() + self._seconds

    def ready(self, timeout_seconds: float) -> bool:
        """Wait for the next outcomes; return True if they are there."""
        time.sleep(min(max(self._ready_at - time.monotonic(), 0.0), timeout_seconds))
        return time.monotonic() >= self._ready_at

    def collect(self, timeout_seconds: float) -> list[Outcome]:
        """Return the outcomes of the oldest job."""
        if not self.ready(timeout_seconds):
            raise WorkerFailed("the worker did not answer")
        return wire.unpack_outcomes(wire.pack_outcomes(judge(self._waiting.popleft())))

    def interrupt(self) -> None:
        """Nothing blocks for long."""

    kill = abandon = close = interrupt


class FakeBackend:
    """Starts fake workers."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.workers: list[FakeWorker] = []
        self._seconds = seconds

    def start(self, level: str, limits: Limits, processor: int | None = None) -> FakeWorker:
        """Start a worker."""
        self.workers.append(FakeWorker(level, self._seconds))
        return self.workers[-1]


@contextmanager
def fake_verifier(seconds: float = 0.0, **options: Any) -> Iterator[Verifier]:
    """Open a verifier with a fake worker."""
    with mock.patch.object(WorkerConfig, "open", lambda self: FakeBackend(seconds)):
        verifier = Verifier(workers=1, **options)
    with verifier:
        yield verifier


def judge(job: Job) -> list[Outcome]:
    """Return the outcomes of a job, without limits and without confinement."""
    if job.kind is Kind.PUZZLE:
        try:
            return _puzzle(job)
        except Exception as error:
            return [Outcome(End.SOLUTION_ERROR, repr(error))]
    if job.kind in (Kind.TESTS, Kind.SHARED):
        tests = judging.unpack_tests(job.sat)
        phase = Phase.SHARED if job.kind is Kind.SHARED else Phase.TESTS
        return _outcomes([lambda: _tests_pass(tests, job)], phase, tests.all_cases)
    cases = judging.unpack_cases(job.sat)
    one = _prints if job.kind is Kind.STDIO else _returns
    judges: list[Judge] = [lambda case=case: one(cases, job, *case) for case in cases.cases]  # type: ignore[misc]
    return _outcomes(judges, Phase.RUN if job.kind is Kind.STDIO else Phase.SERVE, cases.all_cases)


def _outcomes(judges: list[Judge], phase: Phase, all_cases: bool) -> list[Outcome]:
    found = []
    for number, each in enumerate(judges):
        try:
            end, detail = (End.ACCEPTED, "") if each() else (End.REJECTED, "not what is expected")
        except AssertionError as error:
            end, detail = End.REJECTED, str(error)
        except Exception as error:
            end, detail = End.SOLUTION_ERROR, repr(error)
        found.append(Outcome(end, detail, cpu_seconds=0.001, wall_seconds=0.002, phase=phase, case=number))
        if end is not End.ACCEPTED and not all_cases:
            break
    return [*found, Outcome(End.TOTAL, observed=len(judges))]


def _load(*sources: str | bytes) -> dict[str, Any]:
    scope: dict[str, Any] = {}
    for source in sources:
        exec(source, scope)
    return scope


def _puzzle(job: Job) -> list[Outcome]:
    scope = _load(job.sat)
    try:
        answer = eval(job.sol, scope)
    except SyntaxError:
        scope = _load(job.sat, job.sol)
        answer = (scope.get("sol") or scope["g"])()
    end = End.ACCEPTED if (scope.get("sat") or scope["f"])(answer) is True else End.REJECTED
    return [Outcome(End.ANSWER, payload=bytes(32)), Outcome(end, phase=Phase.SAT)]


def _candidate(scope: dict[str, Any], entry_point: str) -> Any:
    name, _, method = entry_point.partition(".")
    return getattr(scope[name](), method) if method else scope[name]


def _returns(cases: judging.Cases, job: Job, arguments: bytes, expected: bytes) -> bool:
    function = _candidate(_load(cases.prelude, job.sol), cases.entry_point)
    args, kwargs = codec.decode(arguments)  # type: ignore[misc]
    output = function(*args, **kwargs)
    if cases.checker:
        return bool(_load(cases.checker)["check"]((args, kwargs), output, codec.decode(expected)))
    return judging.encode(output) == expected


def _prints(cases: judging.Cases, job: Job, stdin: bytes, expected: bytes) -> bool:
    lines, printed = iter(stdin.decode().splitlines()), list[str]()
    scope = {
        "__name__": "__main__",
        "input": lambda: next(lines),
        "print": lambda *values: printed.extend(map(str, values)),
    }
    exec(job.sol, scope)
    return printed == expected.decode().split()


def _tests_pass(tests: judging.Tests, job: Job) -> bool:
    scope = _load(tests.prelude, job.sol, tests.tests)
    if "check" in scope:
        scope["check"](_candidate(scope, tests.entry_point))
    for name, test in list(scope.items()):
        if name.startswith("test_"):
            test()
    return True


if __name__ == "__main__":
    pause = float(os.environ.get("FAKE_WORKER_SECONDS", "0"))
    WorkerConfig.open = lambda self: FakeBackend(pause)  # type: ignore[method-assign, assignment, return-value]
    from selftaught.sandbox.cli import main

    main()
