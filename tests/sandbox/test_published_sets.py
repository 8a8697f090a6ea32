"""The own solutions of published sets are right, by tests in a process of their own and in the solution's."""

from __future__ import annotations

from dataclasses import replace

import pytest

from selftaught.sandbox import Limits, Verifier
from tests.sandbox.published import tasks

LIMITS = Limits(cpu_seconds=10.0)
SETS = {
    ("HumanEval.jsonl.gz", "auto"): 164,
    ("mbpp.jsonl.gz", "auto"): 974,
    ("mbpp.jsonl.gz", "mbpp-challenge"): 974,
    ("sanitized-mbpp.json", "auto"): 427,
    ("leetcode.jsonl.gz", "auto"): 1889,
}
"""How many problems there are."""
NEEDS_OWN_CLASS = {"mbpp.jsonl.gz": ["367", "927"]}
"""Problems whose tests can only run beside the solution."""
NEEDS_PACKAGES = ("sortedcontainers", "numpy")


@pytest.mark.parametrize("isolation", ["process", "shared"])
@pytest.mark.parametrize(("name", "form"), SETS)
def test_the_solutions_of_a_set_are_right(name: str, form: str, isolation: str) -> None:
    read = tasks(name, form)
    assert len(read) == SETS[name, form]
    assert [task.id for task in read if task.isolation == "shared"] == NEEDS_OWN_CLASS.get(name, [])
    found = [
        replace(task, limits=LIMITS, isolation=isolation if task.isolation == "process" else "shared") for task in read
    ]
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
