"""What the doctor finds, and what it says where a level can't be reached."""

from __future__ import annotations

import pytest

from selftaught.sandbox import CannotConfine, doctor
from selftaught.sandbox.backends import LEVELS, WorkerConfig


@pytest.fixture
def nothing_works(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(config: WorkerConfig) -> None:
        engine = f"with engine {config.engine} " if config.engine != "auto" else ""
        raise CannotConfine(f"{config.backend} {engine}can't: no control group")

    monkeypatch.setattr(WorkerConfig, "open", refuse)


def test_every_level_of_the_backend_is_examined() -> None:
    for backend, levels in LEVELS.items():
        found = doctor.examine(WorkerConfig(backend=backend))
        assert tuple(found["levels"]) == levels
        for result in found["levels"].values():
            assert bool(result["mechanisms"]) == bool(result["engine"]) == result["reached"]
            assert bool(result["reason"]) == bool(result["remedy"]) == (not result["reached"])
        assert found["level"] in (*levels, None)


@pytest.mark.usefixtures("nothing_works")
def test_a_survey_includes_containers() -> None:
    found = doctor.survey(WorkerConfig(engine="fork"))
    assert found["level"] is None
    assert list(found["levels"]) == ["full", "restricted", "container"]
    assert found["levels"]["full"]["reason"].startswith("local with engine fork can't")
    assert found["levels"]["container"]["reason"].startswith("docker with engine fork can't")
    assert list(doctor.survey(WorkerConfig(backend="docker"))["levels"]) == ["container"]


@pytest.mark.usefixtures("nothing_works")
def test_a_reason_has_a_remedy() -> None:
    for result in doctor.examine(WorkerConfig())["levels"].values():
        assert "delegated" in result["remedy"]
