"""The relay between tests and a solution: whatever either side says, only the tests' own report accepts."""

from __future__ import annotations

import struct

import pytest

from selftaught.sandbox import FunctionTask, Limits, Status, codec, decision, judging
from selftaught.sandbox.outcome import NO_CASE, End, Outcome, Phase
from selftaught.sandbox.verdict import Verdict
from selftaught.sandbox.worker.codes import Codes
from selftaught.sandbox.worker.engine import do_nothing
from selftaught.sandbox.worker.relay import Relay
from tests.sandbox.worker.sessions import Script, Stage, unreachable

READY = b"R" + codec.encode({"f": "function"}, 1000)
LIMITS = Limits()


def asks(case: int, value: object = 1) -> bytes:
    return b"X" + struct.pack("<I", case) + codec.encode(value, 1000)


def says(value: object) -> bytes:
    return b"X" + codec.encode(value, 1000)


def failed(case: int, text: bytes = b"why") -> bytes:
    return b"F" + struct.pack("<I", case) + b"a" + text


def ends(total: int, case: int = NO_CASE, code: bytes = b"T", text: bytes = b"") -> Outcome:
    return Outcome(End.ANSWER, payload=struct.pack("<IIc", total, case, code) + text)


def judge(
    solution: list[Script],
    tests: list[Script],
    all_cases: bool = False,
    prelude: str = "",
    codes: Codes | None = None,
) -> tuple[Verdict, Stage]:
    stage = Stage({Phase.SERVE: solution, Phase.TESTS: tests})
    task = FunctionTask("t", "sol", "f", tests="tests", prelude=prelude, all_cases=all_cases)
    outcomes = Relay(stage.open, judging.pack(task, LIMITS), LIMITS, codes or Codes(unreachable), do_nothing).execute()
    assert stage.all_closed()
    return decision.decide("t", outcomes, LIMITS, "full", "v"), stage


def test_requests_and_answers_pass_unchanged_and_the_tests_report_decides() -> None:
    verdict, stage = judge([[READY, says(3), says([4])]], [[asks(0, (1, 2)), asks(0, "x"), ends(1)]])
    solution, tests = stage.opened
    assert solution.heard == [says((1, 2)), says("x")]
    assert tests.heard == [says(3), says([4])]
    assert verdict.accepted and (verdict.passed, verdict.total) == (1, 1)


def test_the_code_that_tests_send_first_is_run_the_next_time() -> None:
    codes = Codes(unreachable)
    first, stage = judge([[READY, says(3)]], [[b"Ccode", asks(0), ends(1)]], codes=codes)
    assert stage.opened[1].request.sends_code and stage.opened[1].heard == [b"", says(3)]
    then, stage = judge([[READY, says(3)]], [[asks(0), ends(1)]], codes=codes)
    request = stage.opened[1].request
    assert (request.sat, request.source, request.sends_code) == (b"code", b"tests", False)
    assert first == then and first.accepted


@pytest.mark.parametrize("late", [[b"Cother"], [asks(0), b"Cother"]], ids=["kept already", "after a request"])
def test_code_that_nobody_has_asked_for_is_not_kept(late: Script) -> None:
    codes = Codes(unreachable)
    if late[0] == b"Cother":
        codes.keep_tests(b"tests", b"code")
    verdict, _ = judge([[READY, says(3), says(3)]], [[*late, ends(1)]], codes=codes)
    assert verdict.status is Status.CRASHED
    assert codes.of_tests(b"tests") == (b"code" if late[0] == b"Cother" else None)


def test_a_solution_can_not_send_the_code_of_its_tests() -> None:
    codes = Codes(unreachable)
    verdict, _ = judge([[b"Cown"]], [], codes=codes)
    assert verdict.status is Status.CRASHED and codes.of_tests(b"tests") is None


def test_the_solution_never_hears_of_the_tests() -> None:
    _, stage = judge([[READY, says(3)]], [[asks(0), ends(1)]])
    request = stage.opened[0].request
    assert b"tests" not in request.sat + request.payload


