"""Fixtures of all tests: verifiers at each level, and the resources that a worker holds."""

from __future__ import annotations

import os
import signal
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
    """Refuse to run hostile code outside the outer limit on a host that must reach every level. Let programs be
    interrupted, which those are not that a shell starts in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if "full" in DEMANDED and OUTER is None and config.getoption("markexpr") != "container":
        raise pytest.UsageError("SELFTAUGHT_LEVELS demands the outer limit: python -m tests.outer python -m pytest")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests that run apart: outside the outer limit, which hides the container engine; or in a process of their
    own, since Ray leaves threads, and what asks whether it is there.
    """
    for item in items:
        parameters = getattr(item, "callspec", None)
        folder = item.path.relative_to(Path(__file__).parent).as_posix()
        if (
            folder.startswith("images/")
            or "/test_docker" in folder
            or (parameters is not None and "container" in parameters.id.split("-"))
        ):
            item.add_marker("container")
        if folder.startswith("sandbox/cluster/"):
            item.add_marker("cluster")


def pytest_report_header() -> str:
    return f"outer limit: {OUTER or 'none (`make test` has one)'}"


def settings() -> dict[str, object]:
    """Return the process-wide settings that a test or a library could leave changed for later tests."""
    return {
        "digits of integers": sys.get_int_max_str_digits(),
        "recursion": sys.getrecursionlimit(),
        "folder": os.getcwd(),
        "umask": Path("/proc/self/status").read_text().partition("Umask:")[2].split()[0],
        # of messages and categories of their own, libraries add some as they are imported
        "filters of warnings": sum(
            message is None and module is None and category.__module__ == "builtins"
            for _, message, category, module, _ in warnings.filters
        ),
    }


@pytest.fixture(autouse=True)
def _settings_stay() -> Iterator[None]:
    """Fail the test that changes them, instead of a later one that relies on them."""
    before = settings()
    yield
    assert settings() == before


def open_verifier(level: str, workers: int = 1, engine: str = "auto", limits: Limits | None = None) -> Verifier:
    """Return a verifier of exactly this level; skip the test if this host can't reach it.

    Set SELFTAUGHT_LEVELS=full,restricted,container and SELFTAUGHT_ENGINES=snapshot,fork (as CI does) to fail instead.
    """
    try:
        return Verifier(workers=workers, limits=limits, level=level, engine=engine, backend=BACKENDS[level])
    except CannotConfine as error:
        unreached(level, engine, error)


def unreached(level: str, engine: str, reason: object) -> NoReturn:
    """Skip the test for lack of a level or an engine, or fail it where both are demanded."""
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
    """Return the paths of the control groups of the verifier in this process of our pid namespace."""
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
    """Return True if all of these end in time. Init stays until process 1 of the host has reaped the others."""
    deadline = time.monotonic() + within_seconds
    while any(map(_runs, processes)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


SNAPSHOT_DESCRIPTORS = 5
"""File descriptors of a supervisor for each snapshot process."""


def footprint(verifier: Verifier) -> dict[str, object]:
    """Return what the only worker holds: processes, descriptors, control groups, and the host's mounts.

    Snapshot processes come and go: the snapshot engine has one, and a second from the first task with tests on.
    """
    (pid,) = verifier.worker_pids()
    due = (0,) if verifier.engine == "fork" else (1, 2)
    family, snapshots = _settled(psutil.Process(pid), due)
    return {
        "processes": [child.pid for child in family],
        "snapshot processes are as many as are due": len(snapshots) in due,
        "supervisor's descriptors": len(os.listdir(f"/proc/{pid}/fd")) - SNAPSHOT_DESCRIPTORS * len(snapshots),
        "children's descriptors": sorted(len(os.listdir(f"/proc/{child.pid}/fd")) for child in family),
        "snapshot processes' descriptors": {len(os.listdir(f"/proc/{child.pid}/fd")) for child in snapshots},
        "control groups": control_groups(os.getpid()),
        "mounts": len(Path("/proc/self/mountinfo").read_text().splitlines()),
        "shared memory": sorted(os.listdir("/dev/shm")),
    }


def _settled(
    supervisor: psutil.Process, snapshots_due: tuple[int, ...]
) -> tuple[list[psutil.Process], list[psutil.Process]]:
    """Wait until the snapshot processes that are due are ready; return the other children, and these."""
    until, ready_before = time.monotonic() + 5, True
    while True:
        children = sorted(supervisor.children(recursive=True), key=psutil.Process.create_time)
        snapshots = [child for child in children if child.status() == psutil.STATUS_TRACING_STOP]
        ready = len(snapshots) in snapshots_due and not any(os.listdir(f"/proc/{one.pid}/fd") for one in snapshots)
        # A supervisor that is not asleep still works on one, and has more descriptors for a moment.
        ready = ready and supervisor.status() == psutil.STATUS_SLEEPING
        if (ready and ready_before) or time.monotonic() > until:
            return [child for child in children if child not in snapshots], snapshots
        ready_before = ready
        time.sleep(0.02)


@pytest.fixture(scope="session")
def p3() -> Path:
    """Return the path of P3's puzzles.json, in $SELFTAUGHT_P3 or in ``shared/p3`` beside the checkout."""
    folder = Path(os.environ.get("SELFTAUGHT_P3", Path(__file__).parents[2] / "shared" / "p3"))
    if not (folder / "puzzles.json").exists():
        pytest.skip(f"no P3 puzzles in {folder}: set SELFTAUGHT_P3 to the folder that holds puzzles.json")
    return folder / "puzzles.json"
