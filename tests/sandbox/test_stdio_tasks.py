"""Programs judged by cases: what they print decides, each case begins anew, and what is expected stays outside."""

from __future__ import annotations

import dataclasses

import pytest

from selftaught.sandbox import Limits, Status, StdioTask, Verdict, Verifier

DOUBLE = "n = int(input())\nprint(2 * n)"


def judge(verifier: Verifier, sol: str, cases: list[tuple[str, str]], **more: object) -> Verdict:
    limits = Limits(cpu_seconds=2.0)
    return verifier.verify(StdioTask("t", sol, cases, **{"limits": limits, **more}))  # type: ignore[arg-type]


def test_a_program_is_accepted_if_every_output_is_as_expected(verifier: Verifier) -> None:
    verdict = judge(verifier, DOUBLE, [("1\n", "2\n"), ("4", "8"), ("-3\n", "-6\n\n")])
    assert verdict.accepted, verdict
    assert (verdict.passed, verdict.total, verdict.decided_by, verdict.isolation) == (3, 3, None, "process")
    assert [case.status for case in verdict.cases] == [Status.ACCEPTED] * 3
    assert verdict.score == 1.0


def test_the_first_wrong_output_decides_and_ends_it(verifier: Verifier) -> None:
    verdict = judge(verifier, DOUBLE, [("1", "2"), ("2", "5"), ("3", "7")])
    assert (verdict.status, verdict.phase, verdict.decided_by) == (Status.REJECTED, "check", 1)
    assert (verdict.passed, verdict.total, len(verdict.cases)) == (1, 3, 2)
    assert "5" in verdict.message and "4" in verdict.message


def test_all_cases_are_judged_on_request(verifier: Verifier) -> None:
    sol = "n = int(input())\nwhile n == 7: pass\nif n == 8: raise ValueError('eight')\nprint(2 * n)"
    cases = [("1", "2"), ("2", "5"), ("7", "14"), ("8", "16"), ("9", "18")]
    verdict = judge(verifier, sol, cases, all_cases=True, limits=Limits(cpu_seconds=0.3))
    expected = [Status.ACCEPTED, Status.REJECTED, Status.TIME_LIMIT, Status.SOLUTION_ERROR, Status.ACCEPTED]
    assert [case.status for case in verdict.cases] == expected
    assert (verdict.status, verdict.decided_by, verdict.passed, verdict.total) == (Status.REJECTED, 1, 2, 5)
    assert verdict.score == 0.4
    assert "ValueError: eight" in verdict.cases[3].message


def test_each_case_begins_in_a_process_as_good_as_new(verifier: Verifier) -> None:
    sol = "import builtins\nassert not hasattr(builtins, 'seen')\nbuiltins.seen = 1\nprint('fresh')"
    verdict = judge(verifier, sol, [("", "fresh")] * 4)
    assert verdict.accepted, verdict


@pytest.mark.parametrize(
    "read",
    [
        "input()",
        "sys.stdin.readline().strip()",
        "sys.stdin.read().strip()",
        "sys.stdin.buffer.read().decode().strip()",
        "open(0).read().strip()",
        "os.read(0, 100).decode().strip()",
        "os.read(0, os.fstat(0).st_size).decode().strip()",
        "next(sys.stdin).strip()",
    ],
)
def test_every_usual_way_to_read_gets_the_input_of_its_case(verifier: Verifier, read: str) -> None:
    verdict = judge(verifier, f"import os, sys\nprint({read})", [("äb\n", "äb"), ("c", "c")])
    assert verdict.accepted, verdict


def test_input_and_output_of_a_megabyte_arrive(verifier: Verifier) -> None:
    text = "0123456789abcde\n" * (1 << 15)
    verdict = judge(verifier, "import sys\nsys.stdout.write(sys.stdin.read())", [(text, text)])
    assert verdict.accepted, verdict.message


