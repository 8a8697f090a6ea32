"""Programs do in the jail what they do under CPython: what they print, and how they end."""

from __future__ import annotations

from pathlib import Path

import pytest

from selftaught.sandbox import StdioTask, Verifier
from tests.programs.corpus import LIMITS, Outcome, Sample, in_the_jail, samples, under_cpython

SAMPLES = samples()
ALIKE = [sample for sample in SAMPLES if sample.instead is None]
DIFFERENT = [sample for sample in SAMPLES if sample.instead is not None]

each = pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)


@pytest.fixture(scope="session")
def chosen(request: pytest.FixtureRequest) -> list[Sample]:
    """The programs of the tests that were selected: all of them are run before the first is compared."""
    parameters = [getattr(item, "callspec", None) for item in request.session.items]
    names = {one.params["sample"].name for one in parameters if one is not None and "sample" in one.params}
    return [sample for sample in SAMPLES if sample.name in names]


@pytest.fixture(scope="session")
def cpython(chosen: list[Sample], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    return under_cpython(chosen, tmp_path_factory.mktemp("programs"))


@pytest.fixture(scope="session")
def jail(chosen: list[Sample], verifier: Verifier) -> dict[str, Outcome]:
    return in_the_jail(chosen, verifier)


@each
def test_a_program_prints_and_ends_as_under_cpython(
    sample: Sample, cpython: dict[str, Outcome], jail: dict[str, Outcome]
) -> None:
    assert jail[sample.name] == cpython[sample.name]
