"""Judge on three Ray nodes of this machine, and kill one in the middle: python examples/ray_nodes.py

Needs selftaught[ray]. A node is what a machine would be: `selftaught verify FILE --ray ADDRESS` is all you need there.
"""

import logging
import time

import ray
from ray.cluster_utils import Cluster

from selftaught import Task
from selftaught.ray import RayVerifier

logging.basicConfig(format="%(message)s")
SAT = "def sat(x: int, n={n}): return x * x > n"
SOL = "def sol(n={n}):\n    x = 0\n    while x * x <= n: x += 1\n    return x"

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
nodes = [cluster.add_node(num_cpus=1) for _ in range(3)]
ray.init(address=cluster.address, log_to_driver=False, logging_level=30)
tasks = (Task(str(n), SAT.format(n=n), SOL.format(n=n)) for n in range(0, 60_000_000, 10_000))
with RayVerifier(workers=1, min_nodes=3, require="restricted") as verifier:
    print(f"{len(verifier.nodes)} nodes judge at level {verifier.level}")
    began, accepted = time.monotonic(), 0
    for number, verdict in enumerate(verifier.verify_many(tasks), 1):
        accepted += verdict.accepted
        if number == 1000:
            cluster.remove_node(nodes[0], allow_graceful=False)
            print("a node was killed")
    print(f"{accepted:,} of {number:,} accepted, {number / (time.monotonic() - began):,.0f} tasks a second")
    print(f"{verifier.lost_chunks} chunks were judged again, and {len(verifier.nodes)} nodes are left")
ray.shutdown()
cluster.shutdown()
