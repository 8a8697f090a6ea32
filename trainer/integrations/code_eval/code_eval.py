"""The metric: `evaluate` copies this file into its cache and imports it from there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import datasets
import evaluate

from selftaught.sandbox.dropin import compute_code_eval

_USAGE = """
Args:
    predictions: Candidates for each problem: lists of whole programs.
    references: The tests of each problem, which call a function of the program.
    k: Numbers of candidates of which one has to be right.
    num_workers: Ignored: the workers are those of the process's verifier.
    timeout: CPU seconds of a candidate.
Returns:
    pass_at_k: `pass@k` for each k.
    results: For each problem its candidates' numbers and results.
"""


class CodeEval(evaluate.Metric):  # type: ignore[misc]  # `evaluate` has no types
    """Pass@k of programs that are judged in a jail, where they can't change or see their tests."""

    def _info(self) -> Any:
        text = datasets.Value("string")
        return evaluate.MetricInfo(
            description=self.__doc__,
            citation="",
            inputs_description=_USAGE,
            features=datasets.Features({"predictions": datasets.Sequence(text), "references": text}),
        )

    def _compute(
        self,
        predictions: list[list[str]],
        references: list[str],
        k: Sequence[int] = (1, 10, 100),
        num_workers: int = 4,
        timeout: float = 3.0,
    ) -> Any:
        return compute_code_eval(predictions, references, k, num_workers, timeout)
