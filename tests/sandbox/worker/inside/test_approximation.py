"""Our approx says what pytest's says."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.sandbox.worker.inside.approximation import approx

NUMBERS = (
    st.integers(-3, 3)
    | st.floats(-2, 2)
    | st.sampled_from([1e-13, 1 + 1e-7, float("nan"), float("inf"), -float("inf")])
)
TOLERANCES = st.none() | st.sampled_from([1e-9, 0.1, 1.0])
SHAPES: Any = NUMBERS | st.lists(NUMBERS, max_size=3) | st.dictionaries(st.sampled_from("ab"), NUMBERS, max_size=2)


@given(expected=SHAPES, actual=SHAPES, rel=TOLERANCES, absolute=TOLERANCES, nan_ok=st.booleans())
def test_it_is_equal_to_what_pytests_is(expected: Any, actual: Any, rel: Any, absolute: Any, nan_ok: bool) -> None:
    ours = approx(expected, rel=rel, abs=absolute, nan_ok=nan_ok)
    theirs = pytest.approx(expected, rel=rel, abs=absolute, nan_ok=nan_ok)
    assert (actual == ours) == (actual == theirs)
    assert (actual != ours) == (actual != theirs)


@given(expected=NUMBERS, difference=st.sampled_from([0, 1e-13, 1e-7, 1e-5, 0.05]))
def test_close_numbers_are_told_as_pytest_tells_them(expected: float, difference: float) -> None:
    actual = expected * (1 + difference) + difference
    assert (actual == approx(expected)) == (actual == pytest.approx(expected))


@pytest.mark.parametrize(
    "values", [(Decimal("1.0000001"), Decimal(1)), (None, None), ("a", "a"), ("a", "b"), (True, 1), (1j, 1j + 1e-8)]
)
def test_other_values_are_told_as_pytest_tells_them(values: tuple[Any, Any]) -> None:
    actual, expected = values
    assert (actual == approx(expected)) == (actual == pytest.approx(expected))
