"""Pass@k and its intervals."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.sandbox.passk import Score, Tally, bootstrap, compare, estimate, pass_at_k, ratio
from selftaught.sandbox.verdict import Status


@given(st.integers(1, 9).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_is_the_share_of_subsets_with_a_right_attempt(case: tuple[int, int, int]) -> None:
    attempts, right, k = case
    subsets = list(combinations(range(attempts), k))
    share = sum(any(one < right for one in subset) for subset in subsets) / len(subsets)
    assert pass_at_k(attempts, right, k) == pytest.approx(share)


@pytest.mark.parametrize(("attempts", "right", "k"), [(3, 4, 1), (3, -1, 1), (3, 1, 4), (3, 1, 0), (0, 0, 1)])
def test_what_makes_no_sense_is_refused(attempts: int, right: int, k: int) -> None:
    with pytest.raises(ValueError):
        pass_at_k(attempts, right, k)


def test_problems_with_too_few_judged_attempts_do_not_count() -> None:
    found = estimate([Score(10, 10), Score(2, 0)], 10)
    assert found is not None and found.value == 1.0
    assert estimate([Score(2, 0)], 10) is None


def test_the_interval_contains_the_mean_and_narrows_with_more_problems() -> None:
    few, many = bootstrap([0.0, 1.0] * 10), bootstrap([0.0, 1.0] * 200)
    assert few is not None and many is not None
    assert few.low < 0.5 < few.high and many.low < 0.5 < many.high
    assert many.high - many.low < (few.high - few.low) / 2


def test_the_same_seed_gives_the_same_interval() -> None:
    values = [number / 10 for number in range(11)]
    assert bootstrap(values, 3) == bootstrap(values, 3)


def test_pairs_show_a_difference_that_the_spread_of_problems_hides() -> None:
    first = [Score(100, right) for right in range(0, 90, 3)]
    second = [Score(100, right + 5) for right in range(0, 90, 3)]
    alone, other, paired = estimate(first, 1), estimate(second, 1), compare(first, second, 1)
    assert alone is not None and other is not None and paired is not None
    assert alone.high > other.low, "the intervals of each overlap"
    assert paired.low > 0.04 and paired.value == pytest.approx(0.05)


def test_a_ratio_needs_something_to_compare_with() -> None:
    assert ratio([Score(10, 0)], [Score(10, 5)], 1) is None
    found = ratio([Score(10, 1)] * 5, [Score(10, 3)] * 5, 1)
    assert found is not None and found.value == pytest.approx(3)


def test_a_tally_counts_what_was_judged_by_problem() -> None:
    tally = Tally()
    for problem, status in (
        ("a", Status.ACCEPTED), ("b", Status.REJECTED), ("a", Status.TIME_LIMIT),
        ("b", Status.INTERNAL_ERROR), ("c", Status.INVALID), ("c", Status.CANCELLED),
    ):  # fmt: skip
        tally.add(problem, status)
    assert tally.scores() == [Score(2, 1), Score(1, 0)]


def test_a_tally_says_pass_at_k_for_each_k_that_has_attempts() -> None:
    tally = Tally()
    assert tally.lines() == []
    for _ in range(10):
        tally.add("a", Status.ACCEPTED)
    tally.add("b", Status.REJECTED)
    assert [line.split(" [")[0] for line in tally.lines()] == ["Pass@1: 50.0%", "Pass@10: 100.0%"]
    assert [line.rpartition(", ")[2] for line in tally.lines()] == ["2 problems", "1 problem"]
