"""Published judges' verdicts, recorded from their own code: a comparison by a judge's name gives the same.

They were recorded with the code of verl 0.9.1 and evalplus 0.3.1, with copies of LiveCodeBench's and APPS' in evalscope
1.14.1 and opencompass 0.5.4 (there with ``==`` as in the original), and with SandboxFusion's loop over lines. Some
50,000 random pairs of outputs and expectations agreed too, but where the tests below say otherwise.
"""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from selftaught.sandbox.comparison import compare

TEXT_JUDGES = "livecodebench", "apps", "verl", "sandboxfusion"
TEXTS = [  # what a program printed, what is expected, and the judges that accept it
    ("1 2\n", "1 2", "livecodebench apps verl sandboxfusion"),
    ("1 2 \n\n", "1 2\n", "livecodebench apps verl sandboxfusion"),
    (" 1\n2", "1\n2", "livecodebench apps verl sandboxfusion"),
    ("1\n\n2\n", "1\n2\n", "apps verl"),
    ("1\n2\n", "1\n\n2\n", "apps verl"),
    ("1  2", "1 2", "livecodebench apps"),
    ("2 1", "1 2", "apps"),
    ("2\n1", "1\n2", "apps"),
    ("1\n1\n2", "1\n2", "apps"),
    ("1 1", "1", "apps"),
    ("1.0", "1", "livecodebench apps verl sandboxfusion"),
    ("1.00 2", "1 2.000", "livecodebench apps"),
    ("1.000001", "1", "apps verl sandboxfusion"),
    ("1.00002", "1", "apps"),
    ("1.0004 2", "1 2", "apps"),
    ("1.0006 2", "1 2", ""),
    ("1.0000000001", "1", "apps verl sandboxfusion"),
    ("100001", "100000", "apps"),
    ("100000.5", "100000", "apps verl sandboxfusion"),
    ("50000000000000001", "50000000000000000", "apps sandboxfusion"),
    ("50000000000000001.0", "50000000000000000", "apps verl sandboxfusion"),
    ("YES", "yes", "sandboxfusion"),
    ("Yes\nNo", "YES\nNO", "sandboxfusion"),
    ("1e3", "1000", "livecodebench apps verl sandboxfusion"),
    ("nan", "nan", "livecodebench apps verl sandboxfusion"),
    ("nan", "NaN", "sandboxfusion"),
    ("inf", "Infinity", "livecodebench apps verl"),
    ("inf", "1e400", "apps verl"),
    ("snan", "nan", ""),
    ("", "\n", "livecodebench apps verl sandboxfusion"),
    ("", "0", ""),
    ("0", "", ""),
    ("a\r\nb", "a\nb", "livecodebench apps verl sandboxfusion"),
    ("a\fb", "a\nb", "apps verl"),
    ("1_0", "10", "livecodebench apps verl sandboxfusion"),
    ("\N{ARABIC-INDIC DIGIT THREE}", "3", "livecodebench apps sandboxfusion"),
    ("1\n2.5", "1\n2.500001", "apps verl sandboxfusion"),
    ("1\n2", "1\n2.000001", "apps verl sandboxfusion"),
    ("1\n2\n3", "1\n2", ""),
    ("a b\nc", "c\nb a", "apps"),
    ("a", "b", ""),
    ("0", "1e-9", "apps verl"),
    ("0", "1e-7", "apps"),
    ("-0", "0", "livecodebench apps verl sandboxfusion"),
    ("1.0005", "1.0006", ""),
    ("x 1.0001", "x 1", ""),
]
RESULT_JUDGES = "livecodebench", "apps", "verl", "humaneval+"
RESULTS: list[tuple[Any, Any, str]] = [  # what a function returned, what is expected, and the judges that accept it
    (1, 1, "livecodebench apps verl humaneval+"),
    (1.0, 1, "livecodebench apps verl humaneval+"),
    (True, 1, "livecodebench apps verl humaneval+"),
    ("1", 1, ""),
    (None, None, "livecodebench apps verl humaneval+"),
    ((1, 2), [1, 2], "livecodebench apps verl"),
    ([1, 2], [[1, 2]], "apps verl"),
    ((1, 2), [[1, 2]], "apps verl"),
    ([(1, 2)], [[1, 2]], ""),
    ([(1, 2)], [[[1, 2]]], "apps verl"),
    ([(1, 2), [3]], [[[1, 2], [3]]], "apps verl"),
    ([(1, 2), 3], [[[1, 2], 3]], ""),
    ([1, [2]], [[1, [2]]], "apps verl"),
    (1, [1], "apps verl"),
    (1, [1, 2], "apps verl"),
    ([], [], "livecodebench apps verl humaneval+"),
    ([], [[]], "apps verl"),
    ({1: 2}, {"1": 2}, "apps verl"),
    ([{1: 2}], {"1": 2}, "apps verl"),
    ({1: 2}, [{"1": 2}], "apps verl"),
    ([{1: 2}], [{"1": 2}, {"3": 4}], "apps verl"),
    ({"a": 1}, {"a": 1}, "livecodebench apps verl humaneval+"),
    ({"a": 1}, [{"a": 1}], "apps verl"),
    ("ab", ["ab"], "apps verl"),
    ("ab", "ab ", ""),
    ({1, 2}, [1, 2], ""),
    (1.0000001, 1.0, "humaneval+"),
    (1.00001, 1.0, ""),
    (1, 1.0000001, ""),
    (1.0000011, 1.0, "humaneval+"),
    ([1.0000001, 2.0], [1.0, 2.0], "humaneval+"),
    ([1, 2.0000001], [1.0, 2.0], "humaneval+"),
    ((1.0000001,), [1.0], ""),
    ([1.0], [1.0, 1.0], ""),
    ([1.0000001, 2], [1.0, 2], ""),
    ([[1.0000001]], [[1.0]], ""),
    ([1.0, None], [1.0, 2.0], ""),
    ([True], [1.0000001], "humaneval+"),
    ([Fraction(1)], [1.0000001], "humaneval+"),
    ([Decimal(1)], [1.0000001], ""),
    (math.inf, math.inf, "livecodebench apps verl humaneval+"),
    (1e308, math.inf, ""),
    ([Decimal("1")], [1], "livecodebench apps humaneval+"),
    ((1 + 0j), 1, "livecodebench apps humaneval+"),
    (Decimal("1.5"), 1.5, "livecodebench apps humaneval+"),
]


