"""Containers: their confinement, their death, and what they leave."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from selftaught.sandbox import CannotConfine, Limits, Status, Task, Verifier
from selftaught.sandbox.backends import WorkerConfig
from selftaught.sandbox.errors import WorkerFailed
from selftaught.sandbox.jail import owner
from tests.conftest import open_verifier

docker = pytest.importorskip("docker", reason="the extra `docker` is not installed")
backend = pytest.importorskip("selftaught.sandbox.backends.docker")

SLEEPER = Task("sleeper", "def sat(x): return True", "import time\ndef sol(): time.sleep(60)", Limits(wall_seconds=30))


def task(number: int) -> Task:
    return Task(str(number), f"def sat(x: int, a={number}): return x == a + 1", f"def sol(a={number}): return a + 1")


earlier: set[str] = set()
"""Containers of other verifiers of this process, which other tests share."""


@pytest.fixture(autouse=True)
def _note_earlier_containers(engine: Any) -> Iterator[None]:
    earlier.update(one.id for one in owned_by(engine, os.getpid()))
    yield
    earlier.clear()


@pytest.fixture
def contained() -> Iterator[Verifier]:
    with open_verifier("container") as verifier:
        yield verifier


def owned_by(client: Any, pid: int) -> list[Any]:
    """Return the containers whose label names this process as owner."""
    found = client.containers.list(all=True, ignore_removed=True, filters={"label": backend.OWNER_LABEL})
    return [one for one in found if process_of(one) == pid and one.id not in earlier]


def owners(client: Any) -> set[int]:
    """Return the process ids of all owners of containers."""
    found = client.containers.list(all=True, ignore_removed=True, filters={"label": backend.OWNER_LABEL})
    return {process_of(one) for one in found}


def process_of(container: Any) -> int:
    """Return the process id in its label."""
    return int(container.labels[backend.OWNER_LABEL].split(".")[-2])


def gone(client: Any, pid: int, seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while owned_by(client, pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not owned_by(client, pid)


def test_a_container_is_confined_as_the_engine_reports(contained: Verifier, engine: Any) -> None:
    (container,) = owned_by(engine, os.getpid())
    host, config = container.attrs["HostConfig"], container.attrs["Config"]
    assert host["NetworkMode"] == "none"
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert not host["Privileged"]
    assert "no-new-privileges" in host["SecurityOpt"]
    assert any(option.startswith("seccomp={") for option in host["SecurityOpt"])
    assert not host["Binds"]
    for path, options in host["Tmpfs"].items():
        assert path in ("/tmp", "/run") and {"noexec", "nosuid", "nodev", "mode=0700"} <= set(options.split(","))
    assert 0 < host["PidsLimit"] <= 512
    assert 0 < host["Memory"] == host["MemorySwap"]
    assert host["CpusetCpus"] or host["NanoCpus"]
    assert config["User"] == "65534:65534"


def test_a_container_that_dies_is_replaced_and_no_task_is_lost(contained: Verifier, engine: Any) -> None:
    stream = contained.verify_many(task(i) for i in range(5000))
    verdicts = [next(stream) for _ in range(10)]
    (container,) = owned_by(engine, os.getpid())
    container.kill()
    verdicts += stream
    assert [verdict.id for verdict in verdicts] == [str(i) for i in range(5000)]
    assert all(verdict.accepted and verdict.level == "container" for verdict in verdicts)
    (replacement,) = owned_by(engine, os.getpid())
    assert replacement.id != container.id


def test_a_task_that_costs_two_containers_is_an_internal_error(contained: Verifier, engine: Any) -> None:
    verdicts = []
    thread = threading.Thread(target=lambda: verdicts.append(contained.verify(SLEEPER)))
    thread.start()
    killed: set[str] = set()
    deadline = time.monotonic() + 30
    while len(killed) < 2 and time.monotonic() < deadline:
        time.sleep(0.5)
        for container in owned_by(engine, os.getpid()):
            if container.id not in killed and container.status == "running":
                container.kill()
                killed.add(container.id)
    thread.join(30)
    assert [verdict.status for verdict in verdicts] == [Status.INTERNAL_ERROR]
    assert verdicts[0].retryable
    assert contained.verify(task(1)).accepted


def test_closing_in_mid_run_leaves_no_container(engine: Any) -> None:
    verifier = open_verifier("container")
    thread = threading.Thread(target=verifier.verify, args=(SLEEPER,))
    thread.start()
    time.sleep(0.3)
    verifier.close()
    thread.join(10)
    assert owned_by(engine, os.getpid()) == []


def test_a_task_may_have_more_memory_than_the_verifier_gives_by_default(contained: Verifier) -> None:
    sol = "def sol(): return len(bytearray(b'x') * (900 << 20))"
    large = Task("large", "def sat(n: int): return n == 900 << 20", sol,
                 Limits(cpu_seconds=10, memory_bytes=1 << 30))  # fmt: skip
    assert contained.verify(large).accepted


FILLERS = {
    "in steps": "kept = []\n    while True: kept.append(bytearray(1 << 20))",
    "in large steps": "kept = []\n    while True: kept.append(b'x' * (100 << 20))",
    "by doubling": "text = 'x'\n    while True: text += text",
    "at once": "return len(bytearray(1 << 40))",
}


def test_tasks_over_their_memory_limit_get_that_status_and_cost_no_container() -> None:
    """The container's own limit has room for the supervisor: it is not what ends them."""
    fill = [Task(f"sol {name}", "def sat(x): return True", f"def sol():\n    {body}") for name, body in FILLERS.items()]
    fill += [Task(f"sat {name}", f"def sat(x):\n    {body}", "1") for name, body in FILLERS.items()]
    largest = Task("answer", "def sat(x: str): return True", "def sol(): return 'x' * (31 << 20)")
    limits = Limits(cpu_seconds=10, wall_seconds=60)
    with open_verifier("container", workers=4, limits=limits) as verifier:
        tasks = [each for number in range(2) for each in (*fill, largest, task(number))]
        unlike = [Task(each.id, f"{each.sat}\n# {number}", each.sol) for number, each in enumerate(tasks)]
        verdicts = list(verifier.verify_many(unlike, ordered=False))
        assert {verdict.id: verdict.status for verdict in verdicts if verdict.id[:3] in ("sol", "sat")} == {
            each.id: Status.MEMORY_LIMIT for each in fill
        }
        assert all(verdict.accepted for verdict in verdicts if verdict.id == "answer" or verdict.id.isdecimal())
        assert len(verdicts) == len(tasks)
        assert len(verifier.worker_pids()) == 4
        assert verifier.restarts == 0


