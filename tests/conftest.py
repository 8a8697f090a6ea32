"""Shared by all tests: verifiers at each level, and what a worker has open."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from sandbox import CannotConfine, Verifier
from sandbox.jail import cgroup

LEVELS = ("full", "restricted")
DEMANDED = os.environ.get("SELFTAUGHT_LEVELS", "").split(",")
OUTER = os.environ.get("SELFTAUGHT_OUTER")


def pytest_configure() -> None:
    """A host that must show everything runs hostile code under the outer limit alone."""
    if "full" in DEMANDED and OUTER is None:
        raise pytest.UsageError("SELFTAUGHT_LEVELS demands the outer limit: python -m tests.outer python -m pytest")


def pytest_report_header() -> str:
    return f"outer limit: {OUTER or 'none (`make test` has one)'}"


@pytest.fixture(scope="session", params=LEVELS)
def verifier(request: pytest.FixtureRequest) -> Iterator[Verifier]:
    """A verifier with one worker, at each level; a level that this host can't reach is skipped by name.

    Set SELFTAUGHT_LEVELS=full,restricted (as CI does) to make a missing level a failure instead.
    """
    try:
        made = Verifier(workers=1, level=request.param)
    except CannotConfine as error:
        if request.param in DEMANDED:
            raise
        pytest.skip(f"this host can't reach level {request.param}: {error}")
    with made:
        yield made


def control_groups(pid: int) -> list[str]:
    """Those of the verifier in this process. Only our own place for them is searched: elsewhere ids mean other processes."""
    try:
        place = cgroup.find()
    except OSError:
        return []
    return sorted(str(path) for top in {place.memory, place.pids} for path in top.glob(f"selftaught-{pid}-*"))


def footprint(verifier: Verifier) -> dict[str, object]:
    """What the only worker holds: processes, descriptors, control groups, and the host's mounts."""
    (pid,) = verifier.worker_pids()
    warden = psutil.Process(pid)
    return {
        "processes": sorted(child.pid for child in warden.children(recursive=True)),
        "warden's descriptors": len(os.listdir(f"/proc/{pid}/fd")),
        "zygote's descriptors": [len(os.listdir(f"/proc/{child.pid}/fd")) for child in warden.children()],
        "control groups": control_groups(os.getpid()),
        "mounts": len(Path("/proc/self/mountinfo").read_text().splitlines()),
        "shared memory": sorted(os.listdir("/dev/shm")),
    }


@pytest.fixture(scope="session")
def p3() -> Path:
    """P3's puzzles.json, from $SELFTAUGHT_P3 or ``shared/p3`` beside the checkout."""
    folder = Path(os.environ.get("SELFTAUGHT_P3", Path(__file__).parents[2] / "shared" / "p3"))
    if not (folder / "puzzles.json").exists():
        pytest.skip(f"no P3 puzzles in {folder}: set SELFTAUGHT_P3 to the folder that holds puzzles.json")
    return folder / "puzzles.json"
