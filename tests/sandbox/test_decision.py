"""The pure functions from outcomes to a verdict."""

from __future__ import annotations

import pytest

from selftaught.sandbox import Limits, Status, Verdict, decision
from selftaught.sandbox.wire import End, Outcome


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
