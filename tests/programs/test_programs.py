"""Programs as people and models write them do in the jail what they do under CPython: what they print, how they end."""

from __future__ import annotations

import difflib

import pytest

from selftaught.sandbox import StdioTask, Verifier
from tests.programs.corpus import LIMITS, Outcome, Sample, in_the_jail, samples, under_cpython

SAMPLES = samples()

each = pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)


@pytest.fixture(scope="session")
def chosen(request: pytest.FixtureRequest) -> list[Sample]:
    """The programs of the tests that were selected: they are run together, before the first is compared."""
    parameters = [getattr(item, "callspec", None) for item in request.session.items]
    given = [one.params.get("sample") for one in parameters if one is not None]
    names = {sample.name for sample in given if isinstance(sample, Sample)}
    return [sample for sample in SAMPLES if sample.name in names]


@pytest.fixture(scope="session")
def cpython(chosen: list[Sample], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    return under_cpython(chosen, tmp_path_factory.mktemp("programs"))


@pytest.fixture(scope="session")
def jail(chosen: list[Sample], verifier: Verifier) -> dict[str, Outcome]:
    return in_the_jail(chosen, verifier)


@each
def test_a_program_prints_and_ends_as_under_cpython_unless_it_is_said_why_not(
    sample: Sample, verifier: Verifier, cpython: dict[str, Outcome], jail: dict[str, Outcome]
) -> None:
    found, expected = jail[sample.name], cpython[sample.name]
    if verifier.level in sample.instead:
        expected = sample.instead[verifier.level]
        found = found.as_told_by(expected)
    if found != expected:
        lines = (str(outcome).splitlines() for outcome in (expected, found))
        difference = "\n".join(difflib.unified_diff(*lines, "expected", "in the jail", lineterm=""))
        pytest.fail(f"{sample.name}\n{difference}", pytrace=False)


@pytest.mark.parametrize("sample", [one for one in SAMPLES if one.why], ids=lambda sample: sample.name)
def test_what_is_said_to_differ_differs(sample: Sample, cpython: dict[str, Outcome]) -> None:
    assert sample.instead
    for other in sample.instead.values():
        assert cpython[sample.name].as_told_by(other) != other, "take `differs` out"


@pytest.fixture(scope="session")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> list[StdioTask]:
    """Every fifth program that ends well, with its output under CPython as what is expected."""
    fifth = SAMPLES[::5]
    outcomes = under_cpython(fifth, tmp_path_factory.mktemp("tasks"))
    return [
        StdioTask(one.name, one.code, [(one.stdin, outcomes[one.name].stdout)], compare="exact", limits=LIMITS)
        for one in fifth
        if not one.why and outcomes[one.name].ending == 0 and outcomes[one.name].is_verbatim
    ]


def test_programs_are_accepted_as_tasks_whose_expected_output_is_that_of_cpython(
    verifier: Verifier, tasks: list[StdioTask]
) -> None:
    assert len(tasks) >= len(SAMPLES) / 10
    refused = [
        (verdict.id, verdict.status, verdict.message) for verdict in verifier.verify_many(tasks) if not verdict.accepted
    ]
    assert not refused


def test_there_are_programs_of_every_area() -> None:
    areas = {sample.name.partition("/")[0] for sample in SAMPLES}
    assert len(SAMPLES) >= 300 and len(areas) >= 12
    assert len({(sample.code, sample.stdin) for sample in SAMPLES}) == len(SAMPLES)
