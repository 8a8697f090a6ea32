"""Changed solutions of published sets: the verdict is that of a plain interpreter."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest

from selftaught.sandbox import FunctionTask, Limits, Status, Verifier
from tests.sandbox import published
from tests.sandbox.mutation import mutants
from tests.sandbox.truth import RIGHT, SLOW, WRONG, truths

EACH = {"HumanEval.jsonl.gz": 6, "mbpp.jsonl.gz": 1, "sanitized-mbpp.json": 2}
"""How many mutants of a solution are judged."""
LIMITS = Limits(cpu_seconds=1.0)
SLOW_SECONDS = 0.25
"""What takes so long may be in time here, and not there."""


@pytest.mark.parametrize("name", EACH)
def test_the_verdict_on_a_mutant_is_that_of_a_plain_interpreter(two_workers: Verifier, name: str) -> None:
    tasks = [
        dataclasses.replace(task, id=f"{task.id}.{number}", sol=mutant, limits=LIMITS)
        for task in published.tasks(name)
        for number, mutant in enumerate(mutants(task.sol, task.entry_point, EACH[name], seed=task.id))
    ]
    known = truths(tasks)
    verdicts = list(two_workers.verify_many(tasks))
    counts = Counter(known)
    assert counts[WRONG] > 0.5 * len(tasks) and counts[SLOW] < 0.05 * len(tasks)
    found = list(zip(tasks, known, verdicts, strict=True))
    accepted = [describe(task, verdict.status) for task, truth, verdict in found if verdict.accepted and truth == WRONG]
    assert accepted == [], "wrong mutants were accepted"
    refused = [
        describe(task, verdict.status, verdict.message)
        for task, truth, verdict in found
        if truth == RIGHT and not verdict.accepted and verdict.usage.cpu_seconds < SLOW_SECONDS
    ]
    assert refused == [], "right mutants were refused"
    for task, truth, verdict in found:
        if truth == SLOW and verdict.accepted:
            assert verdict.usage.cpu_seconds > SLOW_SECONDS, describe(task, verdict.status)
        assert verdict.judged and verdict.status is not Status.TESTS_ERROR, (task, verdict)


def describe(task: FunctionTask, *what: str) -> str:
    return f"{task.id}: {' '.join(what)}\n{task.sol}"
