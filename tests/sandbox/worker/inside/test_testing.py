"""The tests' process: which cases run, what it reports of each, and what hostile data does to it."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.sandbox import codec
from selftaught.sandbox.worker.inside import testing
from tests.sandbox.worker.inside.pair import judge, judge_shared

SOL = """
import os
class P: pass
def f(x):
    if x == 1: os._exit(0)
    if x == 2: return P()
    if x == 3: raise ValueError
    return x
"""
ASSERTS = "\n".join(f"assert f({x}) == {x}" for x in (0, 2, 3, 4))


def test_the_first_failure_ends_the_tests() -> None:
    report = judge(SOL, ASSERTS)
    assert (report.code, report.case, report.total, report.messages) == ("w", 1, 4, 2)


@pytest.mark.parametrize("run", [judge, judge_shared])
def test_all_cases_are_judged_if_that_is_asked_for(run: Any) -> None:
    report = run(SOL, ASSERTS, all_cases=True)
    expected = {1: "w", 2: "a"} if run is judge else {1: "a", 2: "a"}
    assert (report.code, report.case, report.total, report.failed) == ("T", None, 4, expected)


def test_cases_before_the_first_are_not_run() -> None:
    report = judge(SOL, ASSERTS, first_case=3)
    assert (report.code, report.total, report.messages) == ("T", 4, 1)


def test_a_case_whose_solution_has_ended_is_not_reported_as_passed() -> None:
    assert judge(SOL, "assert f(1) == 1\nassert f(0) == 0").code == "-"


def test_with_all_cases_the_next_case_runs_after_the_solution_has_ended() -> None:
    report = judge(
        SOL, "def test_a():\n    try: f(1)\n    except BaseException: pass\ndef test_b(): pass", all_cases=True
    )
    assert (report.code, report.total, report.failed) == ("T", 2, {})


def test_a_reply_that_is_too_large_fails_the_case() -> None:
    report = judge(SOL, "assert f(0) == 0", replies=lambda _: b"L5000")
    assert (report.code, report.text) == ("L", "5000")


@pytest.mark.parametrize("reply", [b"X", b"X\xff", b"Xabc", b"X" + codec.encode((1, []), 100), b"?"])
def test_a_malformed_reply_fails_the_case(reply: bytes) -> None:
    report = judge(SOL, "def test_a():\n    try: f(0)\n    except: pass", replies=lambda _: reply)
    assert report.code == ("?" if reply == b"?" else "a")


KINDS = st.recursive(st.text("sbf:g", max_size=3), lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=6)


@given(
    kinds=st.dictionaries(
        st.sampled_from(["f", "g", "len"]),
        KINDS | st.tuples(st.sampled_from("fvcei"), KINDS, KINDS) | st.tuples(st.sampled_from("fvcei"), KINDS),
    )
)
def test_no_names_break_the_tests(kinds: dict[str, Any]) -> None:
    payload = codec.encode(("", "f", kinds, False, 0), 1 << 20)
    modules = sys.modules.copy()
    try:
        _, text = testing.run_tests(b"def check(candidate):\n    assert len([f, g]) == 3", payload, lambda _: b"")
    finally:
        sys.modules.update(pytest=modules["pytest"])
        for name in sys.modules.keys() - modules.keys():
            del sys.modules[name]
    assert text[8:9] in (b"a", b"-", b"p", b"w")


def test_the_report_names_the_line() -> None:
    report = judge(SOL, "assert f(0) == 0\n\nassert f(4) == 5")
    assert (report.code, report.text) == ("a", "AssertionError (line 3 of the tests)")


@pytest.mark.parametrize("ending", ["import os; os._exit(0)", "raise SystemExit(0)", "exit(0)"])
def test_tests_that_exit_do_not_pass(ending: str) -> None:
    tests = f"def test_a():\n    f(0)\n    {ending}"
    assert judge(SOL, tests).code in ("a", "died")
    assert judge_shared(SOL, tests).code in ("a", "died")