def test_an_answer_of_any_allowed_size_fits_into_the_container() -> None:
    limits = Limits(cpu_seconds=20, wall_seconds=60, memory_bytes=1 << 30, answer_bytes=200 << 20)
    with open_verifier("container", limits=limits) as verifier:
        large = Task("large", "def sat(x: str): return True", "def sol(): return 'x' * (199 << 20)")
        assert verifier.verify(large).accepted
        assert verifier.restarts == 0


CALLER = """
import sys, threading
from selftaught.sandbox import Limits, Task, Verifier
verifier = Verifier(workers=2, backend="docker")
task = Task("sleeper", "def sat(x): return True", "import time\\ndef sol(): time.sleep(60)", Limits(wall_seconds=59))
for _ in range(2):
    threading.Thread(target=verifier.verify, args=(task,), daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
"""


def test_a_killed_caller_leaves_no_container(engine: Any) -> None:
    caller = subprocess.Popen([sys.executable, "-c", CALLER], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with caller:
        assert caller.stdout is not None
        assert caller.stdout.readline() == b"ready\n"
        deadline = time.monotonic() + 20
        while len(owned_by(engine, caller.pid)) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert len(owned_by(engine, caller.pid)) == 2
        caller.send_signal(signal.SIGKILL)
    assert gone(engine, caller.pid)


def test_ranks_may_share_a_daemon_whose_workers_are_containers(
    contained: Verifier, engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    arguments: dict[str, Any] = {"workers": 1, "backend": "docker"}
    with Verifier.shared(**arguments) as one, Verifier.shared(**arguments) as same:
        assert one.url == same.url
        assert (one.level, one.engine) == ("container", contained.engine)
        assert one.verify(task(1)).level == same.verify(task(2)).level == "container"
        (daemon,) = owners(engine) - {os.getpid()}
        monkeypatch.setenv(
            "DOCKER_HOST", "unix:///nowhere"
        )  # another engine means another daemon, which can't start here
        with pytest.raises(CannotConfine, match="no container engine answers"):
            Verifier.shared(**arguments)
        monkeypatch.delenv("DOCKER_HOST")
        one.stop()
        assert gone(engine, daemon)


def test_containers_of_a_killed_caller_are_removed_at_the_next_start_and_no_others(engine: Any) -> None:
    """A container that was created and never started remains until then; those of other owners must stay."""
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    own = owner.identity()
    realm = own.rsplit(".", 2)[0]
    labels = {
        "left": f"{realm}.{dead.pid}.1",
        "reused number": f"{realm}.{os.getpid()}.1",
        "own": own,
        "another machine's": f"{uuid.uuid4()}.1.{dead.pid}.1",
        "another namespace's": f"{realm}0.{dead.pid}.1",
    }
    made = {
        name: engine.containers.create(backend.IMAGE, labels={backend.OWNER_LABEL: label}, network_mode="none")
        for name, label in labels.items()
    }
    try:
        backend.Docker(WorkerConfig(backend="docker"))
        left = {container.id for container in engine.containers.list(all=True)}
        assert {name for name, container in made.items() if container.id in left} == {
            "own",
            "another machine's",
            "another namespace's",
        }
    finally:
        for container in made.values():
            try:
                container.remove(force=True)
            except docker.errors.NotFound:
                continue


def test_verifiers_that_start_at_the_same_time_can_remove_the_same_containers(engine: Any) -> None:
    label = owner.identity().rpartition(".")[0] + ".1"
    for _ in range(4):
        engine.containers.create(backend.IMAGE, labels={backend.OWNER_LABEL: label}, network_mode="none")
    with ThreadPoolExecutor() as pool:
        opened = [pool.submit(backend.Docker, WorkerConfig(backend="docker")) for _ in range(4)]
    assert all(future.result() for future in opened)
    assert gone(engine, os.getpid())


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"image": "no-such-image"}, "has no image no-such-image.*make images"),
        ({"runtime": "no-such-runtime"}, "runtime"),
    ],
)
def test_what_is_missing_is_named_with_the_remedy(contained: Verifier, arguments: dict[str, str], reason: str) -> None:
    with pytest.raises(CannotConfine, match=reason):
        Verifier(workers=1, backend="docker", **arguments)  # type: ignore[arg-type]