def test_more_output_than_the_limit_is_an_output_limit(verifier: Verifier) -> None:
    verdict = judge(verifier, "print('x' * 2000)", [("", "x" * 2000)], limits=Limits(output_bytes=1000))
    assert verdict.status is Status.OUTPUT_LIMIT, verdict


@pytest.mark.parametrize(
    ("end", "message"),
    [
        ("raise KeyError('k')", "KeyError: 'k' (exit code 1)"),
        ("import sys; sys.exit(3)", "exit code 3"),
        ("import os; os._exit(4)", "exit code 4"),
    ],
)
def test_a_program_that_fails_is_not_accepted_whatever_it_printed(verifier: Verifier, end: str, message: str) -> None:
    verdict = judge(verifier, f"print('right', flush=True)\n{end}", [("", "right")])
    assert (verdict.status, verdict.message) == (Status.SOLUTION_ERROR, message)


def test_a_program_may_exit_early_with_success(verifier: Verifier) -> None:
    assert judge(verifier, "print('right')\nimport sys\nsys.exit(0)\nprint('wrong')", [("", "right")]).accepted


def test_a_forbidden_call_is_named(verifier: Verifier) -> None:
    verdict = judge(verifier, "import socket\nsocket.socket()", [("", "")])
    assert verdict.status is Status.FORBIDDEN, verdict


def test_a_checker_judges_where_several_outputs_are_right(verifier: Verifier) -> None:
    checker = "def check(input, output, expected):\n    return sorted(output.split()) == sorted(input.split())"
    sol = "print(*reversed(input().split()))"
    verdict = judge(verifier, sol, [("1 2 3", ""), ("b a", "")], checker=checker)
    assert verdict.accepted, verdict
    wrong = judge(verifier, "print(input()[2:])", [("1 2 3", "")], checker=checker)
    assert (wrong.status, wrong.phase) == (Status.REJECTED, "check")


def test_a_checker_may_give_part_of_the_score(verifier: Verifier) -> None:
    checker = "def check(input, output, expected):\n    return float(output)"
    verdict = judge(verifier, "print(input())", [("1", ""), ("0.25", "")], checker=checker, all_cases=True)
    assert (verdict.status, verdict.score) == (Status.REJECTED, 0.625)


def test_a_checker_that_does_not_load_is_an_error_of_the_task(verifier: Verifier) -> None:
    verdict = judge(verifier, "print(1)", [("", "1")], checker="def check(:")
    assert (verdict.status, verdict.phase) == (Status.TESTS_ERROR, "check")


def test_usage_is_that_of_each_case(verifier: Verifier) -> None:
    sol = "import time\nn = float(input())\nend = time.process_time() + n\n"
    sol += "while time.process_time() < end: pass\nprint(n)"
    verdict = judge(verifier, sol, [("0.0", "0.0"), ("0.2", "0.2"), ("0.0", "0.0")])
    assert verdict.accepted, verdict
    first, second, third = (case.usage.cpu_seconds for case in verdict.cases)
    assert second >= 0.2 and max(first, third) < 0.1
    assert verdict.usage.cpu_seconds == pytest.approx(first + second + third)


def test_both_kinds_and_puzzles_mix_in_a_stream(verifier: Verifier) -> None:
    right = StdioTask("right", DOUBLE, [("1", "2")])
    wrong = dataclasses.replace(right, id="wrong", cases=[("1", "3")])
    verdicts = {verdict.id: verdict.status for verdict in verifier.verify_many([right, wrong, right])}
    assert verdicts == {"right": Status.ACCEPTED, "wrong": Status.REJECTED}


def test_a_program_larger_than_the_cache_of_code_is_judged_like_any_other(verifier: Verifier) -> None:
    before = verifier.restarts
    program = "print(input())\n" + "#" * (17 << 20)
    verdict = judge(verifier, program, [("1", "1"), ("2", "2"), ("3", "3"), ("4", "no")])
    assert (verdict.status, verdict.passed) == (Status.REJECTED, 3), verdict.message
    assert verifier.restarts == before
