"""What the doctor finds, and what it says where a level can't be reached."""

from __future__ import annotations

import pytest

from selftaught.sandbox import CannotConfine, doctor
from selftaught.sandbox.backends import LEVELS, Placement


@pytest.fixture
def nothing_works(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(placement: Placement) -> None:
        engine = f"with engine {placement.engine} " if placement.engine != "auto" else ""
        raise CannotConfine(f"{placement.backend} {engine}can't: no control group")

    monkeypatch.setattr(Placement, "open", refuse)


def test_every_level_of_the_backend_is_examined() -> None:
    for backend, levels in LEVELS.items():
        found = doctor.examine(Placement(backend=backend))
        assert tuple(found["levels"]) == levels
        for result in found["levels"].values():
            assert bool(result["mechanisms"]) == bool(result["engine"]) == result["reached"]
            assert bool(result["reason"]) == bool(result["remedy"]) == (not result["reached"])
        assert found["level"] in (*levels, None)


@pytest.mark.usefixtures("nothing_works")
def test_a_survey_includes_containers() -> None:
    found = doctor.survey(Placement(engine="fork"))
    assert found["level"] is None
    assert list(found["levels"]) == ["full", "restricted", "container"]
    assert found["levels"]["full"]["reason"].startswith("local with engine fork can't")
    assert found["levels"]["container"]["reason"].startswith("docker with engine fork can't")
    assert list(doctor.survey(Placement(backend="docker"))["levels"]) == ["container"]


@pytest.mark.usefixtures("nothing_works")
def test_a_reason_has_a_remedy() -> None:
    for result in doctor.examine(Placement())["levels"].values():
        assert "delegated" in result["remedy"]
