"""Where to run the daemon: the compose file and the Kubernetes manifest."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

import selftaught
from selftaught.sandbox.client import lookup
from selftaught.sandbox.client.daemon import LEAST_AHEAD
from selftaught.sandbox.server.admission import Admission
from selftaught.sandbox.server.command import serve
from selftaught.sandbox.server.memory import Memory
from selftaught.sandbox.server.metrics import Measured
from tests.sandbox.fake_worker import fake_verifier

FOLDER = Path(__file__).parents[2] / "images"
OBJECTS = list(yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text()))
AUTOSCALER = yaml.safe_load((FOLDER / "kubernetes-autoscaler.yaml").read_text())
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text())


@pytest.mark.parametrize("item", [*OBJECTS, AUTOSCALER], ids=lambda item: f"{item['kind']}-{item['metadata']['name']}")
@pytest.mark.parametrize("version", ["1.27", "1.33"])
def test_kubernetes_knows_every_field(item: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(item, version, strict=True)


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [item for item in OBJECTS if item["kind"] == kind]


def test_services_budget_and_policy_are_those_of_the_pods_of_the_deployment() -> None:
    (deployment,) = of_kind("Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    ports = {port["name"] for container in pod()["containers"] for port in container["ports"]}
    services = of_kind("Service")
    for service in services:
        assert service["spec"]["selector"] == labels
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    (budget,) = of_kind("PodDisruptionBudget")
    assert budget["spec"]["selector"]["matchLabels"] == labels
    (policy,) = of_kind("NetworkPolicy")
    assert policy["spec"] == {"podSelector": {"matchLabels": labels}, "policyTypes": ["Egress"], "egress": []}


def pod() -> dict[str, Any]:
    (deployment,) = of_kind("Deployment")
    found: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return found


def test_clients_that_share_their_work_get_an_address_for_each_pod() -> None:
    (headless,) = [service for service in of_kind("Service") if service["spec"].get("clusterIP") == "None"]
    (port,) = headless["spec"]["ports"]
    url = f"dns+http://{headless['metadata']['name']}:{port['port']}"
    assert lookup.check(url) == [url]
    assert url in (FOLDER.parent / "docs/deployment.md").read_text()


def test_a_pod_may_drain_before_it_is_killed() -> None:
    (drain,) = [option for option in serve.params if option.name == "drain"]
    assert pod()["terminationGracePeriodSeconds"] > drain.default


def test_the_autoscaler_reads_a_metric_that_the_daemon_exports() -> None:
    (deployment,) = of_kind("Deployment")
    target = AUTOSCALER["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", deployment["metadata"]["name"])
    (metric,) = AUTOSCALER["spec"]["metrics"]
    name = metric["pods"]["metric"]["name"]
    with fake_verifier(require="restricted") as verifier:
        measured = Measured(verifier)
        measured.watch(Admission(measured, 10, Memory(1 << 20)))
        assert re.search(rf"^# TYPE {name} gauge$", measured.exposition().decode(), re.M)
    arguments = pod()["containers"][0]["args"]
    workers = int(arguments[arguments.index("--workers") + 1])
    assert float(metric["pods"]["target"]["averageValue"]) == 1.5 * workers, "more than run, fewer than clients keep"
    assert 1.5 * workers < LEAST_AHEAD * workers


def test_prometheus_adapter_is_told_of_that_metric_with_the_labels_that_prometheus_sets() -> None:
    (metric,) = AUTOSCALER["spec"]["metrics"]
    (rule,) = yaml.safe_load((FOLDER / "prometheus-adapter.yaml").read_text())["rules"]["custom"]
    (job,) = yaml.safe_load((FOLDER / "prometheus-kubernetes.yml").read_text())["scrape_configs"]
    series, matchers = re.fullmatch(r"(\w+)\{(.*)\}", rule["seriesQuery"]).groups()  # type: ignore[union-attr]
    assert series == rule["name"]["as"] == metric["pods"]["metric"]["name"]
    assert re.fullmatch(rule["name"]["matches"], series)
    assert f'job="{job["job_name"]}"' in matchers
    labels = {each["target_label"] for each in job["relabel_configs"] if "target_label" in each}
    assert set(rule["resources"]["overrides"]) == labels == {"namespace", "pod"}
    for placeholder in ("<<.Series>>", "<<.LabelMatchers>>", "<<.GroupBy>>"):
        assert placeholder in rule["metricsQuery"]
    (selector,) = job["kubernetes_sd_configs"][0]["selectors"]
    assert selector["label"] == "app=" + of_kind("Deployment")[0]["metadata"]["labels"]["app"]


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
