"""The daemon with workers in containers: the same responses, and nothing lost or left, whatever dies."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import psutil
import pytest

from selftaught.sandbox import Client, Task, Verdict
from tests.conftest import gone
from tests.sandbox.backends.test_docker import gone as no_container_of
from tests.sandbox.backends.test_docker import owned_by
from tests.sandbox.server.conftest import Daemon, lines, sleeper, task
from tests.sandbox.server.test_end import check, right_or_wrong

docker = pytest.importorskip("docker", reason="the extra `docker` is not installed")


@pytest.fixture
def begin(engine: Any, start: Callable[..., Daemon]) -> Callable[..., Daemon]:
    """Return a function that starts daemons whose workers are containers."""
    return lambda *options: start("--backend", "docker", "--require", "container", *options)


def running(engine: Any, daemon: Daemon, count: int) -> list[Any]:
    """Return the daemon's containers when there are so many."""
    deadline = time.monotonic() + 30
    while len(found := [one for one in owned_by(engine, daemon.process.pid) if one.status == "running"]) < count:
        assert time.monotonic() < deadline, f"{len(found)} containers"
        time.sleep(0.1)
    return found


def test_each_path_answers_from_containers(begin: Any, engine: Any) -> None:
    daemon = begin("--workers", "2")
    status, verdict, _ = daemon.ask("POST", "/v1/verify", task(1))
    assert (status, verdict["status"], verdict["level"]) == (200, "accepted", "container")
    batch = [
        task(1),
        {"sat": 1},
        task(2, sol="def sol(): return 5"),
        task(3, sol="import os\ndef sol(): return os.fork()"),
    ]
    found = lines(daemon.ask("POST", "/v1/verify/batch", batch)[1])
    assert [each["status"] for each in found] == ["accepted", "invalid", "rejected", "forbidden"]
    assert "clone" in found[3]["message"]
    _, run, _ = daemon.ask("POST", "/run_code", {"code": "print(6 * 7)", "language": "python"})
    assert (run["status"], run["run_result"]["stdout"]) == ("Success", "42\n")
    assert daemon.ask("GET", "/readyz")[:2] == (200, {"status": "ready", "level": "container"})
    config = daemon.ask("GET", "/v1/config")[1]
    assert (config["level"], config["required_level"]) == ("container", "container")
    assert {"read-only root", "network", "user", "Landlock"} <= {proof["mechanism"] for proof in config["protections"]}
    assert 1 <= len(running(engine, daemon, 1)) <= 2
    assert daemon.stop() == 0
    assert not owned_by(engine, daemon.process.pid)


def _kill_container(container: Any) -> None:
    container.kill()


def _kill_supervisor(container: Any) -> None:
    psutil.Process(container.attrs["State"]["Pid"]).kill()


@pytest.mark.parametrize("kill", [_kill_container, _kill_supervisor], ids=["by the engine", "its first process"])
def test_containers_killed_in_mid_load_lose_nothing_and_nothing_is_judged_twice(
    begin: Any, engine: Any, kill: Callable[[Any], None]
) -> None:
    daemon = begin("--workers", "2")
    running(engine, daemon, 1)
    done, kills, count = threading.Event(), Counter[str](), 0

    def kill_over_and_over() -> None:
        while not done.wait(2.0):
            with suppress(docker.errors.APIError, psutil.Error, IndexError):
                victim = random.choice([one for one in owned_by(engine, daemon.process.pid) if one.status == "running"])
                kill(victim)
                kills[victim.id] += 1

    def source() -> Iterator[Task]:
        nonlocal count
        while len(kills) < 4 and count < 400_000:
            yield right_or_wrong(count)
            count += 1

    thread = threading.Thread(target=kill_over_and_over)
    thread.start()
    try:
        with Client(daemon.url) as client:
            ledger: list[Verdict] = list(client.verify_many(source(), ordered=False))
    finally:
        done.set()
        thread.join()
    check(ledger, count)
    assert len(kills) >= 4
    assert daemon.metric("selftaught_worker_restarts_total") >= 1  # others may have been idle, or not have been ready
    assert {verdict.level for verdict in ledger} == {"container"}
    assert daemon.stop() == 0
    assert not owned_by(engine, daemon.process.pid)


def _busy(daemon: Daemon, count: int) -> list[threading.Thread]:
    """Send requests until the daemon ends."""

    def ask() -> None:
        with suppress(OSError, ConnectionError):
            daemon.ask("POST", "/v1/verify", sleeper(60))

    threads = [threading.Thread(target=ask) for _ in range(count)]
    for thread in threads:
        thread.start()
    daemon.until("selftaught_tasks", count)
    return threads


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_end_of_the_daemon_in_mid_run_leaves_no_container(begin: Any, engine: Any, number: int) -> None:
    daemon = begin("--workers", "2", "--drain", "0.5", "--cpu-limit", "30")
    threads = _busy(daemon, 2)
    supervisors = [psutil.Process(one.attrs["State"]["Pid"]) for one in running(engine, daemon, 2)]
    assert daemon.stop(number) == (1 if number == signal.SIGTERM else -signal.SIGKILL)
    assert no_container_of(engine, daemon.process.pid, 0.0 if number == signal.SIGTERM else 10.0)
    assert gone(supervisors)
    for thread in threads:
        thread.join()


def test_what_a_killed_daemon_could_not_end_is_removed_by_the_next(begin: Any, engine: Any) -> None:
    """A container that is paused does not notice that its daemon is gone."""
    first = begin("--workers", "1")
    (frozen,) = running(engine, first, 1)
    frozen.pause()
    first.stop(signal.SIGKILL)
    assert not no_container_of(engine, first.process.pid, 2.0), "it went by itself: nothing was tested"
    second = begin("--workers", "1")
    assert no_container_of(engine, first.process.pid)
    assert second.ask("POST", "/v1/verify", task(1))[1]["status"] == "accepted"
    assert len(owned_by(engine, second.process.pid)) == 1
    assert second.stop() == 0
    assert not owned_by(engine, second.process.pid)