def test_what_the_tests_report_is_the_verdict() -> None:
    for code, status in ((b"a", Status.REJECTED), (b"w", Status.WRONG_TYPE), (b"p", Status.TESTS_ERROR)):
        verdict, _ = judge([[READY, says(3)]], [[asks(1), ends(3, 1, code, b"why")]])
        assert (verdict.status, verdict.message, verdict.decided_by) == (status, "why", 1)
        assert (verdict.passed, verdict.total) == (1, 3)


@pytest.mark.parametrize(
    "report",
    [
        Outcome(End.ACCEPTED),
        Outcome(End.REJECTED),
        Outcome(End.ANSWER),
        Outcome(End.ANSWER, payload=b"\1\0\0\0"),
        Outcome(End.ANSWER, payload=struct.pack("<IIc", 1, NO_CASE, b"Z")),
        Outcome(End.ANSWER, payload=struct.pack("<IIc", 0, NO_CASE, b"T")),
        Outcome(End.ANSWER, payload=struct.pack("<IIc", 1 << 30, NO_CASE, b"T")),
        Outcome(End.DIED),
        Outcome(End.PUZZLE_ERROR),
        b"",
        b"X",
        b"X\0\0\0",
        b"F\0\0\0",
        asks(1 << 31),
    ],
)
def test_no_other_end_of_the_tests_accepts(report: bytes | Outcome) -> None:
    verdict, _ = judge([[READY, says(3), says(3)]], [[asks(0), report]])
    assert verdict.status in (Status.CRASHED, Status.TESTS_ERROR, Status.REJECTED), verdict
    assert not verdict.accepted


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"X",
        b"X\xff",
        b"V" + codec.encode(3, 100),
        b"R" + codec.encode(3, 100),
        says(3) + b"\0",
        b"E",
        Outcome(End.ANSWER, payload=struct.pack("<IIc", 1, NO_CASE, b"T")),
        Outcome(End.ACCEPTED),
        Outcome(End.REJECTED),
        Outcome(End.PUZZLE_ERROR),
        Outcome(End.DIED),
    ],
)
def test_nothing_malformed_from_the_solution_reaches_the_tests_or_accepts(reply: bytes | Outcome) -> None:
    verdict, stage = judge([[READY, reply]], [[asks(0), ends(1)]])
    assert stage.opened[1].heard == []
    assert verdict.status in (Status.CRASHED, Status.SOLUTION_ERROR), verdict
    assert verdict.phase == "sol"


def test_the_prelude_is_blamed_only_if_it_does_not_load_alone() -> None:
    def blames() -> Outcome:
        return Outcome(End.PUZZLE_ERROR)

    verdict, stage = judge([[blames()], [Outcome(End.PUZZLE_ERROR)]], [], prelude="1 / 0")
    assert verdict.status is Status.TESTS_ERROR
    assert stage.opened[1].request.payload == judging.encode(("", ""))
    verdict, _ = judge([[blames()], [READY]], [], prelude="import math")
    assert verdict.status is Status.SOLUTION_ERROR
    verdict, stage = judge([[blames()]], [])
    assert verdict.status is Status.SOLUTION_ERROR and len(stage.opened) == 1


@pytest.mark.parametrize("first", [b"", b"R", b"R\xff", b"X", ends(1), Outcome(End.ACCEPTED), Outcome(End.DIED)])
def test_a_solution_that_does_not_begin_as_it_must_meets_no_tests(first: bytes | Outcome) -> None:
    verdict, stage = judge([[first]], [])
    assert len(stage.opened) == 1
    assert verdict.status is Status.CRASHED


def test_after_a_failure_the_other_cases_run_on_request() -> None:
    tests: Script = [asks(0), failed(0), asks(1), asks(2), failed(2), ends(4)]
    verdict, stage = judge([[READY, says(1), says(2), says(3)]], [tests], all_cases=True)
    assert [case.status for case in verdict.cases] == [
        Status.REJECTED,
        Status.ACCEPTED,
        Status.REJECTED,
        Status.ACCEPTED,
    ]
    assert (verdict.status, verdict.decided_by, verdict.passed, verdict.total) == (Status.REJECTED, 0, 2, 4)
    assert stage.opened[1].heard == [says(1), b"", says(2), says(3), b""]