@pytest.mark.parametrize(("output", "expected", "accepting"), TEXTS)
def test_text_is_judged_as_the_judge_of_that_name_does(output: str, expected: str, accepting: str) -> None:
    assert [name for name in TEXT_JUDGES if compare(name, output, expected, printed=True)] == accepting.split()


@pytest.mark.parametrize(("output", "expected", "accepting"), RESULTS)
def test_results_are_judged_as_the_judge_of_that_name_does(output: Any, expected: Any, accepting: str) -> None:
    assert [name for name in RESULT_JUDGES if compare(name, output, expected)] == accepting.split()


@pytest.mark.parametrize("name", ["apps", "verl"])
def test_identical_data_is_accepted_where_the_judge_makes_numbers_of_expected_keys(name: str) -> None:
    assert compare(name, {"1": 2}, {"1": 2})


@pytest.mark.parametrize("name", ["apps", "verl"])
def test_identical_text_is_accepted_where_the_judge_ends_lines_in_one_of_the_two(name: str) -> None:
    assert compare(name, "1 a\f2", "1 a\f2", printed=True)


@pytest.mark.parametrize("expected", [math.nan, [1, {"a": math.nan}], (math.nan,), {math.nan}])
@pytest.mark.parametrize("name", [*RESULT_JUDGES, "sandboxfusion"])
def test_nan_equals_nan_though_to_the_judge_it_does_not(name: str, expected: object) -> None:
    again = eval(repr(expected), {"nan": float("nan")})
    assert compare(name, again, expected)


def test_verl_accepts_what_json_has_no_form_for_if_that_is_expected() -> None:
    assert compare("verl", {1, 2}, {1, 2})
    assert compare("verl", [Decimal(1)], [Decimal(1)])


def test_humaneval_plus_takes_the_tolerance_of_a_problem() -> None:
    assert compare("humaneval+(atol=0.01)", 1.005, 1.0)
    assert compare("humaneval+(atol=0.01)", [[1.005], [2]], [[1], [2]])
    assert not compare("humaneval+(atol=0.01)", 1.02, 1.0)
    assert not compare("humaneval+", [[1.005], [2]], [[1], [2]])


def test_humaneval_plus_refuses_other_shapes_which_numpy_would_broadcast() -> None:
    assert not compare("humaneval+", [[1.0, 1.0]], [1.0000001])


def test_sandboxfusion_compares_results_of_functions_as_equal() -> None:
    assert compare("sandboxfusion", [1, "a"], [1, "a"])
    assert not compare("sandboxfusion", "A", "a")
