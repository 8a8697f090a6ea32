"""Run the bundled attack and honest cases on this host, at each level and on each engine that it reaches."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from queue import SimpleQueue
from typing import Any

from selftaught.sandbox import wire
from selftaught.sandbox.backends import LEVELS, WorkerConfig
from selftaught.sandbox.cases import Case, Step
from selftaught.sandbox.errors import CannotConfine, WorkerFailed
from selftaught.sandbox.jail import seccomp
from selftaught.sandbox.task import AnyTask, Task
from selftaught.sandbox.verdict import Verdict, printable
from selftaught.sandbox.verifier import Verifier

HONEST = Task(
    "honest", "def sat(x: int): return x * x == 1369", "def sol():\n    return next(i for i in range(99) if sat(i))"
)
"""Judged after each task of a case: it is accepted unless that task has left something behind."""

MOST_WORKERS = 2
"""How many cases run side by side unless more are asked for: each may use its whole memory limit."""

_SPARE_SECONDS = 5.0
"""What a verdict may take beyond the wall limits of its phases."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A case that came out otherwise.

    Attributes:
        case: The case.
        step: The number of its task, from 1.
        expected: What the verdict had to be.
        got: What came instead.
    """

    case: Case
    step: int
    expected: str
    got: str

    def __str__(self) -> str:
        return f"{self.case.id}, task {self.step}: expected {self.expected}; got {self.got}. Why: {self.case.why}"

    def to_dict(self) -> dict[str, Any]:
        """The failure as plain data, ready for JSON."""
        return {
            "case": self.case.id,
            "step": self.step,
            "expected": self.expected,
            "got": self.got,
            "why": self.case.why,
        }


@dataclass(slots=True)
class Result:
    """What the cases gave at one level on one engine.

    Attributes:
        level: The confinement level.
        engine: The engine; empty if the level was not reached.
        reason: Why nothing was run, or empty.
        failed: True if nothing was run because the verifier failed, though the level was reached before.
        run: Number of cases that were run, by kind.
        passed: Number of them that came out as expected, by kind.
        excluded: Number of cases that do not apply to this level and engine and were not run, by kind.
        failures: Those that came out otherwise.
    """

    level: str
    engine: str = ""
    reason: str = ""
    failed: bool = False
    run: Counter[str] = field(default_factory=Counter)
    passed: Counter[str] = field(default_factory=Counter)
    excluded: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)

    @property
    def title(self) -> str:
        """Level and engine, as shown."""
        return f"{self.level}, {self.engine}" if self.engine else self.level

    def add(self, case: Case, failure: Failure | None) -> None:
        """Count a case that was run."""
        self.run[case.kind] += 1
        if failure is None:
            self.passed[case.kind] += 1
        else:
            self.failures.append(failure)

    def to_dict(self) -> dict[str, Any]:
        """The result as plain data, ready for JSON."""
        kinds = {
            kind: {"passed": self.passed[kind], "run": self.run[kind], "excluded": self.excluded[kind]}
            for kind in sorted({*self.run, *self.excluded})
        }
        failures = [failure.to_dict() for failure in self.failures]
        return {
            "level": self.level,
            "engine": self.engine,
            "reason": self.reason,
            "failed": self.failed,
            "kinds": kinds,
            "failures": failures,
        }


def run_case(verifier: Verifier, case: Case) -> Failure | None:
    """Judge the tasks of a case and, after each, a task that must be accepted.

    Args:
        verifier: Has one worker, so that the tasks follow each other on it.
        case: Applies to the verifier's level and engine.

    Returns:
        The first task that came out otherwise, or None.
    """
    for number, step in enumerate(case.steps, 1):
        expected = step.expected_at(verifier.level)
        started = time.monotonic()
        verdict = verifier.verify(step.task)
        elapsed = time.monotonic() - started
        most = _phases_of(step.task) * (step.task.limits or verifier.limits).wall_seconds + _SPARE_SECONDS
        if not _is_as_expected(step, verdict, verifier.level):
            return Failure(case, number, str(expected), _describe(verdict))
        if elapsed > most:
            late = f"{_describe(verdict)} after {elapsed:.1f} s"
            return Failure(case, number, f"a verdict within {most:.1f} s", late)
        after = verifier.verify(HONEST)
        if not after.accepted:
            return Failure(case, number, "that the next task on the same worker is accepted", _describe(after))
    return None


def _phases_of(task: AnyTask) -> int:
    """Return how often the processes of a task may use their wall limit: once for each case, or both once."""
    cases = () if isinstance(task, Task) else task.cases or ()
    return 2 * max(1, len(cases))


def _is_as_expected(step: Step, verdict: Verdict, level: str) -> bool:
    expected = step.expected_at(level)
    unnamed = seccomp.nested() and "unnamed system call" in verdict.message  # see docs/engines.md, System calls
    return (
        verdict.status in expected.statuses
        and expected.phase in (None, verdict.phase)
        and (unnamed or expected.message in verdict.message)
        and all(getattr(verdict, name) == number for name, number in expected.numbers.items())
        and verdict.isolation == getattr(step.task, "isolation", "process")
        and verdict.message.isprintable()
        and verdict.level == level
    )


def _describe(verdict: Verdict) -> str:
    phase = f" in phase {verdict.phase}" if verdict.phase else ""
    message = f" ({printable(verdict.message)})" if verdict.message else ""
    passed = f", {verdict.passed} of {verdict.total} passed" if verdict.total else ""
    decided = f", decided by {verdict.decided_by}" if verdict.decided_by is not None else ""
    return f"{verdict.status}{phase} at level {verdict.level or 'none'}{message}{passed}{decided}, {verdict.isolation}"


def plan(config: WorkerConfig, levels: dict[str, Any]) -> Iterator[tuple[WorkerConfig, str]]:
    """Yield where cases are to be run.

    Args:
        config: What was asked for; engine ``auto`` stands for every engine.
        levels: What was found, by level, as `selftaught.sandbox.doctor.survey` returns it.

    Yields:
        A config of exactly one level and engine, and an empty text; or one of a level that can't be reached,
        and the reason.
    """
    engines = wire.ENGINES[::-1] if config.engine == "auto" else (config.engine,)
    for level, found in levels.items():
        backend = next(name for name, known in LEVELS.items() if level in known)
        own = replace(config, require=None) if backend == config.backend else WorkerConfig(backend=backend)
        if not found["reached"]:
            yield replace(own, level=level, engine="auto"), found["reason"]
            continue
        for engine in engines:
            yield replace(own, level=level, engine=engine), ""


def run(
    config: WorkerConfig,
    cases: Sequence[Case],
    workers: int,
    on_case: Callable[[Result, Case, Failure | None], None],
) -> Result:
    """Run the cases at one level on one engine.

    Args:
        config: Names one level and one engine.
        cases: Those that do not apply there are counted as excluded.
        workers: How many run side by side; each on a verifier of its own.
        on_case: Called in this thread after each case, in order.
    """
    assert config.level is not None
    result = Result(config.level, config.engine)
    chosen = [case for case in cases if case.applies_to(result.level, result.engine)]
    result.excluded.update(case.kind for case in cases if case not in chosen)
    with ExitStack() as stack:
        try:
            verifiers = _open(config, min(workers, len(chosen)), stack)
        except CannotConfine as error:  # the level is reached, so it is the engine that can't be had here
            result.reason = str(error)
            return result
        except (WorkerFailed, OSError) as error:
            result.reason, result.failed = f"the verifier failed: {error}", True
            return result

        def attempt(case: Case) -> Failure | None:
            verifier = verifiers.get()
            try:
                return run_case(verifier, case)
            except Exception as error:  # a failure of the verifier itself is never a pass
                return Failure(case, 1, "a verdict", f"{type(error).__name__}: {error}")
            finally:
                verifiers.put(verifier)

        executor = ThreadPoolExecutor(max(1, min(workers, len(chosen))))
        stack.callback(executor.shutdown, wait=False, cancel_futures=True)  # before the verifiers are closed
        for case, failure in zip(chosen, executor.map(attempt, chosen), strict=True):
            result.add(case, failure)
            on_case(result, case, failure)
    return result


def _open(config: WorkerConfig, number: int, stack: ExitStack) -> SimpleQueue[Verifier]:
    """Open verifiers with one worker each, on processors of their own as far as there are any."""
    verifiers: SimpleQueue[Verifier] = SimpleQueue()
    processors = sorted(os.sched_getaffinity(0))
    try:
        for i in range(number):
            os.sched_setaffinity(0, {processors[i % len(processors)]})  # else all would choose the same processor
            verifiers.put(stack.enter_context(Verifier.from_config(config, workers=1)))
    finally:
        os.sched_setaffinity(0, processors)
    return verifiers
