"""Shared by all tests: verifiers at each level, and what a worker has open."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil
import pytest

from sandbox import CannotConfine, Verifier

LEVELS = ("full", "restricted")


@pytest.fixture(scope="session", params=LEVELS)
def verifier(request: pytest.FixtureRequest) -> Iterator[Verifier]:
    """A verifier with one worker, at each level; a level that this host can't reach is skipped by name.

    Set SELFTAUGHT_LEVELS=full,restricted (as CI does) to make a missing level a failure instead.
    """
    try:
        made = Verifier(workers=1, level=request.param)
    except CannotConfine as error:
        if request.param in os.environ.get("SELFTAUGHT_LEVELS", "").split(","):
            raise
        pytest.skip(f"this host can't reach level {request.param}: {error}")
    with made:
        yield made


def gone(processes: Iterable[psutil.Process], within_seconds: float = 10.0) -> bool:
    """Whether all of these end. A pid namespace's first process stays until process 1 of the host has reaped the others."""
    deadline = time.monotonic() + within_seconds
    while any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def footprint(verifier: Verifier) -> dict[str, object]:
    """What the only worker holds: processes, descriptors, control groups, and the host's mounts."""
    (pid,) = verifier.worker_pids()
    warden = psutil.Process(pid)
    return {
        "processes": sorted(child.pid for child in warden.children(recursive=True)),
        "warden's descriptors": len(os.listdir(f"/proc/{pid}/fd")),
        "zygote's descriptors": [len(os.listdir(f"/proc/{child.pid}/fd")) for child in warden.children()],
        "control groups": sorted(str(path) for path in Path("/sys/fs/cgroup").glob(f"**/selftaught-{os.getpid()}-*")),
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
