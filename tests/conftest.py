"""Shared by all tests: verifiers at each level, and what a worker has open."""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import psutil
import pytest

from selftaught.sandbox import CannotConfine, Limits, Verifier
from selftaught.sandbox.backends import LEVELS
from selftaught.sandbox.jail import cgroup, owner

BACKENDS = {level: backend for backend, levels in LEVELS.items() for level in levels}
ENGINES = ("snapshot", "fork")
DEMANDED, DEMANDED_ENGINES = (os.environ.get(f"SELFTAUGHT_{name}", "").split(",") for name in ("LEVELS", "ENGINES"))
OUTER = os.environ.get("SELFTAUGHT_OUTER")


def pytest_configure(config: pytest.Config) -> None:
    """A host that must show everything runs hostile code under the outer limit alone, or in a container."""
    if "full" in DEMANDED and OUTER is None and config.getoption("markexpr") != "container":
        raise pytest.UsageError("SELFTAUGHT_LEVELS demands the outer limit: python -m tests.outer python -m pytest")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what a container engine is needed for: it can't be watched from within the outer limit, and is a limit itself."""
    for item in items:
        parameters = getattr(item, "callspec", None)
        folder = item.path.relative_to(Path(__file__).parent).as_posix()
        if (
            folder.startswith("images/")
            or "/test_docker" in folder
            or (parameters is not None and "container" in parameters.id.split("-"))
        ):
            item.add_marker("container")


def pytest_report_header() -> str:
    return f"outer limit: {OUTER or 'none (`make test` has one)'}"


def settings() -> dict[str, object]:
    """What a whole process shares, and a test or a library could leave changed for all that come after."""
    return {
        "digits of integers": sys.get_int_max_str_digits(),
        "recursion": sys.getrecursionlimit(),
        "folder": os.getcwd(),
        "umask": Path("/proc/self/status").read_text().partition("Umask:")[2].split()[0],
        "filters of warnings": len(warnings.filters),
    }


@pytest.fixture(autouse=True)
def _settings_stay() -> Iterator[None]:
    """Fails the test that changes them, instead of one that stands on them later."""
    before = settings()
    yield
    assert settings() == before


def open_verifier(level: str, workers: int = 1, engine: str = "auto", limits: Limits | None = None) -> Verifier:
    """A verifier of exactly this level; what this host can't do skips the test, by name.

    Set SELFTAUGHT_LEVELS=full,restricted,container and SELFTAUGHT_ENGINES=snapshot,fork (as CI does) to make what is
    missing a failure instead.
    """
    try:
        return Verifier(workers=workers, limits=limits, level=level, engine=engine, backend=BACKENDS[level])
    except CannotConfine as error:
        unreached(level, engine, error)


def unreached(level: str, engine: str, reason: object) -> NoReturn:
    """Skip a test for lack of a level or an engine, or fail it where both were demanded."""
    message = f"this host can't do level {level} with engine {engine}: {reason}"
    if level in DEMANDED and engine in ("auto", *DEMANDED_ENGINES):
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session", params=[f"{level}-{engine}" for level in BACKENDS for engine in ENGINES])
def verifier(request: pytest.FixtureRequest) -> Iterator[Verifier]:
    """A verifier with one worker, at each level with each engine."""
    level, engine = request.param.split("-")
    with open_verifier(level, engine=engine) as made:
        yield made


@pytest.fixture(scope="session")
def engine() -> Iterator[Any]:
    """A client of the container engine."""
    try:
        from selftaught.sandbox.backends.docker import connect

        client = connect()
    except (ImportError, CannotConfine) as error:
        unreached("container", "auto", error)
    yield client
    client.close()


def control_groups(pid: int) -> list[str]:
    """Those of the verifier in this process of our pid namespace."""
    try:
        place = cgroup.find()
    except OSError:
        return []
    realm = owner.identity().rsplit(".", 2)[0]
    return sorted(str(path) for top in {place.memory, place.pids} for path in top.glob(f"selftaught-{realm}.{pid}.*"))


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # it has ended between the two questions
        return False


def gone(processes: Iterable[psutil.Process], within_seconds: float = 10.0) -> bool:
    """Whether all of these end. A pid namespace's first process stays until process 1 of the host has reaped the others."""
    deadline = time.monotonic() + within_seconds
    while any(map(_runs, processes)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


RUNNERS_DESCRIPTORS = 5
"""Of a supervisor, for each runner of its snapshot engine."""


def footprint(verifier: Verifier) -> dict[str, object]:
    """What the only worker holds: processes, descriptors, control groups, and the host's mounts. Its runners come and go: there is at least one, if
    any, and one in reserve after the first that had to go."""
    (pid,) = verifier.worker_pids()
    due = 0 if verifier.engine == "fork" else 2 if verifier.counters.replaced else 1
    family, runners = _settled(psutil.Process(pid), due)
    return {
        "processes": [child.pid for child in family],
        "runners missing": due - len(runners),
        "supervisor's descriptors": len(os.listdir(f"/proc/{pid}/fd")) - RUNNERS_DESCRIPTORS * len(runners),
        "children's descriptors": sorted(len(os.listdir(f"/proc/{child.pid}/fd")) for child in family),
        "runners' descriptors": {len(os.listdir(f"/proc/{child.pid}/fd")) for child in runners},
        "control groups": control_groups(os.getpid()),
        "mounts": len(Path("/proc/self/mountinfo").read_text().splitlines()),
        "shared memory": sorted(os.listdir("/dev/shm")),
    }


def _settled(supervisor: psutil.Process, runners_due: int) -> tuple[list[psutil.Process], list[psutil.Process]]:
    """Its children when all runners that are due are there and ready: those that last, and the runners, which are traced."""
    until, ready_before = time.monotonic() + 5, True
    while True:
        children = sorted(supervisor.children(recursive=True), key=psutil.Process.create_time)
        runners = [child for child in children if child.status() == psutil.STATUS_TRACING_STOP]
        ready = len(runners) == runners_due and not any(os.listdir(f"/proc/{runner.pid}/fd") for runner in runners)
        ready = (
            ready and supervisor.status() == psutil.STATUS_SLEEPING
        )  # else it is still at work on one, and holds more for a moment
        if (ready and ready_before) or time.monotonic() > until:
            return [child for child in children if child not in runners], runners
        ready_before = ready
        time.sleep(0.02)


@pytest.fixture(scope="session")
def p3() -> Path:
    """P3's puzzles.json, from $SELFTAUGHT_P3 or ``shared/p3`` beside the checkout."""
    folder = Path(os.environ.get("SELFTAUGHT_P3", Path(__file__).parents[2] / "shared" / "p3"))
    if not (folder / "puzzles.json").exists():
        pytest.skip(f"no P3 puzzles in {folder}: set SELFTAUGHT_P3 to the folder that holds puzzles.json")
    return folder / "puzzles.json"
