"""The daemon's image, started by the documented command, by the compose file, and as the Kubernetes manifest's pod."""

from __future__ import annotations

import http.client
import json
import os
import re
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from selftaught.sandbox import Client, Status, Task
from tests.conftest import open_verifier, unreached
from tests.images.test_daemon import IMAGE
from tests.images.test_manifests import compose_command

REPOSITORY = Path(__file__).parents[2]
DEPLOYMENT = (REPOSITORY / "docs/deployment.md").read_text()
POD = next(
    each["spec"]["template"]["spec"]
    for each in yaml.safe_load_all((REPOSITORY / "images/kubernetes.yaml").read_text())
    if each["kind"] == "Deployment"
)
PORT = "127.0.0.1::8000"
"""Any free port instead of the one in the text."""


@dataclass
class Service:
    """A running daemon. way: what started it."""

    way: str
    container: Any
    token: str

    @property
    def port(self) -> int:
        self.container.reload()
        return int(self.container.attrs["NetworkSettings"]["Ports"]["8000/tcp"][0]["HostPort"])

    def ask(
        self, method: str, path: str, content: Any = None, host: str = "localhost", token: str | None = None
    ) -> tuple[int, Any]:
        """Status and body of one request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        headers = {"Host": host, "Content-Type": "application/json"} | (
            {"Authorization": f"Bearer {token}"} if token else {}
        )
        try:
            connection.request(method, path, None if content is None else json.dumps(content), headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def inside(self, code: str) -> tuple[int, str]:
        """What a program of ours in the container prints."""
        found = self.container.exec_run(["python3", "-c", code])
        return found.exit_code, found.output.decode()


def as_documented(engine: Any, folder: Path, name: str) -> None:
    """The command as it stands there, in a folder with a token and ``images/``; in the background, on a free port."""
    (command,) = re.findall(r"^(docker run (?:.*\\\n)*.*)$", DEPLOYMENT, re.MULTILINE)
    (folder / "images").symlink_to(REPOSITORY / "images")
    assert "127.0.0.1:8000:8000" in command
    command = command.replace("docker run", f"docker run -d --name {name}").replace("127.0.0.1:8000:8000", PORT)
    subprocess.run(["sh", "-c", command], cwd=folder, check=True, capture_output=True, timeout=60)


def by_compose(engine: Any, folder: Path, name: str) -> None:
    shutil.copytree(REPOSITORY / "images", folder / "images")
    shutil.copy(folder / "token", folder / "images/token")
    command = [*compose_command(), "-p", name, "run", "-d", "--no-deps", "--name", name, "--publish", PORT, "daemon"]
    subprocess.run(command, cwd=folder / "images", check=True, capture_output=True, timeout=60)


def as_a_pod(engine: Any, folder: Path, name: str) -> None:
    """Start it as a kubelet would: every field of the manifest that concerns the runtime, and no other may be there."""
    (spec,) = POD["containers"]
    pod, own = dict(POD["securityContext"]), dict(spec["securityContext"])
    assert pod.pop("runAsNonRoot") is True
    assert pod.pop("seccompProfile") == {"type": "RuntimeDefault"}
    assert own.pop("allowPrivilegeEscalation") is False
    mount, scratch = spec["volumeMounts"]
    volume, empty = POD["volumes"]
    assert (mount["name"], scratch["name"]) == (volume["name"], empty["name"])
    assert set(empty) == {"name", "emptyDir"}
    group, secret = pod.pop("fsGroup"), folder / "secret"
    secret.mkdir()
    shutil.copy(folder / "token", secret / "token")
    os.chown(secret / "token", 0, group)
    (secret / "token").chmod(volume["secret"]["defaultMode"])
    (port,) = spec["ports"]
    limits = spec["resources"]["limits"]
    engine.containers.run(
        spec["image"],
        spec["args"],
        name=name,
        detach=True,
        user=f"{pod.pop('runAsUser')}:{pod.pop('runAsGroup')}",
        group_add=[str(group)],
        read_only=own.pop("readOnlyRootFilesystem"),
        cap_drop=own.pop("capabilities")["drop"],
        security_opt=["no-new-privileges"],
        mem_limit=limits["memory"].removesuffix("i"),
        nano_cpus=int(limits["cpu"]) * 10**9,
        volumes={str(secret): {"bind": mount["mountPath"], "mode": "ro" if mount["readOnly"] else "rw"}},
        tmpfs={scratch["mountPath"]: f"size={empty['emptyDir']['sizeLimit'].removesuffix('i').lower()}"},
        ports={f"{port['containerPort']}/tcp": ("127.0.0.1", None)},
    )
    assert not pod
    assert not own


WAYS: dict[str, Callable[[Any, Path, str], None]] = {
    "documented": as_documented,
    "compose": by_compose,
    "pod": as_a_pod,
}


@pytest.fixture(scope="module", params=WAYS)
def service(request: pytest.FixtureRequest, engine: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A daemon that is ready. At the end it must stop with exit code 0 on SIGTERM."""
    if not engine.images.list(IMAGE):
        unreached("container", "auto", f"no image {IMAGE}: make images")
    folder, token, name = (
        tmp_path_factory.mktemp("service"),
        secrets.token_hex(32),
        f"selftaught-test-{secrets.token_hex(4)}",
    )
    (folder / "token").write_text(token + "\n")
    (folder / "token").chmod(0o644)
    if os.geteuid() != 0 and request.param == "pod":
        pytest.skip("only root can make a file that belongs to the pod's group")
    try:
        WAYS[request.param](engine, folder, name)
        made = Service(request.param, engine.containers.get(name), token)
        deadline = time.monotonic() + 30
        while "http://" not in (log := made.container.logs().decode()):
            assert time.monotonic() < deadline, log
            time.sleep(0.1)
        yield made
        made.container.stop(timeout=60)
        assert made.container.wait()["StatusCode"] == 0
        assert "Traceback" not in made.container.logs().decode()
    finally:
        for container in engine.containers.list(all=True, filters={"name": name}):
            container.remove(force=True)
        for network in engine.networks.list(names=[f"{name}_default"]):
            network.remove()


