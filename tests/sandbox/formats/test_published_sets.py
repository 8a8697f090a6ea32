"""Published sets, as they are: every solution that they have is right in a plain interpreter, as they say."""

from __future__ import annotations

from collections.abc import Sequence

from selftaught.sandbox.task import FunctionTask
from tests.sandbox.formats.plain import PlainVerifier
from tests.sandbox.published import tasks

EVERY = 10
"""Of LeetCode's many solutions, one in so many is run."""

PACKAGES = ("sortedcontainers", "numpy")


def refused(given: Sequence[FunctionTask]) -> list[tuple[str, str]]:
    verdicts = PlainVerifier().verify_many(given)
    return [(verdict.id, verdict.message) for verdict in verdicts if not verdict.accepted]


def test_humaneval() -> None:
    found = tasks("HumanEval.jsonl.gz")
    assert len(found) == 164
    assert refused(found) == []
    assert {task.isolation for task in found} == {"process"}


def test_mbpp() -> None:
    found = tasks("mbpp.jsonl.gz")
    assert len(found) == 974
    assert refused(found) == []
    assert [task.id for task in found if task.isolation == "shared"] == ["367", "927"]


def test_mbpp_with_challenges() -> None:
    found = tasks("mbpp.jsonl.gz", "mbpp-challenge")
    assert refused(found[:100]) == []


def test_sanitized_mbpp() -> None:
    found = tasks("sanitized-mbpp.json")
    assert len(found) == 427
    assert refused(found) == []


def test_leetcode() -> None:
    found = tasks("leetcode.jsonl.gz")
    assert len(found) == 1889
    chosen = [task for task in found[::EVERY] if not any(package in task.sol for package in PACKAGES)]
    assert refused(chosen) == []
