"""verl's own client for SandboxFusion, from PyPI, against a daemon with a small queue: no score is lost to load.

The client is loaded from ``out/peers``, where `make benchmark` puts it, or else installed, without what verl asks for:
the module needs `requests` alone.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.server.conftest import Daemon

ROOT = Path(__file__).parents[3]
CASES = 40
PROGRAMS = 25
"""So many programs have a thousand runs."""


@pytest.fixture(scope="module")
def compute_score(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """`verl.utils.reward_score.sandbox_fusion.compute_score`, without importing verl."""
    folder = ROOT / "out" / "peers"
    if not (folder / "verl").exists():
        folder = tmp_path_factory.mktemp("peers")
        pins = (ROOT / "tests" / "benchmarks" / "peers.txt").read_text()
        (pin,) = re.findall(r"^verl==\S+$", pins, re.M)
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder), pin]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            pytest.skip(f"{pin} can't be installed here: {done.stderr.strip()[-300:]}")
    where = folder / "verl" / "utils" / "reward_score" / "sandbox_fusion"
    spec = importlib.util.spec_from_file_location("verl_client", where / "__init__.py")
    assert spec is not None and spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules["verl_client"] = package
    spec.loader.exec_module(package)
    return package.compute_score


def completion(number: int) -> tuple[str, float]:
    """Return a model's text with a program, and the score that it deserves: the share of cases that it solves."""
    read, right = "n = int(input())\n", f"print(n * {number})\n"
    code, score = (
        (read + right, 1.0),
        (read + "if n % 2: n += 1\n" + right, 0.5),
        (read + "if n % 4 == 0: raise ValueError\n" + right, 0.75),
        (read + "while n == 7: pass\n" + right, 1 - 1 / CASES),
        (read + "data = [i for i in range(200_000)]\n" + right, 1.0),
    )[number % 5]
    return f"Here it is:\n```python\n{code}```\n", score


def scores(daemon: Daemon, compute_score: Any, programs: int, side_by_side: int) -> list[tuple[float, float]]:
    """Return the scores that verl computes, each with the right one."""
    semaphore = threading.Semaphore(64)  # verl's default for all requests of a process

    def score(number: int) -> tuple[float, float]:
        text, right = completion(number)
        cases = {
            "inputs": [f"{n}\n" for n in range(CASES)],
            "outputs": [f"{n * number}\n" for n in range(CASES)],
        }
        found, _ = compute_score(f"{daemon.url}/run_code", semaphore, 1024, text, cases, timeout=3)
        return found, right

    with ThreadPoolExecutor(side_by_side) as executor:
        return list(executor.map(score, range(1, programs + 1)))


def test_every_score_is_right_though_the_queue_is_small(start: Any, compute_score: Any) -> None:
    daemon = start("--workers", "2", "--queue", "4")
    found = scores(daemon, compute_score, PROGRAMS, side_by_side=8)
    assert [given for given, _ in found] == [right for _, right in found]


def test_endless_loops_of_others_cost_no_score(start: Any, compute_score: Any) -> None:
    daemon = start("--workers", "2", "--queue", "4")
    loop = {"code": "while True: pass", "language": "python", "run_timeout": 10, "compile_timeout": 0}
    ended = threading.Event()

    def loops() -> None:
        while not ended.is_set():
            daemon.ask("POST", "/run_code", loop)

    threads = [threading.Thread(target=loops) for _ in range(14)]
    for thread in threads:
        thread.start()
    try:
        found = scores(daemon, compute_score, 5, side_by_side=5)
    finally:
        ended.set()
    for thread in threads:
        thread.join()
    assert [given for given, _ in found] == [right for _, right in found]
