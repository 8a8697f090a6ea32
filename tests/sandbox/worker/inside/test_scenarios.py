"""Solutions and tests of many kinds, each judged with both in processes of their own, and in one.

A scenario is in a file of `scenarios/`: what is expected is the code of the report, and of that in one process if it is
another: T right, a rejected, w something can't cross, p the tests' fault, s the solution does not load.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.worker.inside.pair import judge, judge_shared

SCENARIOS = {
    f"{path.stem}: {scenario['name']}": scenario
    for path in sorted(Path(__file__).with_name("scenarios").glob("*.toml"))
    for scenario in tomllib.loads(path.read_text(encoding="utf-8"))["scenario"]
}


def task(scenario: dict[str, Any]) -> tuple[str, str, str, str]:
    return scenario["sol"], scenario["tests"], scenario.get("entry_point", ""), scenario.get("prelude", "")


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_what_is_relayed_is_judged_as_expected(scenario: dict[str, Any]) -> None:
    report = judge(*task(scenario))
    assert report.code == scenario["expect"], report
    assert report.code != "w" or report.text.endswith('isolation="shared" runs tests and solution in one process')


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_in_one_process_it_is_judged_as_expected(scenario: dict[str, Any]) -> None:
    report = judge_shared(*task(scenario))
    assert report.code == scenario.get("shared", scenario["expect"]), report


OF_PYTEST = {name: one for name, one in SCENARIOS.items() if name.startswith("pytest") and one["expect"] in "Ta"}


@pytest.mark.parametrize("scenario", OF_PYTEST.values(), ids=OF_PYTEST)
def test_pytest_itself_judges_its_tests_so(scenario: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "solution.py").write_text(scenario.get("prelude", "") + scenario["sol"])
    (tmp_path / "test_it.py").write_text("from solution import *\n" + scenario["tests"])
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), "test_it.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == (0 if scenario["expect"] == "T" else 1), done.stdout
