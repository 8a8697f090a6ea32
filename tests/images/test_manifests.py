"""Where to run the daemon: the compose file and the Kubernetes manifest."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

import selftaught

FOLDER = Path(__file__).parents[2] / "images"
OBJECTS = list(yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text()))
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text())


@pytest.mark.parametrize("item", OBJECTS, ids=lambda item: str(item["kind"]))
@pytest.mark.parametrize("version", ["1.27", "1.33"])
def test_kubernetes_knows_every_field(item: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(item, version, strict=True)


def test_the_pod_meets_the_security_standard_restricted() -> None:
    """Pod Security Standards, profile Restricted."""
    (deployment,) = (item for item in OBJECTS if item["kind"] == "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    assert all(set(volume) <= {"name", "secret", "emptyDir", "configMap"} for volume in pod["volumes"])
    for container in pod["containers"]:
        own = container["securityContext"]
        assert own["allowPrivilegeEscalation"] is False
        assert own["readOnlyRootFilesystem"] is True
        assert own["capabilities"] == {"drop": ["ALL"]}


def test_a_token_stands_before_every_port_that_others_reach() -> None:
    (deployment,) = (item for item in OBJECTS if item["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    arguments = container["args"]
    token = Path(arguments[arguments.index("--token-file") + 1])
    assert str(token.parent) in {mount["mountPath"] for mount in container["volumeMounts"]}
    dockerfile = (FOLDER / "daemon.Dockerfile").read_text()
    assert '"--token-file", "/run/secrets/selftaught-token"' in dockerfile
    assert COMPOSE["services"]["daemon"]["secrets"] == ["selftaught-token"]


def test_they_name_the_image_of_this_version() -> None:
    (deployment,) = (item for item in OBJECTS if item["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"selftaught:{selftaught.__version__}"
    assert COMPOSE["services"]["daemon"]["image"].endswith(f":-{selftaught.__version__}}}")


def test_every_published_port_of_the_compose_file_is_on_loopback() -> None:
    ports = [port for service in COMPOSE["services"].values() for port in service["ports"]]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def compose_command() -> list[str]:
    """How Compose is called here; what lacks it skips the test."""
    for command in (["docker-compose"], ["docker", "compose"]):
        if shutil.which(command[0]) and not subprocess.run([*command, "version"], capture_output=True).returncode:
            return command
    if "container" in os.environ.get("SELFTAUGHT_LEVELS", ""):
        pytest.fail("neither docker-compose nor docker compose is installed")
    pytest.skip("neither docker-compose nor docker compose is installed")


def test_compose_reads_its_file(tmp_path: Path) -> None:
    command = compose_command()
    shutil.copytree(FOLDER, tmp_path / "images")
    (tmp_path / "images/token").write_text("0" * 64)
    done = subprocess.run([*command, "config"], cwd=tmp_path / "images", capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert set(yaml.safe_load(done.stdout)["services"]) == {"daemon", "prometheus"}
