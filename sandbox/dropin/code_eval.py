"""The metric `code_eval` of Hugging Face's `evaluate`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from selftaught.sandbox.dropin import process
from selftaught.sandbox.dropin.human_eval import limits, outcome
from selftaught.sandbox.formats import sources
from selftaught.sandbox.passk import pass_at_k
from selftaught.sandbox.task import FunctionTask

Results = dict[int, list[tuple[int, dict[str, Any]]]]


def compute_code_eval(
    predictions: Sequence[Sequence[str]],
    references: Sequence[str],
    k: Sequence[int] = (1, 10, 100),
    num_workers: int = 4,
    timeout: float = 3.0,
) -> tuple[dict[str, float], Results]:
    """Return Pass@k and what became of each candidate, as `evaluate`'s ``code_eval`` does.

    Args:
        predictions: Candidates for each problem, whole programs.
        references: The tests of each problem.
        k: Numbers of candidates of which one has to be right.
        num_workers: Ignored: the workers are those of the process's verifier.
        timeout: CPU seconds of a candidate.

    Returns:
        ``pass@k`` for each k, if every problem that has candidates has so many; and for each problem, by number, its
        candidates' numbers and results (`check_correctness`).

    Raises:
        ValueError: Tests can't be parsed, or call no function.
        NotJudged: A candidate could not be judged.
    """
    given = limits(timeout)
    keys: list[tuple[int, int]] = []
    tasks: list[FunctionTask] = []
    for problem, (candidates, reference) in enumerate(zip(predictions, references, strict=True)):
        tests, name = sources.tests_and_entry_point(reference, f"references[{problem}]")
        for number, candidate in enumerate(candidates):
            keys.append((problem, number))
            tasks.append(FunctionTask(f"{problem}/{number}", candidate, name, tests=tests, limits=given))
    results: Results = defaultdict(list)
    for (problem, number), verdict in zip(keys, process.judge_many(tasks), strict=True):
        result = {"task_id": problem, **outcome(verdict), "completion_id": number}
        results[problem].append((number, result))
    counts = [(len(found), sum(result["passed"] for _, result in found)) for found in results.values()]
    enough = [one for one in k if counts and all(total >= one for total, _ in counts)]
    return {f"pass@{one}": sum(pass_at_k(*count, one) for count in counts) / len(counts) for one in enough}, results