def test_an_image_of_another_version_is_refused(engine: Any) -> None:
    stale = engine.containers.create(backend.IMAGE).commit(
        "selftaught-stale", conf={"Labels": {backend.VERSION_LABEL: "0.0.1"}}
    )
    try:
        with pytest.raises(CannotConfine, match=r"contains selftaught 0\.0\.1.*make images"):
            Verifier(workers=1, backend="docker", image="selftaught-stale")
    finally:
        for container in engine.containers.list(all=True, filters={"status": "created", "ancestor": backend.IMAGE}):
            if backend.OWNER_LABEL not in container.labels:
                container.remove()
        engine.images.remove(stale.id, force=True)


def test_without_an_engine_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    with pytest.raises(CannotConfine, match=r"no container engine answers.*DOCKER_HOST"):
        WorkerConfig(backend="docker").open()


def test_an_engine_behind_ssh_is_refused_with_the_way_to_reach_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "ssh://nowhere")
    with pytest.raises(CannotConfine, match="forward its socket"):
        WorkerConfig(backend="docker").open()


def test_what_a_supervisor_prints_before_it_dies_is_reported(engine: Any) -> None:
    broken = f"FROM {backend.IMAGE}\nENV PYTHONHOME=/nowhere\n"
    image, _ = engine.images.build(fileobj=io.BytesIO(broken.encode()), tag="selftaught-broken", rm=True)
    try:
        with pytest.raises(WorkerFailed, match=r"the worker died: (?s:.*)PYTHONHOME"):
            Verifier(workers=1, backend="docker", image="selftaught-broken")
    finally:
        engine.images.remove(image.id, force=True)


def test_arguments_that_do_not_fit_the_backend_are_refused() -> None:
    with pytest.raises(ValueError, match="backend='docker'"):
        Verifier(workers=1, image="some-image")
    with pytest.raises(ValueError, match="unknown backend"):
        Verifier(workers=1, backend="podman")
    with pytest.raises(ValueError, match="container"):
        Verifier(workers=1, backend="docker", require="full")


def test_the_command_judges_in_containers(contained: Verifier, tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps({"id": "1", "sat": "def sat(x): return x == 1", "sol": "1"}) + "\n")
    command = [
        sys.executable,
        "-m",
        "selftaught.sandbox.cli",
        "verify",
        str(path),
        "--backend",
        "docker",
        "--workers",
        "1",
    ]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    verdict = json.loads(done.stdout)
    assert (done.returncode, verdict["status"], verdict["level"]) == (0, "accepted", "container"), done.stderr


def test_doctor_names_the_engine_that_serves_in_containers(contained: Verifier) -> None:
    command = [sys.executable, "-m", "selftaught.sandbox.cli", "doctor", "--backend", "docker", "--json"]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    found = json.loads(done.stdout)
    assert (done.returncode, found["level"]) == (0, "container")
    assert found["levels"]["container"]["engine"]
    assert {"read-only root", "network", "user"} <= {
        proof["mechanism"] for proof in found["levels"]["container"]["mechanisms"]
    }


def test_a_forked_caller_gets_containers_of_its_own(contained: Verifier, engine: Any) -> None:
    assert contained.verify(task(1)).accepted
    child = os.fork()
    if child == 0:
        status = 1
        try:
            ok = contained.verify(task(2)).accepted
            contained.close()
            status = 0 if ok else 2
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert contained.verify(task(3)).accepted
    assert gone(engine, child)
