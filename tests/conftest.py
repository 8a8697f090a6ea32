"""Shared by all tests: verifiers at each level, and what a worker has open."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import psutil
import pytest

from sandbox import CannotConfine, Verifier
from sandbox.backends import LEVELS

BACKENDS = {level: backend for backend, levels in LEVELS.items() for level in levels}


def open_verifier(level: str, workers: int = 1) -> Verifier:
    """A verifier of exactly this level; a level that this host can't reach skips the test, by name.

    Set SELFTAUGHT_LEVELS=full,restricted,container (as CI does) to make a missing level a failure instead.
    """
    try:
        return Verifier(workers=workers, level=level, backend=BACKENDS[level])
    except CannotConfine as error:
        unreached(level, error)


def unreached(level: str, reason: object) -> NoReturn:
    """Skip a test for lack of a level, or fail it where that level was demanded."""
    message = f"this host can't reach level {level}: {reason}"
    if level in os.environ.get("SELFTAUGHT_LEVELS", "").split(","):
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session", params=list(BACKENDS))
def verifier(request: pytest.FixtureRequest) -> Iterator[Verifier]:
    """A verifier with one worker, at each level."""
    with open_verifier(request.param) as made:
        yield made


@pytest.fixture(scope="session")
def engine() -> Iterator[Any]:
    """A client of the container engine."""
    try:
        import docker

        client = docker.from_env()
    except Exception as error:
        unreached("container", error)
    yield client
    client.close()


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
