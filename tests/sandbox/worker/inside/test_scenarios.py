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
from xml.etree import ElementTree

import pytest

from tests.sandbox.worker.inside.pair import judge, judge_shared

SCENARIOS = {
    f"{path.stem}: {scenario['name']}": {"sol": file.get("sol"), **scenario}
    for path in sorted(Path(__file__).with_name("scenarios").glob("*.toml"))
    for file in [tomllib.loads(path.read_text(encoding="utf-8"))]
    for scenario in file["scenario"]
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
AS_A_FILE = """import sys, types
_solution = sys.modules["solution"] = types.ModuleType("solution")
exec({sol!r}, vars(_solution))
from solution import *
del _solution
{tests}"""


def test_pytest_itself_judges_its_tests_so_and_finds_as_many(tmp_path: Path) -> None:
    files = {f"scenario_{number}_test": one for number, one in enumerate(OF_PYTEST.values())}
    for name, one in files.items():
        source = AS_A_FILE.format(sol=one.get("prelude", "") + one["sol"], tests=one["tests"])
        (tmp_path / f"{name}.py").write_text(source)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junit-xml", "found.xml", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    cases = [*ElementTree.parse(tmp_path / "found.xml").iter("testcase")]
    found, expected = {}, {}
    for name, one in files.items():
        own = [case for case in cases if (case.get("classname") or case.get("name", "")).partition(".")[0] == name]
        is_wrong = any(case.find(kind) is not None for case in own for kind in ("failure", "error"))
        report = judge(*task(one))
        found[one["name"]] = (report.code, report.total if report.code == "T" else 0)
        expected[one["name"]] = ("a", 0) if is_wrong else ("T", len(own))
    assert found == expected, done.stdout
