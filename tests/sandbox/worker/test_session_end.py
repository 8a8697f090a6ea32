"""Whatever ends a task, each process of it has been put back before the next task gets it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.conftest import DEMANDED_ENGINES

PROGRAM = """
import socket
from selftaught.sandbox import FunctionTask, Limits, decision, judging, wire
from selftaught.sandbox.worker.snapshot.engine import SnapshotEngine
from tests.sandbox.worker.supervisor import fork_engine

ours, theirs = socket.socketpair()
fork = fork_engine(theirs.fileno())
engine = SnapshotEngine(fork, theirs.fileno())
restore = engine._second.restore

def finds_a_difference(*args, **how):
    engine._second.restore = restore
    restore(*args, **how)
    return False

def judge(sol):
    task = FunctionTask("t", sol, "f", cases=[((), {}, 1.0)])  # equal, but not byte for byte: it is compared
    (frame,) = engine.execute(wire.frame(wire.pack_job(judging.pack(task, Limits()))))
    (results,) = wire.cut(frame)
    outcomes, _ = wire.unpack_results(results)
    return decision.decide("t", outcomes, Limits(), "", "").status.value, outcomes[0].engine

engine._second.restore = finds_a_difference
print(*judge("import builtins\\nbuiltins.mark = 1\\ndef f(): return 1"))
print(*judge("import builtins\\ndef f(): return 1 - hasattr(builtins, 'mark')"))
engine.close()
"""


def test_a_solution_leaves_nothing_if_the_process_that_compared_could_not_be_put_back() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "int_max_str_digits=0", "-c", PROGRAM],
        env=os.environ | {"PYTHONHASHSEED": "0", "GLIBC_TUNABLES": "glibc.pthread.rseq=0"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode and "snapshot" not in DEMANDED_ENGINES:
        pytest.skip(f"this host can't take snapshots: {done.stderr.splitlines()[-1:]}")
    assert done.stdout.splitlines() == ["accepted fork", "accepted snapshot"], done.stderr
