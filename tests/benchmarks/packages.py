"""What packages in the jail cost: ``python -m tests.benchmarks.packages [--level LEVEL]``.

Prints for each set of packages: the time to open a verifier of two workers, the memory of a worker (proportional: what
processes share counts once), tasks a second of a trivial task and of one that uses NumPy, the time of one of each, and
what was left to the fork engine.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import psutil

from selftaught.sandbox import Task, Verifier

SETS = ((), ("numpy",), ("numpy", "scipy", "pandas", "sympy", "sortedcontainers"))
SAT_NUMPY = """import numpy as np
def sat(x: List[float], i={i}):
    return bool(np.allclose(np.array([[3.0, 1.0], [1.0, 2.0]]) @ np.array(x), [9 + i, 8]))"""
SOL_NUMPY = """import numpy as np
def sol(i={i}):
    return np.linalg.solve(np.array([[3.0, 1.0], [1.0, 2.0]]), np.array([9.0 + i, 8.0])).tolist()"""


def trivial(i: int) -> Task:
    return Task(f"{i}", f"def sat(x: int): return x == {i}", f"{i}")


def with_numpy(i: int) -> Task:
    return Task(f"{i}", SAT_NUMPY.format(i=i), SOL_NUMPY.format(i=i))


def rate(verifier: Verifier, make: Callable[[int], Task], count: int) -> float:
    tasks = [make(i) for i in range(count)]
    began = time.perf_counter()
    assert all(verdict.accepted for verdict in verifier.verify_many(tasks))
    return count / (time.perf_counter() - began)


def milliseconds(verifier: Verifier, make: Callable[[int], Task]) -> float:
    times = []
    for i in range(300):
        began = time.perf_counter()
        assert verifier.verify(make(i)).accepted
        times.append(time.perf_counter() - began)
    return 1000 * statistics.median(times)


def worker_mebibytes(verifier: Verifier) -> float:
    supervisors = [psutil.Process(pid) for pid in verifier.worker_pids()]
    processes = [one for supervisor in supervisors for one in (supervisor, *supervisor.children(recursive=True))]
    return sum(one.memory_full_info().pss for one in processes) / (1 << 20) / len(supervisors)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--level", choices=("full", "restricted"), default="restricted")
    level = parser.parse_args().level
    for engine, count in (("snapshot", 4000), ("fork", 500)):
        for names in SETS:
            began = time.perf_counter()
            with Verifier(workers=2, level=level, engine=engine, packages=names) as verifier:
                opened = time.perf_counter() - began
                while len(verifier.worker_pids()) < verifier.workers or time.perf_counter() - began < 3 * opened:
                    rate(verifier, trivial, 100)  # the second worker starts while the first works
                kinds = (trivial, with_numpy) if names else (trivial,)
                figures = [
                    f"{kind.__name__} {rate(verifier, kind, count):.0f}/s, one {milliseconds(verifier, kind):.2f} ms"
                    for kind in kinds
                ]
                print(
                    f"{engine}, {', '.join(names) or 'no packages'}: opened in {opened:.1f} s, "
                    f"{worker_mebibytes(verifier):.0f} MiB a worker; {'; '.join(figures)}; {verifier.counters}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
