"""A warden with the engine of one's choice, for tests: ``python -m tests.sandbox.worker.warden VARIANT``.

Reads a JSON list of jobs ``[phase, puzzle, payload in hex, CPU seconds]``, runs them one after the other at level ``restricted``, and
prints the outcomes and the counters. Variants: ``fork``; ``snapshot``, with the inner loop in C; ``python``, with its twin; and
``broken``, which does not put memory back.
"""

from __future__ import annotations

import dataclasses
import json
import socket
import sys

from sandbox.jail import seccomp
from sandbox.task import Limits
from sandbox.worker.cell import Cell
from sandbox.worker.engine import Engine
from sandbox.worker.fork import ForkEngine
from sandbox.worker.memory import Memory
from sandbox.worker.snapshot import SnapshotEngine


def main(variant: str) -> None:
    jobs = json.load(sys.stdin)
    ours, theirs = socket.socketpair()
    filters = seccomp.compile_filter(seccomp.nested()), seccomp.compile_filter(seccomp.nested(), traced=True)
    fork = ForkEngine(Cell(False, *filters, seccomp.names(), lambda pid: None), theirs.fileno(), lambda: 0)
    engine: Engine = fork
    if variant != "fork":
        engine = SnapshotEngine(fork, theirs.fileno(), accelerated=variant == "snapshot")
    if variant == "broken":
        Memory._put_back = lambda self, spans: None  # type: ignore[method-assign]
    outcomes = []
    for phase, sat, payload, cpu_seconds in jobs:
        limits = Limits(cpu_seconds=cpu_seconds)
        outcome = engine.run(phase, sat.encode(), bytes.fromhex(payload), limits, 0)
        outcomes.append({"end": outcome.end.name, "detail": outcome.detail, "payload": outcome.payload.hex(), "engine": outcome.engine})
    engine.close()
    ours.close()
    print(json.dumps({"outcomes": outcomes, "counters": dataclasses.asdict(engine.counters)}))


if __name__ == "__main__":
    main(sys.argv[1])
