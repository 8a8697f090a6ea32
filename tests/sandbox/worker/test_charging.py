"""The supervisor's work for a task is charged to the task, beyond as much again as the task took."""

from __future__ import annotations

from collections.abc import Iterator

import psutil
import pytest

from selftaught.sandbox import Limits, Task, Verifier
from tests.conftest import open_verifier

PUZZLE = "def sat(x): return x == 6"
LOOPS = {
    "answered writes": "import os\ndef sol():\n    while True: os.write(1, b'')",
    "naps": "import time\ndef sol():\n    while True: time.sleep(0)",
    "turns given up": "import os\ndef sol():\n    while True: os.sched_yield()",
    "clocks": "import ctypes\nlibc = ctypes.CDLL(None)\nroom = ctypes.create_string_buffer(16)\ndef sol():\n"
    "    while True: libc.syscall(228, 5, room)",
    "large mappings": "import mmap\ndef sol():\n    while True: mmap.mmap(-1, 64 << 20).close()",
    "refused mappings": "def sol():\n    while True:\n        try: bytearray(1 << 40)\n"
    "        except MemoryError: pass",
    "pieces of a report": "import os\ndef sol():\n    os.write(3, b'A' + (30 << 20).to_bytes(8, 'little'))\n"
    "    while True: os.write(3, b'a')",
}


@pytest.fixture(scope="module", params=["fork", "snapshot"])
def verifier(request: pytest.FixtureRequest) -> Iterator[Verifier]:
    with open_verifier("restricted", workers=1, engine=request.param) as opened:
        yield opened


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
def test_a_loop_that_keeps_the_supervisor_busy_costs_not_much_more_than_it_is_charged(
    verifier: Verifier, loop: str
) -> None:
    (pid,) = verifier.worker_pids()
    supervisor = psutil.Process(pid)
    before = sum(supervisor.cpu_times()[:2])
    verdict = verifier.verify(Task("loop", PUZZLE, loop, Limits(cpu_seconds=0.5, wall_seconds=60)))
    spent = sum(supervisor.cpu_times()[:2]) - before
    assert verdict.status in ("time_limit", "memory_limit", "forbidden", "crashed"), verdict
    assert spent < 1.1 * verdict.usage.cpu_seconds + 0.15, (
        "of the supervisor alone, its first steps with a phase included"
    )


def test_an_honest_task_is_charged_for_itself_alone(verifier: Verifier) -> None:
    verdict = verifier.verify(Task("honest", PUZZLE, "def sol(): return 6"))
    assert verdict.accepted and verdict.usage.cpu_seconds < 0.05


def test_checking_a_forged_answer_is_charged(verifier: Verifier) -> None:
    forged = (
        "import os\ndef sol():\n    n = 1 << 20\n    body = (b'\\xb1' * 150 + b'\\x80') * (n // 151)\n"
        "    data = b'\\xbf' + (n // 151).to_bytes(8, 'little') + body\n"
    )
    forged += "    os.write(3, b'A' + len(data).to_bytes(8, 'little') + data)"
    (pid,) = verifier.worker_pids()
    before = sum(psutil.Process(pid).cpu_times()[:2])
    verdict = verifier.verify(Task("forged", PUZZLE, forged))
    spent = sum(psutil.Process(pid).cpu_times()[:2]) - before
    assert spent < 2 * verdict.usage.cpu_seconds + 0.1
