"""A Ray cluster with an autoscaler whose nodes are processes of this machine, in a process of its own for a test.

    python -m tests.sandbox.cluster.autoscaled FOLDER

Prints as JSON how many nodes there are before a `RayVerifier` asks for them, while it is open, and at the end. Ray's
own `AutoscalingCluster` reads a file that its wheels lack, and ends other clusters of the machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import ray

from selftaught.ray import RayVerifier
from selftaught.sandbox import Task

MEMORY = 80 << 20
PORT = 6379  # the only one at which its nodes look for the head
LISTS = (
    "cluster_synced_files initialization_commands setup_commands head_setup_commands worker_setup_commands "
    "head_start_ray_commands worker_start_ray_commands"
)
CONFIG: dict[str, Any] = {
    "cluster_name": "of-a-test",
    "max_workers": 4,
    "upscaling_speed": 1.0,
    "idle_timeout_minutes": 0.1,
    "head_node_type": "head",
    "available_node_types": {
        "head": {"resources": {}, "node_config": {}, "max_workers": 0},
        "small": {
            "resources": {"CPU": 1, "object_store_memory": MEMORY}, "node_config": {}, "min_workers": 0,
            "max_workers": 4,
        },
    },
    "provider": {
        "type": "fake_multinode", "use_node_id_as_ip": True, "disable_node_updaters": True,
        "disable_launch_config_check": True,
    },
    **{name: {} for name in ("auth", "file_mounts", "head_node", "worker_nodes")},
    **{name: [] for name in LISTS.split()},
}  # fmt: skip


def start(folder: Path) -> str:
    """Start a head without processors; return its address."""
    (folder / "config.json").write_text(json.dumps(CONFIG).replace('"head"', '"ray.head.default"'))
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", f"--port={PORT}", "--num-cpus=0"]
    command += [f"--object-store-memory={MEMORY}", f"--autoscaling-config={folder / 'config.json'}"]
    command += [f"--temp-dir={folder}", "--include-dashboard=false", "--node-ip-address=127.0.0.1"]
    environment = os.environ | {"AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_FAKE_CLUSTER": "1"}
    subprocess.run([*command, "--disable-usage-stats"], env=environment, check=True, stdout=subprocess.DEVNULL)
    return f"127.0.0.1:{PORT}"


def nodes() -> int:
    return sum(node["Alive"] and bool(node["Resources"].get("CPU")) for node in ray.nodes())  # type: ignore


def main() -> None:
    folder = Path(sys.argv[1])
    try:
        ray.init(address=start(folder), log_to_driver=False, logging_level=30)
        before = nodes()
        with RayVerifier(workers=1, min_nodes=2, max_nodes=2) as verifier:
            during = nodes()
            status = verifier.verify(Task("", "def sat(x: int):\n    return x == 1", "1")).status
        end = time.monotonic() + 90
        while nodes() and time.monotonic() < end:
            time.sleep(0.5)
        print(json.dumps([before, during, nodes(), status]))
        ray.shutdown()
    finally:
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if str(folder) in " ".join(process.cmdline()) and process.pid != os.getpid():
                    process.kill()


if __name__ == "__main__":
    main()
