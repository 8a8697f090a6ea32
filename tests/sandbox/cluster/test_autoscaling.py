"""What an autoscaler and a scraper of metrics see of a `RayVerifier`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.sandbox.cluster.test_cluster import numbered, told_once


@pytest.fixture
def asked(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """What is asked of the autoscaler; this cluster has none."""
    from ray.autoscaler import sdk

    found: list[Any] = []
    monkeypatch.setattr(sdk, "request_resources", lambda bundles: found.append(bundles))
    yield found


def test_min_nodes_are_asked_of_the_autoscaler_and_the_wish_ends_with_the_verifier(asked: list[Any]) -> None:
    """What was asked for stays until it is withdrawn, and keeps nodes that nobody uses."""
    from selftaught.ray import RayVerifier

    with RayVerifier(workers=1, min_nodes=2):
        assert asked == [[{"CPU": 1}] * 2]
    assert asked == [[{"CPU": 1}] * 2, []]


def test_one_node_is_asked_of_nobody(asked: list[Any]) -> None:
    from selftaught.ray import RayVerifier

    with RayVerifier(workers=1, max_nodes=1) as verifier:
        assert len(verifier.nodes) == 1
    assert asked == []


def test_an_autoscaler_starts_the_nodes_that_are_asked_for_and_ends_them_after_the_verifier(cluster: Any) -> None:
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:  # sockets have short paths
        command = [sys.executable, "-m", "tests.sandbox.cluster.autoscaled", folder]
        done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [0, 2, 0, "accepted"]


def scrape() -> str:
    """Return what the nodes' own exporters of metrics say."""
    import ray

    texts = []
    for node in ray.nodes():  # type: ignore[no-untyped-call]
        if node["Alive"] and node["MetricsExportPort"]:
            url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
            try:
                with urllib.request.urlopen(url, timeout=10) as response:
                    texts.append(response.read().decode())
            except OSError:
                continue
    return "\n".join(texts)


def test_rays_exporter_has_the_verdicts_by_status_and_the_time_of_tasks(cluster: Any) -> None:
    from selftaught.ray import RayVerifier

    with RayVerifier(workers=1, min_nodes=3) as verifier:
        assert told_once(list(verifier.verify_many(numbered(640))), 640)
        deadline, counted, timed = time.monotonic() + 90, 0.0, 0.0
        while counted < 640 or timed < 640 // 16:
            assert time.monotonic() < deadline, (counted, timed)
            time.sleep(1)
            text = scrape()
            counted = total(text, r"ray_selftaught_tasks_total\{[^}]*status=\"accepted\"[^}]*\}")
            timed = total(text, r"ray_selftaught_task_seconds_count\{[^}]*\}")


def total(text: str, series: str) -> float:
    return sum(float(value) for value in re.findall(rf"^{series} (\S+)$", text, re.M))
