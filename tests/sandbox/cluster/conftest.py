"""A cluster of three nodes on this machine, for the tests of this folder."""

from __future__ import annotations

import socket
import warnings
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="package")
def cluster() -> Iterator[Any]:
    """A head that judges nothing, and three nodes of one processor each. Their traffic stays on the loopback."""
    if [name for _, name in socket.if_nameindex()] != ["lo"]:
        pytest.skip("a cluster is started only where there is no other network than a loopback: python -m tests.outer")
    with warnings.catch_warnings():  # its imports change the filters
        import ray
        import ray.data

        import selftaught.ray  # noqa: F401
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 80 << 20})
    for _ in range(3):
        add_node(found)
    ray.init(address=found.address, log_to_driver=False, logging_level=30)
    yield found
    ray.shutdown()
    found.shutdown()


def add_node(cluster: Any) -> Any:
    """Start one more node."""
    return cluster.add_node(num_cpus=1, object_store_memory=80 << 20)
