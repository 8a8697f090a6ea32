"""``selftaught doctor --attacks``: what it runs, what it says, and its exit codes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from selftaught.sandbox import CannotConfine, Limits, Status, attacks, cases, cli, doctor
from selftaught.sandbox.backends import WorkerConfig
from selftaught.sandbox.cases import Case, Expectation, Step
from selftaught.sandbox.errors import WorkerFailed
from selftaught.sandbox.task import Task
from tests.conftest import open_verifier

ROOT = Path(__file__).parents[2]
FEW = tuple(case for case in cases.load() if case.id in ("honest/plain", "files/read_shadow", "kernel/unknown_call"))
UNREACHED: dict[str, Any] = {"reached": False, "reason": "no room", "remedy": "Make room."}


def otherwise(case: Case) -> Case:
    """The case, with an expectation that is wrong."""
    return replace(case, steps=(replace(case.steps[0], expected=Expectation((Status.UNSTABLE,))), *case.steps[1:]))


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run the command on given cases at level `restricted`, the only one that this host has then."""
    reached = doctor.examine(WorkerConfig())["levels"]["restricted"]
    if not reached["reached"]:
        pytest.skip(f"this host can't do level restricted: {reached['reason']}")
    found = {"level": "restricted", "host": {}, "levels": {"full": UNREACHED, "restricted": reached}}

    def run(loaded: tuple[Case, ...], *arguments: str) -> Result:
        monkeypatch.setattr(cases, "load", lambda: loaded)
        monkeypatch.setattr(doctor, "survey", lambda config: {**found, "levels": dict(found["levels"])})
        monkeypatch.setattr(cli, "heed_sigterm", lambda: None)
        return CliRunner().invoke(cli.main, ["doctor", "--attacks", *arguments], catch_exceptions=False)

    return run


ENGINE = ("--require", "restricted", "--engine", "fork")


def test_all_as_expected(command: Callable[..., Result]) -> None:
    done = command(FEW, *ENGINE)
    assert done.exit_code == 0, done.output
    assert "restricted, fork: 3 cases" in done.stderr and "restricted, fork: files 1/1" in done.stderr
    assert "level of this host: restricted" in done.stdout and "seccomp filter" in done.stdout
    assert done.stdout.index("seccomp filter") < done.stdout.index("3/3")
    assert "full: not run. no room" in done.stdout


def test_what_comes_out_otherwise_is_named_with_its_reason(command: Callable[..., Result]) -> None:
    wrong = otherwise(FEW[0])
    done = command((wrong, *FEW[1:]), *ENGINE)
    assert done.exit_code == 1
    assert "2/3" in done.stdout
    named = next(line for line in done.stdout.splitlines() if wrong.id in line)
    assert "expected unstable; got " in named and wrong.why in named
    assert wrong.id in done.stderr


def test_json(command: Callable[..., Result]) -> None:
    wrong = otherwise(FEW[0])
    done = command((wrong, *FEW[1:]), *ENGINE, "--json")
    assert done.exit_code == 1
    full, restricted = json.loads(done.stdout)["attacks"]
    assert (full["level"], full["reason"], full["kinds"]) == ("full", "no room", {})
    assert (restricted["level"], restricted["engine"], restricted["reason"]) == ("restricted", "fork", "")
    assert restricted["kinds"][FEW[2].kind] == {"passed": 1, "run": 1, "excluded": 0}
    (failure,) = restricted["failures"]
    assert (failure["case"], failure["step"], failure["why"]) == (wrong.id, 1, wrong.why)


def test_only_some_kinds(command: Callable[..., Result]) -> None:
    done = command((otherwise(FEW[0]), *FEW[1:]), *ENGINE, "--kind", FEW[1].kind, "--kind", FEW[2].kind)
    assert done.exit_code == 0, done.output
    assert "2/2" in done.stdout
    unknown = command(FEW, "--kind", "colours")
    assert unknown.exit_code == 2 and "choose from" in unknown.stderr


def test_a_case_that_does_not_apply_is_reported_and_is_no_pass(command: Callable[..., Result]) -> None:
    elsewhere = replace(FEW[0], levels=("full",))
    done = command((elsewhere, *FEW[1:]), *ENGINE)
    assert done.exit_code == 0
    assert "2/2, 1 not run" in done.stdout and "0/0, 1 not run" in done.stdout
    assert "1 not run, since they do not apply there" in done.stdout
    alone = command((elsewhere,), *ENGINE)
    assert alone.exit_code == 1, "nothing was run"


def test_a_level_that_is_not_reached_is_no_pass(command: Callable[..., Result]) -> None:
    done = command(FEW[:1], "--require", "full", "--engine", "fork")
    assert done.exit_code == 1
    assert "1/1" in done.stdout


