"""Comparisons: what each accepts, that identical data always passes, and that no data is compared by its looks."""

from __future__ import annotations

import copy
import math
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.sandbox import codec
from selftaught.sandbox.comparison import NAMES, compare, validate

NUMBERS = st.integers() | st.floats() | st.decimals() | st.fractions() | st.complex_numbers()
LEAVES = st.none() | st.booleans() | NUMBERS | st.text() | st.binary() | st.datetimes()
HASHABLE = st.recursive(
    LEAVES.filter(lambda one: not (isinstance(one, Decimal) and one.is_snan())),  # it has no hash
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3),
    max_leaves=6,
)
DATA = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner) | st.lists(inner).map(tuple) | st.lists(inner).map(deque) | st.sets(HASHABLE, max_size=4)
        | st.dictionaries(HASHABLE, inner, max_size=4) | st.dictionaries(HASHABLE, inner, max_size=4).map(OrderedDict)
    ),
    max_leaves=20,
)  # fmt: skip
FLOATS = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e300, max_value=1e300)
TOLERANCES = st.sampled_from([0.0, 1e-12, 1e-9, 1e-3, 0.5, 1.0])


@given(DATA)
def test_identical_data_passes_every_comparison(value: Any) -> None:
    again = copy.deepcopy(value)
    assert [name for name in NAMES if not compare(name, again, value)] == []


@given(st.text(), st.sampled_from(NAMES))
def test_identical_text_passes_every_comparison(text: str, name: str) -> None:
    assert compare(name, text, text, printed=True)


@given(DATA, DATA, st.sampled_from(NAMES))
def test_what_is_equal_passes_every_comparison_but_verl(output: Any, expected: Any, name: str) -> None:
    if compare("exact", output, expected) and name != "verl":
        assert compare(name, output, expected)


@given(DATA, DATA)
def test_exact_is_symmetric(left: Any, right: Any) -> None:
    assert compare("exact", left, right) == compare("exact", right, left)


@given(st.text("01 \n.e-"), st.text("01 \n.e-"), st.sampled_from(["exact", "lines", "livecodebench"]))
def test_comparisons_of_text_without_a_tolerance_are_symmetric(left: str, right: str, name: str) -> None:
    assert compare(name, left, right, printed=True) == compare(name, right, left, printed=True)