def test_it_is_ready_at_level_restricted(service: Service) -> None:
    status, body = service.ask("GET", "/readyz")
    assert (status, json.loads(body)) == (200, {"status": "ready", "level": "restricted"})


def test_only_who_has_the_token_may_ask(service: Service) -> None:
    task = {"sat": "def sat(x): return x == 1", "sol": "1"}
    assert service.ask("POST", "/v1/verify", task)[0] == 401
    assert service.ask("GET", "/metrics")[0] == 401
    status, body = service.ask("POST", "/v1/verify", task, token=service.token)
    assert (status, json.loads(body)["status"]) == (200, "accepted")


def test_a_client_streams_through_it_and_the_metrics_count_that(service: Service) -> None:
    tasks = [Task(str(i), f"def sat(x: int): return x == {i}", str(i) if i % 2 else "-1") for i in range(200)]
    with Client(f"http://127.0.0.1:{service.port}", token=service.token) as client:
        verdicts = list(client.verify_many(tasks))
    assert [(verdict.id, verdict.accepted) for verdict in verdicts] == [(str(i), bool(i % 2)) for i in range(200)]
    status, text = service.ask("GET", "/metrics", token=service.token)
    assert status == 200
    found = re.search(rb'^selftaught_verdicts_total{status="rejected"} (\S+)$', text, re.MULTILINE)
    assert found is not None
    assert float(found[1]) >= 100


def test_the_engine_is_the_fast_one_if_our_profile_is_given(service: Service) -> None:
    if service.way != "pod":
        open_verifier("restricted", engine="snapshot").close()
    config = json.loads(service.ask("GET", "/v1/config", token=service.token)[1])
    assert config["engine"] == ("fork" if service.way == "pod" else "snapshot")
    assert all(proof["holds"] for proof in config["protections"])


def test_it_is_not_root_holds_no_capability_and_can_write_nowhere_but_to_the_folder_of_programs(
    service: Service,
) -> None:
    code, printed = service.inside("print(open('/proc/1/status').read())")
    assert code == 0, printed
    status = dict(line.split(":\t", 1) for line in printed.splitlines() if ":\t" in line)
    assert set(status["Uid"].split()) == {"65534"}
    assert (int(status["CapEff"], 16), int(status["CapBnd"], 16), status["NoNewPrivs"], status["Seccomp"]) == (
        0,
        0,
        "1",
        "2",
    )
    for path in ("/x", "/opt/selftaught/x", "/run/x", "/run/secrets/x", "/var/tmp/x"):
        code, printed = service.inside(f"open({path!r}, 'w')")
        assert code == 1
        assert re.search("Read-only file system|Permission denied|No such file", printed), printed
    code, printed = service.inside("import os; open('/tmp/x', 'w').close(); os.remove('/tmp/x')")
    assert code == 0, printed


def test_tasks_over_their_memory_limit_get_that_status_and_cost_no_worker(service: Service) -> None:
    fill = "def sol():\n    kept = []\n    while True: kept.append(b'x' * (50 << 20))"
    tasks = [Task(str(i), f"def sat(x): return x == {i}", fill) for i in range(6)]
    found: dict[str, Status] = {}
    with Client(f"http://127.0.0.1:{service.port}", token=service.token) as client:
        for _ in range(3):  # on a busy machine so much memory may cost more than the limit of one second of CPU time
            late = [task for task in tasks if found.get(task.id, Status.TIME_LIMIT) is Status.TIME_LIMIT]
            found |= {verdict.id: verdict.status for verdict in client.verify_many(late)}
    assert found == {task.id: Status.MEMORY_LIMIT for task in tasks}
    assert b"\nselftaught_worker_restarts_total 0.0\n" in service.ask("GET", "/metrics", token=service.token)[1]


def test_its_health_is_seen(service: Service) -> None:
    """By the engine; of the pod by its probes, which a kubelet sends to the pod's address."""
    if service.way == "pod":
        (spec,) = POD["containers"]
        for probe in (spec["livenessProbe"], spec["readinessProbe"]):
            assert service.ask("GET", probe["httpGet"]["path"], host="10.1.2.3:8000")[0] == 200
        return
    deadline = time.monotonic() + 40
    while service.container.attrs["State"]["Health"]["Status"] != "healthy":
        assert time.monotonic() < deadline, service.container.attrs["State"]["Health"]
        time.sleep(0.5)
        service.container.reload()
