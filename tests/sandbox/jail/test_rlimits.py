"""The resource limits of a worker whose verifier has lower ones."""

from __future__ import annotations

import subprocess
import sys

import pytest

LOWERED = """
import resource
from selftaught.sandbox import Task, Verifier
for name in ("CORE", "STACK"):
    resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (0, 0) if name == "CORE" else (4 << 20, 4 << 20))
with Verifier(workers=1, level="restricted", engine="fork") as verifier:
    print(verifier.verify(Task("1", "def sat(x: int): return x == 1", "1")).status)
"""


def test_a_worker_starts_where_no_core_file_and_little_stack_is_allowed() -> None:
    done = subprocess.run([sys.executable, "-c", LOWERED], capture_output=True, text=True, timeout=60, check=False)
    if "CannotConfine" in done.stderr and "maximum limit" not in done.stderr:
        pytest.skip(done.stderr)
    assert done.stdout.split() == ["accepted"], done.stderr
