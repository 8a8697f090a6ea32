"""verl's own client for SandboxFusion, from PyPI, and programs whose scores are known."""

from __future__ import annotations

import contextlib
import importlib.util
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from tests.sandbox.server.conftest import Daemon

ROOT = Path(__file__).parents[3]
TIMEOUT_SECONDS = 3
"""What the client asks for a program, for compiling nothing, and so waits: 16 s altogether."""


class NotInstalled(Exception):
    """verl is neither in ``out/peers`` nor to be had."""


def load(folder: Path) -> Any:
    """Return `verl.utils.reward_score.sandbox_fusion.compute_score`, without importing verl.

    It is taken from ``out/peers``, where `make benchmark` puts it, or else installed into the folder, without what verl
    asks for: the module needs `requests` alone.

    Raises:
        NotInstalled: It can't be installed.
    """
    if (ROOT / "out" / "peers" / "verl").exists():
        folder = ROOT / "out" / "peers"
    else:
        (pin,) = re.findall(r"^verl==\S+$", (ROOT / "tests" / "benchmarks" / "peers.txt").read_text(), re.M)
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder), pin]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            raise NotInstalled(f"{pin} can't be installed here: {done.stderr.strip()[-300:]}")
    where = folder / "verl" / "utils" / "reward_score" / "sandbox_fusion"
    spec = importlib.util.spec_from_file_location("verl_client", where / "__init__.py")
    assert spec is not None and spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules["verl_client"] = package
    spec.loader.exec_module(package)
    return package.compute_score


def completion(number: int, cases: int) -> tuple[str, float]:
    """Return a model's text with a program, and the score that it deserves: the share of cases that it solves.

    Of 25 one loops for ever on one case, and one needs half a second for one. Cases are a multiple of 4, at least 8.
    """
    read, right = "n = int(input())\n", f"print(n * {number})\n"
    if number % 25 == 5:
        read += "if n == 7:\n    for i in range(20_000_000): pass\n"
    late = "while n == 7: pass\n" if number % 25 == 3 else "if n == 7: raise SystemExit(3)\n"
    code, score = (
        (read + right, 1.0),
        (read + "if n % 2: n += 1\n" + right, 0.5),
        (read + "if n % 4 == 0: raise ValueError\n" + right, 0.75),
        (read + late + right, 1 - 1 / cases),
        (read + "data = [i for i in range(200_000)]\n" + right, 1.0),
    )[number % 5]
    return f"Here it is:\n```python\n{code}```\n", score


@dataclass(frozen=True)
class Score:
    """A program's score: what verl computed, what is right, how long it took, and what went wrong on the way."""

    given: float
    right: float
    seconds: float
    errors: tuple[str, ...]


def scores(daemon: Daemon, compute_score: Any, programs: int, side_by_side: int, cases: int) -> Iterator[Score]:
    """Yield the scores that verl computes, in order.

    Args:
        daemon: Runs the programs.
        compute_score: verl's.
        programs: How many programs.
        side_by_side: How many at a time; each sends all its cases at once, up to verl's limit.
        cases: How many inputs each has.
    """
    semaphore = threading.Semaphore(64)  # verl's default for all requests of a process

    def score(number: int) -> Score:
        text, right = completion(number, cases)
        inputs_outputs = {
            "inputs": [f"{n}\n" for n in range(cases)],
            "outputs": [f"{n * number}\n" for n in range(cases)],
        }
        url, began = f"{daemon.url}/run_code", monotonic()
        given, details = compute_score(url, semaphore, 1024, text, inputs_outputs, timeout=TIMEOUT_SECONDS)
        errors = (detail.get("api_request_error") or detail.get("error") for detail in details)
        return Score(given, right, monotonic() - began, tuple(error for error in errors if error))

    with ThreadPoolExecutor(side_by_side) as executor:
        yield from executor.map(score, range(1, programs + 1))


@contextlib.contextmanager
def endless_loops(daemon: Daemon, count: int) -> Iterator[None]:
    """Keep so many programs that never end running or waiting; each is followed by another."""
    loop = {"code": "while True: pass", "language": "python", "run_timeout": 10, "compile_timeout": 0}
    ended = threading.Event()

    def loops() -> None:
        while not ended.is_set():
            daemon.ask("POST", "/run_code", loop)

    threads = [threading.Thread(target=loops) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()
