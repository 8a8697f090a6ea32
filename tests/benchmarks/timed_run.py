"""Verify a stream of tasks with the verifier of one checkout, and time it: ``python timed_run.py CHECKOUT``.

Started by pairs.py with the interpreter of the checkout. It imports nothing but the package and its dependencies, so
that it works with every commit. Standard input: a line of JSON with settings (`verifier`: arguments for Verifier;
`cpu_seconds`: limit of a phase; `warm_up`: how many of the tasks are verified before the clock starts; `least_seconds`:
the stream is verified again until so much time has passed), then a line ``[sat, sol]`` for each task. Standard output:
one line of JSON. CPU time is that of this process and of all below it, in the kernel's ticks of 10 ms. A task with
several statuses in several streams has them all.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections import Counter
from importlib import import_module
from pathlib import Path

import psutil


def main() -> None:
    checkout = Path(sys.argv[1]).resolve()
    sys.path[0] = str(checkout)
    package = import_module(
        "selftaught" if (checkout / "selftaught").is_dir() else "sandbox"
    )  # what it was called before
    Limits, Task, Verifier = package.Limits, package.Task, package.Verifier
    if not package.__file__ or not Path(package.__file__).resolve().is_relative_to(checkout):
        sys.exit(f"{package.__name__} is that of {package.__file__}, not of {checkout}")
    settings = json.loads(sys.stdin.readline())
    tasks = [Task(str(number), *json.loads(line)) for number, line in enumerate(sys.stdin)]
    first, rest = tasks[: settings["warm_up"]], tasks[settings["warm_up"] :]
    with Verifier(limits=Limits(cpu_seconds=settings["cpu_seconds"]), **settings["verifier"]) as verifier:
        list(verifier.verify_many(first))
        streams, elapsed, used, start = [], 0.0, cpu_seconds(), time.perf_counter()
        while elapsed < settings["least_seconds"]:
            streams.append(list(verifier.verify_many(rest)))
            elapsed = time.perf_counter() - start
        used = cpu_seconds() - used
    alike = zip(*streams, strict=True)
    found = {
        "streams": len(streams),
        "elapsed_seconds": elapsed,
        "cpu_seconds": used,
        "statuses": ["/".join(sorted({verdict.status.value for verdict in verdicts})) for verdicts in alike],
        "verifiers": Counter(f"{verdict.verifier} {verdict.level}" for verdict in streams[0]),
    }
    print(json.dumps(found))


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and of all below it, the dead included."""
    own = psutil.Process()
    total = 0.0
    for process in (own, *own.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):  # then its parent has waited for it
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


if __name__ == "__main__":
    main()
