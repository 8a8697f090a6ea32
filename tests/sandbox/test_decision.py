"""The pure functions from outcomes to a verdict."""

from __future__ import annotations

import pytest

from selftaught.sandbox import Ending, Limits, Run, Status, Verdict, decision, wire
from selftaught.sandbox.outcome import End, Outcome, Phase


def verdict(*outcomes: Outcome) -> Verdict:
    return decision.decide("x", list(outcomes), Limits(), "full", "v")


@pytest.mark.parametrize("end", list(End), ids=lambda end: end.name)
def test_only_the_puzzles_own_phase_can_accept(end: End) -> None:
    assert not verdict(Outcome(end)).accepted
    assert verdict(Outcome(End.ANSWER), Outcome(end)).accepted == (end is End.ACCEPTED)


def test_usage_adds_up_over_the_phases() -> None:
    first = Outcome(End.ANSWER, cpu_seconds=1, wall_seconds=2, peak_memory_bytes=7)
    usage = verdict(first, Outcome(End.REJECTED, cpu_seconds=3, wall_seconds=4, peak_memory_bytes=5)).usage
    assert (usage.cpu_seconds, usage.wall_seconds, usage.peak_memory_bytes) == (4, 6, 7)


@pytest.mark.parametrize(
    ("end", "name"),
    [
        (End.CPU, "cpu_seconds"),
        (End.WALL, "wall_seconds"),
        (End.MEMORY, "memory_bytes"),
        (End.OUTPUT, "output_bytes"),
        (End.TOO_LARGE, "answer_bytes"),
    ],
)
def test_the_limit_that_was_hit_is_named_with_its_value(end: End, name: str) -> None:
    hit = verdict(Outcome(end, observed=9e9)).limit
    assert hit is not None
    assert (hit.name, hit.configured, hit.observed) == (name, getattr(Limits(), name), 9e9)


def test_a_message_cannot_speak_to_a_terminal() -> None:
    assert verdict(Outcome(End.SOLUTION_ERROR, "\x1b[2J\r\nhidden\x07")).message.isprintable()


def test_repeats_combine_and_an_unjudged_one_is_never_hidden() -> None:
    right, wrong = Verdict("x", Status.ACCEPTED), Verdict("x", Status.REJECTED)
    failed = Verdict("x", Status.INTERNAL_ERROR)
    assert decision.combine([right, right]) is right
    assert decision.combine([right, wrong]).status is Status.UNSTABLE
    assert decision.combine([right, failed, wrong]) is failed


def _run(end: End, observed: float = 0.0, cut: bool = False, return_code: int = 0) -> Run:
    payload = wire.pack_output(b"out", b"err", cut, return_code=return_code)
    outcome = Outcome(end, "why", observed, 0.5, 1.5, 7, payload, phase=Phase.RUN)
    return decision.describe("p", [outcome], Limits(output_bytes=3), "full", "v")


def test_a_run_that_ended_for_memory_keeps_its_return_code() -> None:
    found = _run(End.MEMORY, observed=5e9, return_code=1)
    assert (found.ending, found.return_code, found.stdout, found.stderr) == (Ending.MEMORY_LIMIT, 1, "out", "err")
    assert found.limit is not None and (found.limit.name, found.limit.observed) == ("memory_bytes", 5e9)


@pytest.mark.parametrize(
    ("end", "ending", "name"),
    [
        (End.EXITED, Ending.OUTPUT_LIMIT, "output_bytes"),
        (End.DIED, Ending.OUTPUT_LIMIT, "output_bytes"),
        (End.CPU, Ending.TIME_LIMIT, "cpu_seconds"),
        (End.WALL, Ending.TIME_LIMIT, "wall_seconds"),
        (End.MEMORY, Ending.MEMORY_LIMIT, "memory_bytes"),
        (End.FORBIDDEN, Ending.FORBIDDEN, None),
    ],
)
def test_output_that_was_cut_is_the_limit_unless_something_else_ended_the_run(
    end: End, ending: Ending, name: str | None
) -> None:
    found = _run(end, cut=True)
    assert (found.ending, found.limit and found.limit.name, found.cut) == (ending, name, True)
