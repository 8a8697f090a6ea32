"""How long a task with tests or cases may run before others get their turn: it starts over each time."""

from __future__ import annotations

from typing import Any

import pytest

from selftaught.sandbox import Limits, time_slice
from selftaught.sandbox.job import Job, Kind, Turn
from selftaught.sandbox.outcome import End, Outcome
from selftaught.sandbox.time_slice import Needed
from selftaught.sandbox.worker.phases import TaskExecutor


class Judge:
    """Needs as much CPU time for each of three cases as the solution says; tests have one limit for all cases."""

    def __init__(self) -> None:
        self.given: list[float] = []

    def execute(self, job: Job, limits: Limits) -> list[Outcome]:
        self.given.append(limits.cpu_seconds)
        needed = float(job.sol)
        if needed * (1 if job.kind is Kind.CASES else 3) > limits.cpu_seconds:
            return [Outcome(End.CPU, cpu_seconds=limits.cpu_seconds), Outcome(End.TOTAL)]
        cases = [Outcome(End.ACCEPTED, cpu_seconds=needed, case=number) for number in range(3)]
        return [*cases, Outcome(End.TOTAL, observed=3.0)]


class Verifier:
    """Sends an executor one job after another, and knows what they needed."""

    def __init__(self) -> None:
        nothing: Any = None
        self.executor, self.needed, self.judge = TaskExecutor(nothing, nothing, nothing, nothing), Needed(), Judge()
        self.executor._judge = self.judge  # type: ignore[assignment]

    def ends(self, judge: bytes, needed: float, turn: Turn = Turn.SLICE, kind: Kind = Kind.TESTS) -> bool:
        """Return True if such a task ends at this turn, after many that needed little."""
        for _ in range(300):
            self.executor.time_slice.phase_ended(0.001)
        return self.ends_next(judge, needed, turn, kind)

    def ends_next(self, judge: bytes, needed: float, turn: Turn = Turn.SLICE, kind: Kind = Kind.TESTS) -> bool:
        """Return True if such a task ends at this turn."""
        job = Job(judge, str(needed).encode(), Limits(cpu_seconds=5), kind=kind, turn=turn)
        job.slice_seconds = self.needed.slice_seconds(job)
        outcomes = self.executor.execute(job)
        self.needed.note(job, outcomes)
        return outcomes[0].end is End.ACCEPTED


@pytest.fixture
def verifier() -> Verifier:
    return Verifier()


def test_what_is_judged_by_tests_that_took_long_gets_the_time_for_it(verifier: Verifier) -> None:
    assert not verifier.ends(b"long", 0.05) and verifier.ends(b"long", 0.05, Turn.WHOLE)
    assert verifier.ends(b"long", 0.06) and not verifier.ends(b"others", 0.05)


def test_an_endless_loop_takes_that_time_once(verifier: Verifier) -> None:
    assert verifier.ends(b"long", 0.05, Turn.WHOLE)
    assert not any(verifier.ends(b"long", 9.0) for _ in range(3))
    _, first, *later = verifier.judge.given
    assert first == pytest.approx(0.3) and max(later) <= time_slice.LONGEST_SECONDS


def test_tests_that_take_very_long_get_no_slice_for_it(verifier: Verifier) -> None:
    assert verifier.ends(b"very long", 1.0, Turn.WHOLE) and not verifier.ends(b"very long", 1.0)
    assert verifier.judge.given[-1] < time_slice.LONGEST_SECONDS
    assert verifier.ends(b"long", 0.15, Turn.WHOLE) and verifier.ends(b"long", 0.16)
    assert verifier.judge.given[-1] == time_slice.LONGEST_KNOWN_SECONDS


@pytest.mark.parametrize(("kind", "needed"), [(Kind.TESTS, 0.021), (Kind.CASES, 0.063)])
def test_a_slice_has_room_for_twice_what_others_needed_of_late(verifier: Verifier, kind: Kind, needed: float) -> None:
    """In tests all cases have one limit, so that is the time of all of them."""
    assert verifier.ends(b"first", needed / 2, Turn.WHOLE, kind)
    assert verifier.ends_next(b"second", needed * 0.8, kind=kind)
