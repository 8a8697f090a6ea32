"""The check process: what it answers for each case, by a comparison or by a task's own checker."""

from __future__ import annotations

import math
import struct
import sys
from collections import Counter
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy
import pytest

from selftaught.sandbox import codec
from selftaught.sandbox.comparison import named
from selftaught.sandbox.worker.inside.checking import check
from selftaught.sandbox.worker.inside.difference import abbreviated, difference

ROOM = 1 << 24
CALL = (), {}


class Ended(BaseException):
    """The supervisor has no more cases."""


def judged(checker: str, *cases: tuple[Any, Any, Any], compare: str = "exact") -> list[tuple[bytes, float, str]]:
    """Return code, score and text of the answer for each case."""
    messages: list[bytes] = []

    def exchange(message: bytes) -> bytes:
        messages.append(message)
        if len(messages) > len(cases):
            raise Ended
        return codec.encode(cases[len(messages) - 1], ROOM)

    with pytest.raises(Ended):
        check(checker.encode(), codec.encode((compare,), ROOM), exchange)
    assert messages.pop(0) == b"K"
    assert all(message[:1] == b"K" for message in messages)
    return [(message[1:2], struct.unpack("<d", message[2:10])[0], message[10:].decode()) for message in messages]


def refused(checker: str, compare: str = "exact") -> tuple[bytes, bytes]:
    return check(checker.encode(), codec.encode((compare,), ROOM), lambda message: pytest.fail("it is ready"))


def returning(value: str) -> tuple[bytes, float, str]:
    (answer,) = judged(f"def check(input, output, expected): return {value}", (CALL, 1, 2))
    return answer


def test_a_comparison_judges_results_of_functions() -> None:
    cases = (CALL, [1, 2], [1, 2]), (CALL, [1, 3], [1, 2])
    assert judged("", *cases) == [(b"T", 1.0, ""), (b"F", 0.0, "expected [1, 2], got [1, 3]")]


def test_a_comparison_judges_text_as_printed_if_the_input_is_text() -> None:
    cases = ("", "1.0 ", "1"), (CALL, "1.0 ", "1")
    assert [code for code, *_ in judged("", *cases, compare="livecodebench")] == [b"T", b"F"]


def test_what_cannot_be_compared_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(output: object, expected: object, printed: bool) -> bool:
        raise MemoryError

    monkeypatch.setattr("selftaught.sandbox.comparison.named", lambda name: exhausted)
    assert judged("", (CALL, 1, 1)) == [(b"F", 0.0, "the output can't be compared: MemoryError")]


def test_an_unknown_comparison_is_reported() -> None:
    code, text = refused("", "likely")
    assert code == b"p"
    assert text.startswith(b"ValueError: 'likely' is no comparison")


def test_a_checker_gets_input_output_and_expected() -> None:
    checker = "def check(input, output, expected): return (input, output, expected) == (((3,), {'k': 4}), 7, [8])"
    assert judged(checker, (((3,), {"k": 4}), 7, [8])) == [(b"T", 1.0, "")]


@pytest.mark.parametrize(
    ("value", "code", "score"),
    [("True", b"T", 1), ("False", b"F", 0), ("1", b"T", 1), ("1.0", b"T", 1), ("7", b"T", 1), ("float('inf')", b"T", 1),
     ("10 ** 400", b"T", 1), ("0.25", b"F", 0.25), ("0", b"F", 0), ("-3", b"F", 0), ("-0.5", b"F", 0)],
)  # fmt: skip
def test_a_checker_returns_a_bool_or_a_score(value: str, code: bytes, score: float) -> None:
    assert returning(value)[:2] == (code, score)


@pytest.mark.parametrize("value", ["None", "'True'", "float('nan')", "[True]", "1 + 0j"])
def test_anything_else_is_the_checker_s_fault(value: str) -> None:
    code, score, text = returning(value)
    assert (code, score) == (b"p", 0.0)
    assert "which is neither a bool nor a number" in text


def test_the_refusal_says_what_the_output_was() -> None:
    assert returning("False")[2] == "the checker returned False for 1"
    assert returning("0.5")[2] == "the checker gave 0.5 for 1"


def test_what_an_output_provokes_in_a_checker_counts_against_the_output() -> None:
    checker = "def check(input, output, expected):\n    return int(output)"
    answers = judged(checker, ("", "x", ""), ("", "1", ""))
    assert answers[0][0] == b"F"
    assert answers[0][2].endswith("'x' (line 2 of the checker)")
    assert answers[1][0] == b"T"


@pytest.mark.parametrize("statement", ["raise SystemExit(0)", "import sys; sys.exit()", "raise KeyboardInterrupt"])
def test_a_checker_that_would_exit_fails(statement: str) -> None:
    assert judged(f"def check(input, output, expected): {statement}", (CALL, 1, 1))[0][0] == b"p"


def test_a_checker_s_assert_statement_refuses_the_output() -> None:
    checker = "def check(input, output, expected):\n    assert output == expected, 'no'\n    return True"
    answers = judged(checker, (CALL, 1, 2), (CALL, 2, 2))
    assert answers == [(b"F", 0.0, "AssertionError: no (line 2 of the checker)"), (b"T", 1.0, "")]


