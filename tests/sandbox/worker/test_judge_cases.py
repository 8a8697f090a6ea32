"""Cases in the supervisor: equal bytes are accepted, the rest is compared elsewhere, and nothing forged is believed."""

from __future__ import annotations

import struct

import pytest

from selftaught.sandbox import FunctionTask, Limits, Status, StdioTask, codec, decision, judging, wire
from selftaught.sandbox.outcome import End, Outcome, Phase
from selftaught.sandbox.verdict import Verdict
from selftaught.sandbox.worker.cases import FunctionCases, StdioCases
from selftaught.sandbox.worker.codes import Codes
from selftaught.sandbox.worker.engine import do_nothing
from tests.sandbox.worker.sessions import Script, Stage, unreachable

READY = b"R" + codec.encode({"f": "function"}, 1000)
LIMITS = Limits()
CASES = [((1,), {}, 2), ((2,), {}, [4])]


def value(of: object) -> bytes:
    return b"V" + codec.encode(of, 1000)


def checked(code: bytes, score: float = 0.0, text: bytes = b"") -> bytes:
    return b"K" + code + struct.pack("<d", score) + text


def judge(
    solution: list[Script],
    check: Script | None = None,
    all_cases: bool = False,
    checker: str | None = None,
    prelude: str = "",
) -> tuple[Verdict, Stage]:
    stage = Stage({Phase.SERVE: solution, Phase.CHECK: [check or []]})
    task = FunctionTask("t", "sol", "f", cases=CASES, all_cases=all_cases, checker=checker, prelude=prelude)
    job = judging.pack(task, LIMITS)
    outcomes = FunctionCases(stage.open, unreachable, job, LIMITS, Codes(unreachable), do_nothing).execute()
    assert stage.all_closed()
    return decision.decide("t", outcomes, LIMITS, "full", "v"), stage


def test_equal_bytes_need_no_comparison() -> None:
    verdict, stage = judge([[READY, value(2), value([4])]])
    assert verdict.accepted and len(stage.opened) == 1


def test_the_solution_never_sees_what_is_expected() -> None:
    _, stage = judge([[READY, value(2), value([4])]])
    seen = b"".join(stage.opened[0].heard) + stage.opened[0].request.payload
    assert codec.encode([4], 100) not in seen


def test_other_bytes_are_compared_in_another_process_with_input_and_expectation() -> None:
    verdict, stage = judge([[READY, value(2), value([5])]], [b"K", checked(b"F", text=b"not 5")])
    assert stage.opened[1].heard == [codec.encode((((2,), {}), [5], [4]), 1000)]
    assert (verdict.status, verdict.phase, verdict.message) == (Status.REJECTED, "check", "not 5")


def test_with_a_checker_every_output_is_checked() -> None:
    verdict, stage = judge([[READY, value(2), value([4])]], [b"K", checked(b"T"), checked(b"T")], checker="c")
    assert verdict.accepted and len(stage.opened[1].heard) == 2


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (b"Sraised", Status.SOLUTION_ERROR),
        (b"wobject", Status.WRONG_TYPE),
        (b"L99999999", Status.OUTPUT_LIMIT),
        (b"m", Status.SOLUTION_ERROR),
        (b"V", Status.CRASHED),
        (b"V\xff", Status.CRASHED),
        (b"X" + codec.encode(2, 100), Status.CRASHED),
        (b"K" + b"T" + bytes(8), Status.CRASHED),
        (b"", Status.CRASHED),
        (Outcome(End.ACCEPTED), Status.CRASHED),
        (Outcome(End.ANSWER, payload=codec.encode(2, 100)), Status.CRASHED),
        (Outcome(End.CPU), Status.TIME_LIMIT),
        (Outcome(End.PUZZLE_ERROR), Status.SOLUTION_ERROR),
    ],
)
def test_no_other_reply_of_the_solution_accepts(reply: bytes | Outcome, status: Status) -> None:
    verdict, _ = judge([[READY, reply]])
    assert (verdict.status, verdict.decided_by) == (status, 0)


def test_the_prelude_is_blamed_only_if_it_does_not_load_alone() -> None:
    def blames() -> Outcome:
        return Outcome(End.PUZZLE_ERROR)

    verdict, stage = judge([[blames()], [Outcome(End.PUZZLE_ERROR)]], prelude="1 / 0")
    assert verdict.status is Status.TESTS_ERROR
    assert stage.opened[1].request.payload == judging.encode(("", ""))
    verdict, _ = judge([[blames()], [READY]], prelude="import math")
    assert verdict.status is Status.SOLUTION_ERROR
    verdict, stage = judge([[blames()]])
    assert verdict.status is Status.SOLUTION_ERROR and len(stage.opened) == 1


@pytest.mark.parametrize(
    "reply",
    [b"", b"K", checked(b"T")[:-1], b"X" + checked(b"T")[1:], checked(b"Z"), Outcome(End.ACCEPTED), Outcome(End.DIED)],
)
def test_no_malformed_comparison_accepts(reply: bytes | Outcome) -> None:
    verdict, _ = judge([[READY, value(3)]], [b"K", reply])
    assert verdict.status is Status.CRASHED and verdict.phase == "check"


def test_a_solution_that_ended_is_started_again_for_the_next_case() -> None:
    verdict, _ = judge([[READY, Outcome(End.DIED)], [READY, value([4])]], all_cases=True)
    assert [case.status for case in verdict.cases] == [Status.CRASHED, Status.ACCEPTED]


def test_a_solution_that_does_not_load_is_loaded_once() -> None:
    verdict, stage = judge([[Outcome(End.SOLUTION_ERROR, "no")]], all_cases=True)
    assert [case.status for case in verdict.cases] == [Status.SOLUTION_ERROR] * 2
    assert len(stage.opened) == 1


def test_a_score_counts_only_below_one_and_for_a_wrong_output() -> None:
    for score, counted in ((0.5, 0.25), (1.0, 0.0), (7.0, 0.0), (-1.0, 0.0), (float("nan"), 0.0)):
        verdict, _ = judge([[READY, value(3)]], [b"K", checked(b"F", score)])
        assert (verdict.status, verdict.score) == (Status.REJECTED, counted)


def program(outputs: list[Outcome], cases: list[tuple[str, str]], check: Script | None = None) -> tuple[Verdict, Stage]:
    stage = Stage({Phase.CHECK: [check or []]})
    job = judging.pack(StdioTask("t", "code", cases), LIMITS)
    outcomes = StdioCases(stage.open, lambda _: outputs.pop(0), job, LIMITS, Codes(unreachable), do_nothing).execute()
    return decision.decide("t", outcomes, LIMITS, "full", "v"), stage


def exited(stdout: bytes, code: int = 0, stderr: bytes = b"", cut: bool = False) -> Outcome:
    return Outcome(End.EXITED, observed=code, payload=wire.pack_output(stdout, stderr, cut))


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (exited(b"2"), Status.ACCEPTED),
        (exited(b"2", code=1), Status.SOLUTION_ERROR),
        (exited(b"2", code=-9), Status.SOLUTION_ERROR),
        (exited(b"2", cut=True), Status.OUTPUT_LIMIT),
        (Outcome(End.ACCEPTED), Status.CRASHED),
        (Outcome(End.ANSWER, payload=b"2"), Status.CRASHED),
        (Outcome(End.MEMORY), Status.MEMORY_LIMIT),
    ],
)
def test_a_program_is_accepted_for_its_output_and_a_clean_exit_alone(outcome: Outcome, status: Status) -> None:
    verdict, _ = program([outcome], [("1", "2")])
    assert verdict.status is status, verdict
