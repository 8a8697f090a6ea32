"""Pass@k: the probability that one of k attempts is correct, with bootstrap intervals over problems."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import TypeVar

from selftaught.sandbox.verdict import Status

T = TypeVar("T")
RESAMPLES = 1000
CONFIDENCE = 0.95
KS = (1, 10, 100)
"""The numbers of attempts of which one has to be correct, for which Pass@k is usually given."""


@dataclass(frozen=True, slots=True)
class Score:
    """The attempts at one problem that were verified, and the correct ones among them."""

    attempts: int
    correct: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over problems with the bounds of its bootstrap interval (at `CONFIDENCE`)."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.1%} [{self.low:.1%}, {self.high:.1%}]"


@cache
def pass_at_k(attempts: int, correct: int, k: int) -> float:
    """Return 1 - C(n - c, k) / C(n, k), the unbiased estimate of Chen et al. 2021 (https://arxiv.org/abs/2107.03374),
    section 2.1.

    Args:
        attempts: Number of attempts, n.
        correct: Number of correct attempts, c.
        k: Number of attempts of which one has to be correct.

    Raises:
        ValueError: k > n, or c > n.
    """
    if not 0 <= correct <= attempts:
        raise ValueError(f"{correct} correct of {attempts} attempts makes no sense")
    if not 1 <= k <= attempts:
        raise ValueError(f"Pass@{k} can't be estimated from {attempts} attempts")
    if attempts - correct < k:
        return 1.0
    return 1 - prod(1 - k / n for n in range(attempts - correct + 1, attempts + 1))


def estimate(scores: Sequence[Score], k: int, seed: int = 0) -> Estimate | None:
    """Return the mean Pass@k over problems with at least k verified attempts.

    Args:
        scores: A score for each problem.
        k: See `pass_at_k`.
        seed: Random seed of the bootstrap.

    Returns:
        The estimate, or ``None`` if no problem has k attempts.
    """
    return bootstrap([pass_at_k(s.attempts, s.correct, k) for s in scores if s.attempts >= k], seed)


class Tally:
    """The attempts at each problem, counted as verdicts come."""

    def __init__(self) -> None:
        self._attempts: Counter[str] = Counter()
        self._correct: Counter[str] = Counter()

    def add(self, problem: str, status: Status) -> None:
        """Count an attempt, unless it was not judged."""
        if not status.judged:
            return
        self._attempts[problem] += 1
        self._correct[problem] += status is Status.ACCEPTED

    def scores(self) -> list[Score]:
        """Return the score of each problem that has attempts."""
        return [Score(number, self._correct[problem]) for problem, number in self._attempts.items()]

    def lines(self) -> list[str]:
        """Return Pass@k with its interval as a line of text, for each k that some problem has attempts for."""
        scores, found = self.scores(), []
        for k in KS:
            enough = sum(score.attempts >= k for score in scores)
            if (value := estimate(scores, k)) is not None:
                found.append(f"Pass@{k}: {value}, {enough:,} problem{'s' * (enough != 1)}")
        return found


def compare(first: Sequence[Score], second: Sequence[Score], k: int, seed: int = 0) -> Estimate | None:
    """Return the mean difference in Pass@k, second minus first, with a paired bootstrap interval.

    Args:
        first: A score for each problem.
        second: Scores for the same problems in the same order.
        k: See `pass_at_k`.
        seed: Random seed of the bootstrap.

    Returns:
        The estimate, or ``None`` if no problem has k attempts in both.
    """
    return bootstrap([other - one for one, other in _pairs(first, second, k)], seed)


def ratio(first: Sequence[Score], second: Sequence[Score], k: int, seed: int = 0) -> Estimate | None:
    """Return the ratio of mean Pass@k, second to first, with a paired bootstrap interval.

    Args:
        first: A score for each problem.
        second: Scores for the same problems in the same order.
        k: See `pass_at_k`.
        seed: Random seed of the bootstrap.

    Returns:
        The estimate, or ``None`` if the first solves nothing.
    """
    values = _pairs(first, second, k)

    def quotient(chosen: Sequence[tuple[float, float]]) -> float:
        below = sum(one for one, _ in chosen)
        return sum(other for _, other in chosen) / below if below else float("inf")

    if not any(one for one, _ in values):
        return None
    return _interval(values, quotient, seed)


def _pairs(first: Sequence[Score], second: Sequence[Score], k: int) -> list[tuple[float, float]]:
    """Return Pass@k of both for each problem with at least k attempts in both."""
    pairs = [(a, b) for a, b in zip(first, second, strict=True) if min(a.attempts, b.attempts) >= k]
    return [(pass_at_k(a.attempts, a.correct, k), pass_at_k(b.attempts, b.correct, k)) for a, b in pairs]


def bootstrap(values: Sequence[float], seed: int = 0) -> Estimate | None:
    """Return the mean with its percentile bootstrap interval, or ``None`` if there are no values."""
    return _interval(values, lambda chosen: sum(chosen) / len(chosen), seed) if values else None


def _interval(values: Sequence[T], statistic: Callable[[Sequence[T]], float], seed: int) -> Estimate:
    rng = random.Random(seed)
    drawn = sorted(statistic(rng.choices(values, k=len(values))) for _ in range(RESAMPLES))
    tail = round((1 - CONFIDENCE) / 2 * RESAMPLES)
    return Estimate(statistic(values), drawn[tail], drawn[-1 - tail])