@pytest.mark.parametrize(
    ("output", "expected", "passes"),
    [
        (1, 1.0, True),
        (True, 1, True),
        ([1], (1,), False),
        ("1", 1, False),
        (b"1", "1", False),
        ({1}, frozenset({1}), True),
        ({"a": 1}, OrderedDict(a=1), True),
        (OrderedDict(a=1, b=2), OrderedDict(b=2, a=1), False),
        (Counter(a=1), Counter(a=1, b=0), True),
        (defaultdict(int, a=1), {"a": 1}, True),
        (deque([1], 3), deque([1]), True),
        (deque([1]), [1], False),
        (range(3), range(0, 3, 1), True),
        (range(3), [0, 1, 2], False),
        (Decimal("0.5"), Fraction(1, 2), True),
        (Decimal("0.5"), 0.5, True),
        (Decimal("sNaN"), Decimal(1), False),
        ([math.nan, 1], [math.nan, 1], True),
        ([math.nan, 1], [math.nan, 2], False),
        (math.nan, Decimal("nan"), False),
        (math.nan, None, False),
        ({math.nan: 1}, {math.nan: 1}, True),
        ({float("nan"), float("nan")}, {float("nan")}, False),
        ({float("nan"): 1, float("nan"): 2}, {float("nan"): 3, float("nan"): 2}, False),
        (complex(1, math.nan), complex(1, math.nan), True),
        (complex(1, math.nan), complex(2, math.nan), False),
        (datetime(2020, 1, 1), datetime(2020, 1, 1, tzinfo=UTC), False),
        (date(2020, 1, 1), date(2020, 1, 1), True),
        (timedelta(1), timedelta(hours=24), True),
    ],
)
@pytest.mark.parametrize("loaded", [True, False], ids=["with numpy", "without"])
def test_exact_is_python_s_equality_but_for_nan(
    output: object, expected: object, passes: bool, loaded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not loaded:
        monkeypatch.delitem(sys.modules, "numpy")
    assert compare("exact", copy.deepcopy(output), expected) is passes


@pytest.mark.parametrize(
    ("output", "expected", "passes"),
    [
        ("a \nb\t\n\n\n", "a\nb", True),
        ("a\r\nb", "a\nb", True),
        ("", "\n \n", True),
        (" a", "a", False),
        ("a\n\nb", "a\nb", False),
        ("a  b", "a b", False),
        ("1.0", "1", False),
        ([1], [1], True),
        (["a "], ["a"], False),
    ],
)
def test_lines_ignores_blanks_at_the_ends_of_lines_and_of_the_text(output: Any, expected: Any, passes: bool) -> None:
    assert compare("lines", output, expected) is passes


@given(FLOATS, FLOATS, TOLERANCES, TOLERANCES)
def test_approx_of_floats_is_as_it_is_defined(output: float, expected: float, rel: float, least: float) -> None:
    expected_verdict = output == expected or abs(output - expected) <= max(rel * abs(expected), least)
    assert compare(f"approx(rel={rel}, abs={least})", output, expected) == expected_verdict


@given(FLOATS, FLOATS, TOLERANCES, TOLERANCES)
def test_what_approx_accepts_is_close_to_python_too(output: float, expected: float, rel: float, least: float) -> None:
    if compare(f"approx(rel={rel}, abs={least})", output, expected):
        assert math.isclose(output, expected, rel_tol=rel, abs_tol=least)


@pytest.mark.parametrize(
    ("output", "expected", "passes"),
    [
        (1 + 1e-10, 1, True),
        (1 + 1e-8, 1, False),
        (10**30 + 1, 10**30, True),
        (10**400 + 1, 10**400, True),
        (10**400, 1e308, False),
        (2, 1, False),
        (True, 1, True),
        (True, 1.0000000001, False),
        ("1.00000000001", "1", False),
        (math.inf, math.inf, True),
        (math.inf, 1e308, False),
        (1e308, math.inf, False),
        (math.nan, 1.0, False),
        (1j + 1e-12, 1j, True),
        (1j + 1e-3, 1j, False),
        (Fraction(1, 3), 1 / 3, True),
        (Decimal("0.33333333333"), Fraction(1, 3), True),
        (Decimal("1.00000000001"), Decimal(1), True),
        (Decimal("1e999999999"), 1.0, False),
        (Decimal("sNaN"), 1.0, False),
        ([1, (2.00000000001, {"a": 3})], [1, (2, {"a": 3})], True),
        ([1.0], (1.0,), False),
        ([1.0, 2.0], [1.0], False),
        ({"a": 1.00000000001}, {"a": 1}, True),
        ({"a": 1.00000000001}, {"b": 1}, False),
        (OrderedDict(a=1.0, b=2.00000000001), OrderedDict(b=2.0, a=1.0), False),
        ({1.00000000001, 5}, {5, 1}, True),
        ({(1.00000000001, 2)}, {(1, 2)}, True),
        ({1.1, "a"}, {1, "a"}, False),
        (deque([1.00000000001]), deque([1]), True),
    ],
)
def test_approx_has_a_tolerance_for_numbers_at_any_depth_and_for_nothing_else(
    output: object, expected: object, passes: bool
) -> None:
    assert compare("approx", output, expected) is passes


def test_approx_without_a_tolerance_keeps_every_digit() -> None:
    exactly = "approx(rel=0, abs=0)"
    assert not compare(exactly, Decimal("0.1"), Decimal("0.10000000000000000000001"))
    assert not compare(exactly, Fraction(1, 10**30), Fraction(1, 10**30 + 1))
    assert not compare(exactly, 2**70 + 1, 2**70)


@pytest.mark.parametrize(
    ("output", "expected", "passes"),
    [
        ("0.333333333333 yes\n", "0.3333333333333 yes", True),
        ("0.33 yes", "0.3333333333333 yes", False),
        ("1 2", "1\n2", False),
        ("1   2 \n\n", "1 2", True),
        ("Yes", "yes", False),
        ("50000000001", "50000000000", True),
        ("snan", "1", False),
    ],
)
def test_approx_of_printed_text_compares_the_words_of_each_line(output: str, expected: str, passes: bool) -> None:
    assert compare("approx", output, expected, printed=True) is passes


@pytest.mark.parametrize(
    ("output", "expected", "exact", "approx"),
    [
        (numpy.array([1, 2]), numpy.array([1.0, 2.0]), True, True),
        (numpy.array([1.0, math.nan]), numpy.array([1.0, math.nan]), True, True),
        (numpy.array([1 + 1e-12]), numpy.array([1.0]), False, True),
        (numpy.array([[1, 2]]), numpy.array([1, 2]), False, False),
        (numpy.array([1]), 1, False, False),
        (numpy.array([1]), [1], False, False),
        ([numpy.array([1, 2])], [numpy.array([1, 2])], True, True),
        (numpy.float64(1.0), 1.0, True, True),
        (numpy.float32(math.nan), math.nan, True, True),
        (numpy.float32(0.1), numpy.float64(0.1), False, False),
        (numpy.int64(10**12 + 1), 10**12, False, True),
        (numpy.bool_(True), True, True, True),
    ],
)
def test_arrays_are_compared_element_by_element(output: Any, expected: Any, exact: bool, approx: bool) -> None:
    assert compare("exact", output, expected) is exact
    assert compare("approx", output, expected) is approx


def test_data_as_deep_as_can_be_is_compared() -> None:
    left: list[Any] = []
    for _ in range(codec.MAX_DEPTH - 1):
        left = [left, math.nan]
    right = copy.deepcopy(left)
    assert [name for name in NAMES if not compare(name, left, right)] == []


@pytest.mark.parametrize(
    "name", [*NAMES, "approx()", "approx(rel=1e-3)", "approx( abs = 2 , rel=0)", "humaneval+(atol=1)"]
)
def test_a_comparison_is_valid(name: str) -> None:
    validate(name)


@pytest.mark.parametrize("name", ["", "Exact", "exact ", "approximately", "approx(", "approx)", "\n", "exact\n"])
def test_another_name_is_refused_with_the_names_that_there_are(name: str) -> None:
    with pytest.raises(ValueError, match=r"is no comparison: there are exact, lines, approx, .*humaneval\+"):
        validate(name)


@pytest.mark.parametrize(
    "name",
    ["exact(rel=1)", "approx(rel)", "approx(1e-3)", "approx(rel=x)", "approx(rel=-1)", "approx(rel=nan)",
     "approx(abs=inf)", "approx(tol=1)", "approx(rel=1,,abs=1)", "humaneval+(rel=1)"],
)  # fmt: skip
def test_other_arguments_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="the arguments of this comparison are"):
        validate(name)
