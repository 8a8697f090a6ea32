"""The own solutions of published sets are right, by tests in a process of their own and in the solution's."""

from __future__ import annotations

from dataclasses import replace

import pytest

from selftaught.sandbox import Limits, Verifier
from tests.sandbox.published import tasks

LIMITS = Limits(cpu_seconds=10.0)
SETS = {"HumanEval.jsonl.gz": 164, "mbpp.jsonl.gz": 974, "sanitized-mbpp.json": 427, "leetcode.jsonl.gz": 1889}
"""How many problems there are."""
NEEDS_PACKAGES = ("sortedcontainers", "numpy")


@pytest.mark.parametrize("isolation", ["process", "shared"])
@pytest.mark.parametrize("name", SETS)
def test_the_solutions_of_a_set_are_right(name: str, isolation: str) -> None:
    found = [
        replace(task, limits=LIMITS, isolation=isolation if task.isolation == "process" else "shared")
        for task in tasks(name)
    ]
    assert len(found) == SETS[name]
    with Verifier(level="restricted") as verifier:
        verdicts = [*verifier.verify_many(found)]
        assert verifier.counters.mismatches == 0
    refused = [
        verdict
        for task, verdict in zip(found, verdicts, strict=True)
        if not verdict.accepted and not any(package in task.sol for package in NEEDS_PACKAGES)
    ]
    assert not [(verdict.id, verdict.status, verdict.message) for verdict in refused]
    assert sum(verdict.accepted for verdict in verdicts) > 0.99 * len(found)
