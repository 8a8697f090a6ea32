"""The abuse matrix: each case of ``sandbox/cases`` gets its verdict and leaves nothing behind, at every level."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from selftaught.sandbox import FunctionTask, Limits, Status, StdioTask, Verifier, cases
from selftaught.sandbox.attacks import HONEST, run_case
from selftaught.sandbox.cases import Case, MalformedCase
from tests.conftest import footprint

CASES = cases.load()
SMALLEST = 'why = "w"\nexpect = ["accepted"]\nsat = "def sat(x): return True"\nsol = "1"\n'
PROGRAM = 'why = "w"\nexpect = ["accepted"]\nsol = "1"\n'


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_case_gets_its_verdict_and_leaves_nothing_behind(verifier: Verifier, case: Case) -> None:
    if not case.applies_to(verifier.level, verifier.engine):
        pytest.skip("the case does not apply there")
    assert verifier.verify(HONEST).accepted
    before = footprint(verifier)
    failure = run_case(verifier, case)
    assert failure is None, str(failure)
    assert footprint(verifier) == before


def test_there_are_cases_for_every_section_of_the_matrix() -> None:
    assert {case.kind for case in CASES} == {
        "time", "memory", "processes", "output", "files", "kernel", "channels", "protocol", "cheating", "honest",
        "tests", "stdio",
    }  # fmt: skip


def test_every_file_is_loaded_and_no_line_is_too_long() -> None:
    files = sorted(Path(cases.__file__).parent.glob("*/*"))
    assert [case.id for case in CASES] == [f"{path.parent.name}/{path.stem}" for path in files]
    assert {path.suffix for path in files} == {".toml"}
    for path in files:
        assert max(map(len, path.read_text().splitlines())) <= 120, path


def write(folder: Path, text: str, name: str = "kind/name.toml") -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return folder


def test_all_fields_are_read(tmp_path: Path) -> None:
    extra = 'phase = "sat"\nlevels = ["full", "restricted"]\nengines = ["fork"]\nmessage = "m"\n'
    tables = '[limits]\ncpu_seconds = 0.2\n[restricted]\nexpect = ["rejected", "crashed"]\n[[then]]\n'
    later = SMALLEST.partition("\n")[2]
    (case,) = cases.load(write(tmp_path, SMALLEST + extra + tables + later))
    first, second = case.steps
    assert (case.id, case.kind, case.name, case.why) == ("kind/name", "kind", "name", "w")
    assert first.task.limits == Limits(cpu_seconds=0.2) and second.task.limits is None
    assert (first.task.sol, first.expected.phase, second.expected.phase) == ("1", "sat", None)
    assert first.expected_at("full").statuses == (Status.ACCEPTED,)
    assert first.expected_at("restricted").statuses == (Status.REJECTED, Status.CRASHED)
    assert (first.expected_at("restricted").phase, first.expected_at("restricted").message) == ("sat", "m")
    assert case.applies_to("full", "fork")
    assert not case.applies_to("full", "snapshot") and not case.applies_to("container", "fork")


def test_a_step_may_be_a_function_or_a_program(tmp_path: Path) -> None:
    head = 'why = "w"\nexpect = ["rejected"]\n'
    function = 'entry_point = "f"\nsol = "s"\ntests = "t"\nprelude = "p"\nisolation = "shared"\nall_cases = true\n'
    numbers = "passed = 1\ntotal = 2\ndecided_by = 1\n"
    called = '[[then]]\nexpect = ["rejected"]\nentry_point = "f"\nsol = "s"\ncases = [[[1], {b = 2}, "x"]]\n'
    literal = '[[then]]\nexpect = ["rejected"]\nentry_point = "f"\nsol = "s"\ncases_python = "[((1,), {}, {2})]"\n'
    program = '[[then]]\nexpect = ["rejected"]\nsol = "s"\ncases = [["in", "out"]]\nchecker = "c"\nphase = "check"\n'
    (case,) = cases.load(write(tmp_path, head + numbers + function + called + literal + program))
    assert [step.task for step in case.steps] == [
        FunctionTask("kind/name", "s", "f", tests="t", prelude="p", isolation="shared", all_cases=True),
        FunctionTask("kind/name", "s", "f", cases=[([1], {"b": 2}, "x")]),
        FunctionTask("kind/name", "s", "f", cases=[((1,), {}, {2})]),
        StdioTask("kind/name", "s", [("in", "out")], checker="c"),
    ]
    assert case.steps[0].expected.numbers == {"passed": 1, "total": 2, "decided_by": 1}
    assert case.steps[1].expected.numbers == {} and case.steps[3].expected.phase == "check"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("why = ", "kind/name.toml: Invalid value"),
        (SMALLEST.replace('"w"', '""'), "kind/name.toml: why is empty"),
        (SMALLEST.replace("sol =", "sole ="), "kind/name.toml: sol is missing"),
        (SMALLEST.replace('"1"', "1"), "kind/name.toml: sol must be of type str, not int"),
        (SMALLEST.replace("accepted", "acepted"), "kind/name.toml: expect names 'acepted'"),
        (SMALLEST.replace("accepted", "internal_error"), "kind/name.toml: expect names 'internal_error'"),
        (SMALLEST.replace('"accepted"', "[]"), "kind/name.toml: expect names []"),
        (SMALLEST.replace('["accepted"]', "[]"), "kind/name.toml: expect is empty"),
        (SMALLEST + 'phase = "sit"', "kind/name.toml: phase must be one of sol, sat, tests"),
        (SMALLEST + 'colour = "red"', "kind/name.toml: colour is no field of a case"),
        (SMALLEST + 'levels = ["half"]', "kind/name.toml: levels names 'half'"),
        (SMALLEST + "engines = []", "kind/name.toml: engines is empty"),
        (SMALLEST + "[limits]\ncpu_seconds = -1", "kind/name.toml: limits: cpu_seconds must be"),
        (SMALLEST + "[limits]\ncpu = 1", "kind/name.toml: limits: "),
        (SMALLEST + "limits = 1", "kind/name.toml: limits: is no table"),
        (SMALLEST + '[full]\nsat = ""', "kind/name.toml: full: sat is no field"),
        (SMALLEST + '[[then]]\nwhy = "no"', "kind/name.toml: then[0]: sat is missing"),
        (SMALLEST + "then = [1]", "kind/name.toml: then[0]: is no table"),
        (SMALLEST + "passed = true", "kind/name.toml: passed must be of type int, not bool"),
        (SMALLEST + 'tests = "t"', "kind/name.toml: tests is no field"),
        (SMALLEST + 'entry_point = "f"', "kind/name.toml: entry_point needs either tests or cases"),
        (PROGRAM + "cases = [[1]]", "kind/name.toml: cases has a case 0 that is no array of 2 parts"),
        (PROGRAM + "cases = [1]", "kind/name.toml: cases has a case 0 that is no array of 2 parts"),
        (PROGRAM + "cases = 1", "kind/name.toml: cases must be of type list, not int"),
        (PROGRAM + 'cases_python = "[f()]"', "kind/name.toml: cases_python is no Python literal"),
        (PROGRAM + 'cases_python = "1"', "kind/name.toml: cases_python must be a list, not int"),
        (PROGRAM + 'cases = []\ncases_python = "[]"', "kind/name.toml: cases is no field"),
        (PROGRAM + 'cases = []\nprelude = ""', "kind/name.toml: prelude is no field"),
    ],
)
def test_a_malformed_file_is_named_with_its_field(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(MalformedCase, match=re.escape(complaint)):
        cases.load(write(tmp_path, text))