@pytest.mark.parametrize("error", [CannotConfine("no userfaultfd"), WorkerFailed("no answer"), OSError("no room")])
def test_what_can_not_be_opened_is_no_pass(
    command: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    open_as_ever = attacks.Verifier.from_config

    def refuse(config: WorkerConfig, **options: Any) -> Any:
        if config.engine == "fork":
            raise error
        return open_as_ever(config, **options)

    monkeypatch.setattr(attacks.Verifier, "from_config", refuse)
    done = command(FEW, *ENGINE)
    assert done.exit_code == 1
    assert "restricted, fork: not run. " in done.stdout and str(error) in done.stdout
    open_verifier("restricted", engine="snapshot").close()
    done = command(FEW, "--require", "restricted")
    assert "3/3" in done.stdout
    assert done.exit_code == (0 if isinstance(error, CannotConfine) else 1)


def test_options_without_attacks_are_refused() -> None:
    done = CliRunner().invoke(cli.main, ["doctor", "--kind", "files"])
    assert done.exit_code == 2 and "--attacks" in done.stderr


def test_the_plan_has_every_engine_of_every_level_that_is_reached() -> None:
    levels = {
        "full": {"reached": True},
        "restricted": {"reached": False, "reason": "why"},
        "container": {"reached": True},
    }
    planned = [(place.level, place.engine, place.backend, why) for place, why in attacks.plan(WorkerConfig(), levels)]
    assert planned == [
        ("full", "snapshot", "local", ""),
        ("full", "fork", "local", ""),
        ("restricted", "auto", "local", "why"),
        ("container", "snapshot", "docker", ""),
        ("container", "fork", "docker", ""),
    ]
    asked = WorkerConfig(engine="fork", backend="docker", image="i", runtime="r", require="container")
    ((place, why),) = attacks.plan(asked, {"container": {"reached": True}})
    assert (place.level, place.engine, place.image, place.runtime, why) == ("container", "fork", "i", "r", "")


def test_cases_run_side_by_side_on_verifiers_of_their_own() -> None:
    open_verifier("restricted", engine="fork").close()
    seen: list[str] = []
    before = os.sched_getaffinity(0)
    place = WorkerConfig(level="restricted", engine="fork")
    result = attacks.run(place, FEW * 3, 2, lambda result, case, failure: seen.append(case.id))
    assert seen == [case.id for case in FEW * 3]
    assert (result.passed.total(), result.failures) == (9, [])
    assert os.sched_getaffinity(0) == before


def test_an_error_of_the_verifier_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    open_verifier("restricted", engine="fork").close()

    def fail(*_: object) -> None:
        raise OSError("gone")

    monkeypatch.setattr(attacks, "run_case", fail)
    result = attacks.run(WorkerConfig(level="restricted", engine="fork"), FEW[:1], 1, lambda *_: None)
    assert [failure.got for failure in result.failures] == ["OSError: gone"]


def test_a_verdict_that_comes_late_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Task("s", "def sat(x): return True", "import time\ndef sol(): time.sleep(1)", Limits(wall_seconds=2))
    case = Case("time", "late", "w", (Step(slow, Expectation((Status.WRONG_TYPE, Status.ACCEPTED)), {}),))
    with open_verifier("restricted", engine="fork") as verifier:
        assert attacks.run_case(verifier, case) is None
        monkeypatch.setattr(attacks, "_SPARE_SECONDS", -3.9)
        failure = attacks.run_case(verifier, case)
    assert failure is not None and failure.expected == "a verdict within 0.1 s"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a fresh environment with our wheel, which the dependencies of this one serve."""
    folder = tmp_path_factory.mktemp("attacks")
    venv.create(folder / "environment", symlinks=True)
    library = next((folder / "environment" / "lib").glob("python*/site-packages"))
    source = folder / "source"
    source.mkdir()
    left_out = shutil.ignore_patterns("__pycache__", "*.so", "build", "*.egg-info")
    for name in ("sandbox", "generator", "trainer", "selftaught"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=left_out)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    quiet = (sys.executable, "-m", "pip", "--quiet")
    build = [*quiet, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(folder), str(source)]
    subprocess.run(build, check=True, capture_output=True, cwd=folder)
    (wheel,) = folder.glob("selftaught-*.whl")
    put = [*quiet, "install", "--no-deps", "--no-index", "--target", str(library), str(wheel)]
    subprocess.run(put, check=True, capture_output=True, cwd=folder)
    (library / "needs.pth").write_text(next(path for path in sys.path if path.endswith("site-packages")) + "\n")
    return folder / "environment" / "bin" / "python"


def test_a_wheel_brings_the_cases(installed: Path, tmp_path: Path) -> None:
    open_verifier("restricted").close()
    count = "from selftaught.sandbox import cases; print(cases.__file__, len(cases.load()))"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [installed, *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    where, number = run("-c", count).stdout.split()
    assert installed.parents[1] in Path(where).parents
    assert int(number) == len(cases.load())
    done = run("-m", "selftaught.sandbox.cli", "doctor", "--attacks", "--kind", "protocol", *ENGINE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "restricted" in done.stdout