def test_a_solution_that_ended_is_started_again_for_the_next_case() -> None:
    solutions: list[Script] = [[READY, Outcome(End.DIED, "gone")], [READY, says(2)]]
    tests: Script = [asks(0), asks(0), asks(1), ends(2)]
    verdict, stage = judge(solutions, [tests], all_cases=True)
    assert [case.status for case in verdict.cases] == [Status.CRASHED, Status.ACCEPTED]
    assert stage.opened[1].heard == [b"", b"", says(2)]


def test_tests_that_ended_are_started_again_after_their_case() -> None:
    tests: list[Script] = [[asks(0), asks(1), Outcome(End.CPU)], [asks(2), ends(4)]]
    verdict, stage = judge([[READY, says(0), says(1), says(2)]], tests, all_cases=True)
    assert [case.status for case in verdict.cases] == [
        Status.ACCEPTED,
        Status.TIME_LIMIT,
        Status.ACCEPTED,
        Status.ACCEPTED,
    ]
    *_, first_case = codec.decode(stage.opened[-1].request.payload)  # type: ignore[misc]
    assert first_case == 2


def test_processes_are_started_again_a_limited_number_of_times() -> None:
    solutions: list[Script] = [[READY, Outcome(End.DIED)] for _ in range(200)]
    tests: Script = [asks(number) for number in range(200)]
    verdict, _ = judge(solutions, [tests], all_cases=True)
    assert len(verdict.cases) == judging.MOST_RESUMED + 1
    assert verdict.status is Status.CRASHED
    ended: list[Script] = [[asks(number), Outcome(End.CPU)] for number in range(200)]
    verdict, _ = judge([[READY, *[says(1)] * 200]], ended, all_cases=True)
    assert len(verdict.cases) == judging.MOST_RESUMED + 1
    assert verdict.status is Status.TIME_LIMIT


def test_a_case_that_failed_stays_failed_whatever_the_tests_report_later() -> None:
    verdict, _ = judge([[READY, Outcome(End.DIED)]], [[asks(0), ends(1)]], all_cases=True)
    assert verdict.status is Status.CRASHED


def test_what_both_processes_used_is_charged_to_the_case() -> None:
    verdict, _ = judge([[READY, says(1), says(1)]], [[asks(0), asks(1), ends(2)]])
    assert sum(case.usage.cpu_seconds for case in verdict.cases) == verdict.usage.cpu_seconds > 0
    assert verdict.usage.peak_memory_bytes == 1000


@pytest.mark.parametrize(
    ("reply", "status"),
    [(b"L99999999", Status.OUTPUT_LIMIT), (b"Lmuch", Status.OUTPUT_LIMIT), (b"mfull", Status.SOLUTION_ERROR)],
)
def test_a_result_that_is_too_large_or_lacks_memory_ends_its_case(reply: bytes, status: Status) -> None:
    verdict, _ = judge([[READY, reply]], [[asks(0)]])
    assert (verdict.status, verdict.phase, verdict.decided_by) == (status, "sol", 0)
    verdict, stage = judge([[READY, reply, says(1)]], [[asks(0), asks(1), ends(2)]], all_cases=True)
    assert [case.status for case in verdict.cases] == [status, Status.ACCEPTED]
    assert stage.opened[1].heard == [b"", says(1)]


def test_cases_that_ended_processes_have_failed_also_where_too_many_did() -> None:
    many = judging.MOST_RESUMED + 1
    solutions: list[Script] = [[READY, Outcome(End.DIED)] for _ in range(many)]
    verdict, _ = judge(solutions, [[asks(case) for case in range(many)]], all_cases=True)
    assert {case.status for case in verdict.cases} == {Status.CRASHED} and len(verdict.cases) == many
    assert (verdict.passed, verdict.total, verdict.score, verdict.decided_by) == (0, 0, 0.0, 0)


def test_the_share_of_passed_cases_is_not_known_before_the_tests_have_ended() -> None:
    verdict, _ = judge([[READY, says(1), Outcome(End.DIED)]], [[asks(0), asks(1)]])
    assert (verdict.passed, verdict.total, verdict.score) == (1, 0, 0.0)
    verdict, _ = judge([[READY, says(1)]], [[asks(1), Outcome(End.CPU)]])
    assert (verdict.passed, verdict.total, verdict.score) == (1, 0, 0.0)
