"""Canonical solutions of public sets are right, with tests in a process of their own and in the same."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.worker.inside.pair import Report, judge, judge_shared

FOLDER = Path(__file__).parents[5] / "shared" / "benchmarks"
SLOW = {123}
"""Tasks of MBPP that take seconds."""
LEETCODE = Path(__file__).with_name("leetcode.prelude")
EACH = 10
"""Of LeetCode's tasks one in so many is judged."""


def records(name: str) -> list[dict[str, Any]]:
    path = FOLDER / name
    if not path.exists():
        pytest.skip(f"there is no {path}")
    if name.endswith(".json"):
        return list(json.loads(path.read_text(encoding="utf-8")))
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def humaneval(run: Callable[..., Report]) -> dict[Any, Report]:
    return {
        record["task_id"]: run(record["prompt"] + record["canonical_solution"], record["test"], record["entry_point"])
        for record in records("HumanEval.jsonl.gz")
    }


def entry_point(code: str, tests: str) -> str:
    """Return the first function of the solution that the tests name."""
    defined = set(re.findall(r"^def\s+(\w+)", code, re.MULTILINE))
    return next((name for name in re.findall(r"\w+", tests) if name in defined), "")


def mbpp(run: Callable[..., Report]) -> dict[Any, Report]:
    reports = {}
    for record in records("mbpp.jsonl.gz"):
        tests = "\n".join(record["test_list"] + record["challenge_test_list"])
        if record["task_id"] not in SLOW:
            name = entry_point(record["code"], tests)
            reports[record["task_id"]] = run(record["code"], f"{record['test_setup_code']}\n{tests}", name)
    return reports


def sanitised(run: Callable[..., Report]) -> dict[Any, Report]:
    reports = {}
    for record in records("sanitized-mbpp.json"):
        tests = "\n".join(record["test_list"])
        name = entry_point(record["code"], tests)
        reports[record["task_id"]] = run(record["code"], "\n".join([*record["test_imports"], tests]), name)
    return reports


def leetcode(run: Callable[..., Report]) -> dict[Any, Report]:
    prelude = LEETCODE.read_text(encoding="utf-8")
    return {
        number: run(record["solutions"], record["tests"]["functional"], "", prelude)
        for number, record in enumerate(records("leetcode.jsonl.gz"))
        if number % EACH == 0
    }


@pytest.mark.parametrize("run", [judge, judge_shared], ids=["two processes", "one process"])
@pytest.mark.parametrize("judged", [humaneval, mbpp, sanitised, leetcode])
def test_canonical_solutions_are_right(judged: Callable[..., dict[Any, Report]], run: Callable[..., Report]) -> None:
    refused = {name: report for name, report in judged(run).items() if report.code != "T"}
    assert not refused
