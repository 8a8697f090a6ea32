"""The abuse matrix: every case of ``tests/cases`` gets its verdict and leaves nothing behind, at every level."""

from __future__ import annotations

import time
import tomllib
from pathlib import Path
from typing import Any

import pytest

from selftaught.sandbox import Limits, Status, Task, Verifier
from selftaught.sandbox.jail import seccomp
from tests.conftest import footprint

FOLDER = Path(__file__).parents[1] / "cases"
CASES = sorted(FOLDER.glob("*/*.toml"))
HONEST = Task(
    "honest", "def sat(x: int): return x * x == 1369", "def sol():\n    return next(i for i in range(99) if sat(i))"
)


def case_id(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def step_task(step: dict[str, Any]) -> Task:
    limits = Limits(**step["limits"]) if "limits" in step else None
    return Task("case", step["sat"].lstrip("\n"), step["sol"].lstrip("\n"), limits)


@pytest.mark.parametrize("path", CASES, ids=case_id)
def test_a_case_gets_its_verdict_and_leaves_nothing_behind(verifier: Verifier, path: Path) -> None:
    case = tomllib.loads(path.read_text())
    assert verifier.verify(HONEST).accepted
    before = footprint(verifier)
    for step in (case, *case.get("then", ())):
        expected = {**step, **step.get(verifier.level, {})}
        task = step_task(step)
        started = time.monotonic()
        verdict = verifier.verify(task)
        elapsed = time.monotonic() - started
        assert verdict.status in expected["expect"], f"{case['why']}\n{verdict}"
        assert expected.get("phase") in (None, verdict.phase), verdict
        unnamed = seccomp.nested() and "unnamed system call" in verdict.message
        assert unnamed or expected.get("message", "") in verdict.message, verdict
        assert verdict.level == verifier.level
        assert verdict.message.isprintable()
        assert elapsed < 2 * (task.limits or verifier.limits).wall_seconds + 5
        after = verifier.verify(HONEST)
        assert after.accepted, f"the next task on the same worker: {after}"
    assert footprint(verifier) == before


def test_there_are_cases_for_every_section_of_the_matrix() -> None:
    sections = {path.parent.name for path in CASES}
    assert sections == {
        "time", "memory", "processes", "output", "files", "kernel", "channels", "protocol", "cheating", "honest"
    }  # fmt: skip


@pytest.mark.parametrize("path", CASES, ids=case_id)
def test_a_case_says_what_it_expects_and_why(path: Path) -> None:
    case = tomllib.loads(path.read_text())
    assert case["why"]
    for step in (case, *case.get("then", ())):
        assert {Status(name) for name in step["expect"]}
        assert Status.INTERNAL_ERROR not in step["expect"]
