"""How much of a server's work this side takes in, and what a long run keeps in memory.

python -m tests.benchmarks.generation           completions a second from fake servers, and CPU time for each
python -m tests.benchmarks.generation --puzzles 1000000
                                                memory and time with so many puzzles written before

Fake servers answer at once, each in a process of its own (`fake_model.py`): what is left is this side's work. `client`
only asks; `generate` is a whole generation, with a verifier that runs nothing. On a busy machine CPU time says more
than the pace. Memory is measured with forms of random words: to read a million puzzles takes long, and keeps nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psutil

from selftaught.generator import example, held_out, seeds
from selftaught.generator.folder import Folder
from selftaught.generator.generation import Generation
from selftaught.generator.index import Index
from selftaught.generator.models.openai import OpenAI
from selftaught.generator.novelty import Known
from selftaught.generator.recipe import DEFAULT, Recipe, replace
from selftaught.sandbox import Status, Verdict
from tests.benchmarks.machine import busy, machine

SERVERS = 2
_WORDS = [f"w{number}" for number in range(300)]


class Accepting:
    """A verifier that runs nothing: puzzles run and depend on their answers, trivial answers are wrong, and every
    eighth solution is right."""

    workers = 64

    async def averify_many(self, tasks: Any, ordered: bool = True, repeat: int = 1) -> AsyncIterator[Verdict]:
        async for task in tasks:
            asks_of_puzzle = "def sol(" in task.sol
            is_eighth = task.sol.startswith("def g") and zlib.crc32((task.sat + task.sol).encode()) % 8 == 0
            right = asks_of_puzzle or is_eighth
            yield Verdict(task.id, Status.ACCEPTED if right else Status.REJECTED)


@contextlib.contextmanager
def serving(number: int, seconds: float) -> Iterator[str]:
    """Run fake servers; the value is their addresses."""
    ports = []
    for _ in range(number):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            ports.append(free.getsockname()[1])
    command = [sys.executable, "-m", "tests.benchmarks.fake_model", "--seconds", str(seconds)]
    running = [subprocess.Popen([*command, str(port)]) for port in ports]
    try:
        for port in ports:
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                time.sleep(0.05)
        yield ",".join(f"http://127.0.0.1:{port}/v1" for port in ports)
    finally:
        for one in running:
            one.kill()
            one.wait()


def ask(address: str, samples: int, total: int, concurrency: int | None) -> None:
    """Ask for completions of one prompt, and show the pace."""
    model = OpenAI(address, chat=False, concurrency=concurrency)
    prompt = "def f1(x: int, a=3):\n    return x * a == 12\n\n" * 40 + "def g1("
    cpu, began = time.process_time(), time.perf_counter()
    settings: dict[str, Any] = {"samples": samples, "max_new_tokens": 150, "temperature": 0.9}
    number = sum(len(texts) for _, texts in model.complete([prompt] * (total // samples), seed=0, **settings))
    seconds, spent = time.perf_counter() - began, time.process_time() - cpu
    flight = f"{concurrency or 'auto'} in flight"
    print(
        f"client, {samples:3} completions a request, {flight:14}: {number / seconds:7,.0f}/s, "
        f"{spent / number * 1e6:5.0f} us of CPU a completion",
        flush=True,
    )
    model.close()


def generate(address: str, puzzles: int, recipe: Recipe, processes: int | None) -> None:
    """Run a generation, and show the pace."""
    model = OpenAI(address, chat=False)
    shown = seeds.read(seeds.CORPUS)
    with tempfile.TemporaryDirectory() as folder, Folder(Path(folder, "run"), {}, shown, resume=False) as files:
        made = Generation(
            model,
            shown,
            Accepting(),
            files,
            recipe,
            held_out=held_out.gather(),
            processes=processes,  # type: ignore[arg-type]
        )
        cpu, began = time.process_time(), time.perf_counter()
        tally = made.run(puzzles=puzzles)
        seconds, spent = time.perf_counter() - began, time.process_time() - cpu
    written, attempts, pairs = (tally.stages[name] for name in ("written", "attempts", "pairs"))
    number = written + attempts
    assert attempts > written, "filters have refused the puzzles: this is no whole generation"
    print(
        f"generate, {processes} processes read: {number / seconds:7,.0f} completions/s ({written:,} puzzles, "
        f"{attempts:,} attempts, {pairs:,} pairs), {spent / number * 1e6:5.0f} us of CPU of the main process for each",
        flush=True,
    )
    model.close()


def remember(puzzles: int) -> None:
    """Put so many puzzles into an index, open it again, and show memory and time."""
    own, rng = psutil.Process(), random.Random(3)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "index.sqlite")
        before = own.memory_info().rss
        for waves in (0, puzzles // 64):
            index = Index(path, waves)
            known = Known(0.85, index)
            began = time.perf_counter()
            for number in range(puzzles if not waves else 1000):
                if number and number % 64 == 0:
                    index.commit(puzzles)
                if number and number % 100_000 == 0:
                    size = (own.memory_info().rss - before) >> 20
                    print(f"  {number:,} puzzles: {size} MiB more, {time.perf_counter() - began:.0f} s", flush=True)
                form = " ".join(rng.choices(_WORDS, k=rng.randrange(20, 60)))
                template = example.digest(form)
                if not known.add_seen(template, -1):
                    known.admit(template, form, known.cluster(template, form)[0], -1)
                index.add_pair(template, -1)
            index.commit(puzzles)
            size = (own.memory_info().rss - before) >> 20
            print(
                f"{'continued' if waves else 'written'}: {size} MiB more than before, "
                f"{path.stat().st_size >> 20} MiB on disk, {time.perf_counter() - began:.0f} s",
                flush=True,
            )
            index.close()


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--puzzles", type=int, metavar="N", help="measure memory, with so many puzzles")
    parser.add_argument("--completions", type=int, default=50_000, help="completions for each line")
    options = parser.parse_args()
    print("\n".join(f"{name}: {value}" for name, value in machine().items()))
    print(busy(), f"load {os.getloadavg()[0]:.1f}", flush=True)
    if options.puzzles:
        remember(options.puzzles)
        return
    with serving(SERVERS, 0.0) as address:
        for samples in (16, 1):
            for concurrency in (None, 2000):
                ask(address, samples, options.completions // (1 if samples > 1 else 5), concurrency)
    recipe = replace(DEFAULT, verify_repeats=1, target_passes=0, hindsight_attempts=0)
    with serving(SERVERS, 0.2) as address:
        for processes in (0, 1):
            generate(address, max(64, options.completions // 40), recipe, processes)


if __name__ == "__main__":
    main()