def test_a_checker_gets_new_objects_and_keeps_its_module() -> None:
    checker = """
seen = []
def check(input, output, expected):
    seen.append(output.pop())
    return seen == expected
"""
    assert [code for code, *_ in judged(checker, (CALL, [1], [1]), (CALL, [1], [1, 1]))] == [b"T", b"T"]
    assert [code for code, *_ in judged(checker, (CALL, [1], [1]))] == [b"T"]


def test_what_a_checker_prints_is_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    checker = """
import sys
print("loaded")
def check(input, output, expected):
    print("out", flush=True)
    print("err", file=sys.stderr)
    return True
"""
    assert judged(checker, (CALL, 1, 1)) == [(b"T", 1.0, "")]
    assert capsys.readouterr() == ("", "")
    assert sys.stdout is not sys.stderr


@pytest.mark.parametrize("name", ["sat", "f"])
def test_a_puzzle_is_a_checker(name: str) -> None:
    puzzle = f"def {name}(x: int, n=9): return x * x == n"
    answers = judged(puzzle, (CALL, 3, None), (CALL, 4, None), (CALL, 3.0, None))
    assert [code for code, *_ in answers] == [b"T", b"F", b"F"]
    assert answers[2][2] == "AssertionError: the answer is float, not int"


def test_a_puzzle_accepts_by_true_alone() -> None:
    assert [code for code, *_ in judged("def sat(x): return x", (CALL, 1, None), (CALL, True, None))] == [b"F", b"T"]


def test_a_function_check_is_preferred_to_a_puzzle() -> None:
    checker = "def sat(x): return False\ndef check(input, output, expected): return True"
    assert judged(checker, (CALL, 1, None))[0][0] == b"T"


@pytest.mark.parametrize(
    ("checker", "text"),
    [
        ("x = 1", b"the checker defines no function check"),
        ("def check(", b"SyntaxError: '(' was never closed (line 1 of the checker)"),
        ("import nowhere", b"ModuleNotFoundError: No module named 'nowhere' (line 1 of the checker)"),
        ("\n1 / 0", b"ZeroDivisionError: division by zero (line 2 of the checker)"),
    ],
)
def test_a_checker_that_does_not_load_is_reported(checker: str, text: bytes) -> None:
    assert refused(checker) == (b"p", text)


@pytest.mark.parametrize(
    ("output", "expected", "text"),
    [
        ([1, 3], [1, 2], "expected [1, 2], got [1, 3]"),
        ("1", 1, "expected 1, got '1'"),
        ((1,), [1], "expected [1], got (1,)"),
        ({"a": {2}}, {}, "expected {}, got {'a': {2}}"),
        (Counter(a=1), None, "expected None, got Counter({'a': 1})"),
        (Fraction(1, 3), Decimal("1.5"), "expected 1.5, got 1/3"),
        (range(3), frozenset((1,)), "expected frozenset({1}), got range(0, 3, 1)"),
        (numpy.zeros((2, 3)), numpy.int64(4), "expected 4, got an array of float64 of shape (2, 3)"),
        ([[0] * 99, [1] * 99], [[0] * 99, [1] * 98 + [2]], "at [1][98]: expected 2, got 1"),
        ([0] * 99, [0] * 98, "expected 98 items, got 99"),
        (1 << 300, "\x1b[0m", "expected '\\x1b[0m', got an int of 301 bits"),
        ("\ud800", "x" * 1000, f"expected '{'x' * 86}..., got '\\ud800'"),
    ],
)
def test_a_message_says_how_data_differs(output: object, expected: object, text: str) -> None:
    assert difference(output, expected, False, named("exact")) == text


@pytest.mark.parametrize(
    ("output", "expected", "text"),
    [
        ("1\n2\n4\n", "1\n2\n3", "line 3: expected '3', got '4'"),
        ("1.0\n2", "1\n3", "line 2: expected '3', got '2'"),
        ("1", "1\n2", "expected 2 lines, got 1"),
        ("", "5\n", "line 1: expected '5', got ''"),
        ("x" * 500 + "a", "x" * 500 + "b", f"line 1: expected ...'{'x' * 45}b', got ...'{'x' * 45}a'"),
        ("a\rb", "ab", "line 1: expected 'ab', got 'a\\rb'"),
    ],
)
def test_a_message_names_the_first_line_of_text_that_differs(output: str, expected: str, text: str) -> None:
    assert difference(output, expected, True, named("livecodebench")) == text


def test_a_message_is_short_and_printable_whatever_the_data() -> None:
    huge = 1 << 10**7
    for value in (
        [huge],
        [[[1] * 10**5] * 10**3],
        "\n" * 10**7,
        {"a" * 10**6: math.nan},
        [[]] * 10**6,
        Fraction(1, huge),
    ):
        text = abbreviated(value)
        assert text.isprintable()
        assert len(text) <= 90
