"""One daemon for all processes of a user: started once, by the first client, and ended after the last."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from selftaught.sandbox import CannotConfine, Limits, Task, Verifier
from selftaught.sandbox.client import shared
from tests.conftest import gone

RANK = """
import sys
from selftaught.sandbox import Limits, Task, Verifier
with Verifier.shared(workers=1, require="restricted", idle_seconds=2) as verifier:
    for number in range(5):
        task = Task(str(number), f"def sat(x: int): return x == {number}", str(number))
        assert verifier.verify(task).accepted
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Use a temporary runtime directory; at the end kill the daemons that are left in it."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    yield tmp_path / "selftaught"
    for daemon in daemons(tmp_path):
        daemon.kill()


def daemons(folder: Path) -> list[psutil.Process]:
    """Return the daemons whose sockets are in this directory."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if "serve" in command and any(str(folder) in word for word in command):
            found.append(process)
    return found


def task(number: int) -> Task:
    return Task(str(number), f"def sat(x: int): return x == {number}", str(number))


def test_concurrent_ranks_start_one_daemon_and_the_last_to_leave_ends_it(tmp_path: Path) -> None:
    ranks = [
        subprocess.Popen([sys.executable, "-c", RANK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(5)
    ]
    for rank in ranks:
        assert rank.stdout is not None
        assert rank.stdout.readline() == "ready\n"
    (daemon,) = daemons(tmp_path)
    for number, rank in enumerate(ranks[:-1]):
        if number % 2:
            rank.kill()  # a rank that crashes has left too
        else:
            assert rank.stdin is not None
            rank.stdin.close()
        rank.wait()
    time.sleep(4)
    assert daemon.is_running(), "one client is left, however quiet"
    ranks[-1].kill()
    ranks[-1].wait()
    assert gone([daemon, *daemon.children(recursive=True)], 15)
    for rank in ranks:
        for pipe in (rank.stdin, rank.stdout):
            if pipe is not None:
                pipe.close()


def test_equal_arguments_share_and_others_do_not(tmp_path: Path) -> None:
    with (
        Verifier.shared(workers=1, require="restricted") as one,
        Verifier.shared(workers=1, require="restricted") as same,
        Verifier.shared(workers=1, require="restricted", limits=Limits(cpu_seconds=2)) as other,
    ):
        assert one.url == same.url != other.url
        assert len(daemons(tmp_path)) == 2
        assert other.limits == Limits(cpu_seconds=2)
        assert one.verify(task(1)).accepted
        assert other.verify(task(1)).accepted
        for client in (one, other):
            client.stop()
        assert gone(daemons(tmp_path))


@pytest.mark.parametrize(
    "arguments",
    [{"engine": "fork"}, {"level": "restricted", "require": None}, {"workers": -1}, {"require_isolation": "process"}],
    ids=str,
)
def test_other_arguments_of_a_verifier_start_another_daemon_with_them(
    tmp_path: Path, arguments: dict[str, Any]
) -> None:
    usual: dict[str, Any] = {"workers": 1, "require": "full" if os.geteuid() == 0 else "restricted"}
    with (
        Verifier.shared(**usual) as one,
        Verifier.shared(**usual | arguments) as other,
        Verifier(**usual | arguments) as alone,
    ):
        assert len(daemons(tmp_path)) == 2
        for name in ("level", "engine", "workers", "required_isolation"):
            assert getattr(other, name) == getattr(alone, name), name
        verdict = other.verify(task(1))
        assert (verdict.status, verdict.level, verdict.verifier) == (
            "accepted",
            alone.level,
            alone.verify(task(1)).verifier,
        )
        for client in (one, other):
            client.stop()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"require": "utter"}, "no level 'utter'.*full, restricted"),
        ({"level": "container"}, "no level 'container' with backend 'local'"),
        ({"backend": "docker", "require": "full"}, "no level 'full' with backend 'docker': choose from container"),
        ({"backend": "podman"}, "unknown backend 'podman'"),
        ({"engine": "steam"}, "unknown engine 'steam'"),
        ({"require_isolation": "full"}, "unknown isolation 'full': choose from process, shared"),
        ({"image": "some-image"}, "backend='docker'"),
        ({"workers": 0}, "workers must not be 0"),
    ],
)
def test_arguments_that_a_verifier_refuses_start_no_daemon(
    tmp_path: Path, arguments: dict[str, Any], reason: str
) -> None:
    for make in (Verifier, Verifier.shared):
        with pytest.raises(ValueError, match=reason):
            make(**arguments)
    assert not daemons(tmp_path)


def test_an_unavailable_engine_is_an_error_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    with pytest.raises(CannotConfine, match="no container engine answers"):
        Verifier.shared(workers=1, backend="docker")
    assert not daemons(tmp_path)


def test_a_daemon_that_was_killed_is_started_again_and_no_task_lost(tmp_path: Path) -> None:
    with Verifier.shared(workers=1, require="restricted", idle_seconds=2) as verifier:
        ids = []
        for verdict in verifier.verify_many(map(task, range(400)), ordered=False):
            assert verdict.accepted
            ids.append(verdict.id)
            if len(ids) == 50:
                (daemon,) = daemons(tmp_path)
                daemon.kill()
        assert sorted(ids, key=int) == list(map(str, range(400)))
        verifier.stop()
        assert verifier.verify(task(1)).accepted
        verifier.stop()


def test_the_directory_and_the_socket_are_for_the_user_alone(runtime: Path) -> None:
    with Verifier.shared(workers=1, require="restricted", idle_seconds=1) as verifier:
        assert stat.S_IMODE(runtime.stat().st_mode) == 0o700
        assert stat.S_IMODE(Path(verifier.url.removeprefix("unix:")).stat().st_mode) == 0o600
        verifier.stop()


def test_a_directory_that_others_could_write_to_is_not_used(runtime: Path) -> None:
    runtime.mkdir(mode=0o777)
    runtime.chmod(0o777)
    with pytest.raises(RuntimeError, match="only this user"):
        Verifier.shared(workers=1, require="restricted")
    runtime.rmdir()
    (runtime.parent / "elsewhere").mkdir(mode=0o700)
    runtime.symlink_to(runtime.parent / "elsewhere")
    with pytest.raises(RuntimeError, match="only this user"):
        Verifier.shared(workers=1, require="restricted")


def test_a_daemon_that_cannot_start_is_an_error_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "_options", lambda *_: ["--no-such-option"])
    with pytest.raises(RuntimeError, match="no-such-option"):
        Verifier.shared(workers=1, require="restricted")
    assert not daemons(tmp_path)


def test_a_daemon_that_is_still_shutting_down_does_not_remove_its_successors_socket(tmp_path: Path) -> None:
    with Verifier.shared(workers=1, require="restricted", idle_seconds=2) as verifier:
        (first,) = daemons(tmp_path)
        os.kill(first.pid, signal.SIGSTOP)  # it ends later than its successor begins
        path = Path(verifier.url.removeprefix("unix:"))
        path.rename(path.with_suffix(".old"))
        assert verifier.verify(task(1)).accepted
        os.kill(first.pid, signal.SIGTERM)
        os.kill(first.pid, signal.SIGCONT)
        assert gone([first])
        assert path.exists()
        assert verifier.verify(task(2)).accepted
        verifier.stop()
