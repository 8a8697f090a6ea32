"""What is judged again after a mismatch, and what is counted."""

from __future__ import annotations

import pytest

from sandbox import wire
from sandbox.task import Limits
from sandbox.wire import End, Job, Outcome
from sandbox.worker.inside.phase import SAT, SOL
from sandbox.worker.snapshot import unconfirmed
from sandbox.worker.snapshot.unconfirmed import ROOM_BYTES, Unconfirmed


class Other:
    """An engine that rejects the answer 7 and accepts all others."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []

    def run(self, phase: int, sat: bytes, payload: bytes, limits: Limits, seed: int, resumable: bool = False) -> Outcome:
        self.asked.append(payload)
        return Outcome(End.REJECTED if payload == b"7" else End.ACCEPTED)


class Solver:
    """An engine on which a solution answers what it is, and every answer but 7 is accepted."""

    def run(self, phase: int, sat: bytes, payload: bytes, limits: Limits, seed: int, resumable: bool = False) -> Outcome:
        if phase == SOL:
            return Outcome(End.ANSWER, payload=payload)
        return Outcome(End.REJECTED if payload == b"7" else End.ACCEPTED)


def told_of_tasks(*tasks: tuple[bytes, bytes, End]) -> Unconfirmed:
    """Of each its solution, its answer, and its end."""
    made = Unconfirmed()
    frames = [wire.frame(wire.pack_job(Job(b"", sol, Limits()))) for sol, _, _ in tasks]
    ends = [[Outcome(End.ANSWER, payload=wire.digest(answer)), Outcome(end)] for _, answer, end in tasks]
    outcomes = [wire.frame(wire.pack_counters(wire.Counters()) + wire.pack_outcomes(each)) for each in ends]
    made.add_tasks(b"".join(frames), b"".join(outcomes))
    return made


def told(*answers: bytes) -> Unconfirmed:
    made = Unconfirmed()
    for answer in answers:
        made.add(SAT, b"", answer, Limits(), 0, Outcome(End.ACCEPTED))
    return made


def test_each_is_judged_again_once_and_the_different_ones_are_counted() -> None:
    other, made = Other(), told(b"6", b"7", b"8")
    assert made.judge_again(other) == 1  # type: ignore[arg-type]
    assert other.asked == [b"6", b"7", b"8"]
    assert made.judge_again(other) == 0  # type: ignore[arg-type]


def test_of_tasks_that_were_judged_at_once_both_phases_are_judged_again() -> None:
    same, other_end, other_answer = (b"6", b"6", End.ACCEPTED), (b"7", b"7", End.ACCEPTED), (b"8", b"9", End.ACCEPTED)
    for tasks, changed in (((same, same), 0), ((same, other_end), 1), ((other_answer, same), 2), ((other_end, other_answer), 3)):
        made = told_of_tasks(*tasks)
        assert made.judge_again(Solver()) == changed  # type: ignore[arg-type]
        assert made.judge_again(Solver()) == 0  # type: ignore[arg-type]


def test_what_was_confirmed_is_not_judged_again() -> None:
    other, made = Other(), told(b"7")
    made.confirm()
    assert made.judge_again(other) == 0 and not other.asked  # type: ignore[arg-type]


def test_what_there_is_no_time_for_counts_as_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unconfirmed, "_SECONDS", -1.0)
    other = Other()
    assert told(b"6", b"8").judge_again(other) == 2 and not other.asked  # type: ignore[arg-type]


def test_a_comparison_is_due_when_much_is_kept_and_not_before() -> None:
    assert not told(b"6" * ROOM_BYTES).full
    assert told(b"6" * ROOM_BYTES, b"7").full
