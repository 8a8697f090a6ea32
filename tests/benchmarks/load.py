"""What the daemon costs: the library, the batch endpoint and single requests side by side in one run, over loopback.

Method: each round measures all of them in turn on the same trivial puzzles, with as many workers in the daemon as
in the library.
  library   Verifier.verify_many             batch     one request of JSON lines, read by a plain socket
  client    Client.verify_many               single    one request after another on each of some persistent connections
  half      single requests sent at half the rate that `single` reached, at fixed times: latency from when each was due
CPU is what the process of the daemon (or of the library's caller) used for a task, without its workers: other load
changes it less. Shown is the median of the rounds (least..most). Daemon, workers and client share the processors, as
they do beside a trainer. A run takes about rounds * (4 * tasks / rate + seconds).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psutil

if not __package__:  # python tests/benchmarks/load.py
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from selftaught.sandbox import Client, Task, Verifier
from tests.benchmarks import workloads
from tests.benchmarks.machine import busy, machine, spread
from tests.sandbox.server.conftest import Daemon

CONNECTIONS = 8


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="tests.benchmarks.load", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="of the load at half rate")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    pairs = workloads.trivial(options.tasks)
    tasks = [Task(str(number), sat, sol) for number, (sat, sol) in enumerate(pairs)]
    print(__doc__)
    print("\n".join(f"{name}: {value}" for name, value in machine().items()))
    print(busy(), flush=True)
    rates: dict[str, list[float]] = {name: [] for name in ("library", "batch", "client", "single")}
    costs: dict[str, list[float]] = {name: [] for name in rates}
    latencies: dict[str, list[float]] = {"p50": [], "p99": []}
    for _ in range(options.rounds):
        with Verifier(workers=options.workers, require="restricted") as verifier:
            for _ in verifier.verify_many(tasks[:50]):
                pass  # every worker has started
            with _cost(psutil.Process(), costs["library"], len(tasks)):
                rates["library"].append(_stream(verifier, tasks))
        with _daemon(options.workers) as daemon, Client(daemon.url) as client:
            process = psutil.Process(daemon.process.pid)
            _stream(client, tasks[:50])
            with _cost(process, costs["batch"], len(tasks)):
                rates["batch"].append(asyncio.run(_batch(daemon.url, tasks)))
            with _cost(process, costs["client"], len(tasks)):
                rates["client"].append(_stream(client, tasks))
            with _cost(process, costs["single"], len(tasks)):
                rates["single"].append(asyncio.run(_single(daemon.url, tasks)))
            rate = rates["single"][-1] / 2
            found = asyncio.run(_paced(daemon.url, tasks, rate, options.seconds))
            cuts = statistics.quantiles(found, n=100, method="inclusive")
            latencies["p50"].append(cuts[49] * 1e3)
            latencies["p99"].append(cuts[98] * 1e3)
        print(busy(), flush=True)
    base = statistics.median(rates["library"])
    for name, values in rates.items():
        ratio, cost = statistics.median(values) / base, statistics.median(costs[name])
        print(f"{name:10}{spread(values, 1):>28} tasks/s   {ratio:.3f} x library   {cost:.3f} ms CPU")
    for name, values in latencies.items():
        print(f"half {name:5}{spread(values, 1):>28} ms")


@contextmanager
def _daemon(workers: int) -> Iterator[Daemon]:
    with tempfile.TemporaryDirectory() as folder:
        made = Daemon(Path(folder, "log"), "--workers", str(workers))
        try:
            yield made
        finally:
            made.stop()


@contextmanager
def _cost(process: psutil.Process, costs: list[float], tasks: int) -> Iterator[None]:
    """Record the process's own CPU milliseconds for a task."""
    before = process.cpu_times()
    yield
    after = process.cpu_times()
    costs.append((after.user + after.system - before.user - before.system) / tasks * 1e3)


def _stream(verifier: Verifier | Client, tasks: list[Task]) -> float:
    start = time.perf_counter()
    accepted = sum(verdict.accepted for verdict in verifier.verify_many(tasks))
    assert accepted == len(tasks)
    return len(tasks) / (time.perf_counter() - start)


def _request(path: str, body: bytes, kind: str, close: bool = False) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + (b"Connection: close\r\n\r\n" if close else b"\r\n") + body


def _body(task: Task) -> bytes:
    return json.dumps({"id": task.id, "sat": task.sat, "sol": task.sol}).encode()


async def _connect(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    address = urlsplit(url)
    return await asyncio.open_connection(address.hostname, address.port)


async def _batch(url: str, tasks: list[Task]) -> float:
    body = b"\n".join(map(_body, tasks))
    reader, writer = await _connect(url)
    start = time.perf_counter()
    writer.write(_request("/v1/verify/batch", body, "application/x-ndjson", close=True))
    answer = await reader.read()
    elapsed = time.perf_counter() - start
    writer.close()
    assert answer.count(b'"status":"accepted"') == len(tasks)
    return len(tasks) / elapsed


class Connection:
    """Send one request after another on a persistent connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def ask(self, request: bytes) -> None:
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        body = await self._reader.readexactly(length)
        assert b'"status":"accepted"' in body, (head, body)


async def _connections(url: str, count: int) -> list[Connection]:
    return [Connection(*await _connect(url)) for _ in range(count)]


async def _single(url: str, tasks: list[Task]) -> float:
    requests = iter([_request("/v1/verify", _body(task), "application/json") for task in tasks])

    async def work(connection: Connection) -> None:
        for request in requests:
            await connection.ask(request)

    connections = await _connections(url, CONNECTIONS)
    start = time.perf_counter()
    await asyncio.gather(*map(work, connections))
    return len(tasks) / (time.perf_counter() - start)


async def _paced(url: str, tasks: list[Task], rate: float, seconds: float) -> list[float]:
    """Return latencies of requests sent at fixed times, so that a slow answer does not delay the next request."""
    free: asyncio.Queue[Connection] = asyncio.Queue()
    for connection in await _connections(url, 4 * CONNECTIONS):
        free.put_nowait(connection)
    latencies: list[float] = []

    async def one(request: bytes, due: float) -> None:
        connection = await free.get()
        await connection.ask(request)
        latencies.append(time.perf_counter() - due)
        free.put_nowait(connection)

    count = int(rate * seconds)
    requests = [
        _request("/v1/verify", _body(tasks[number % len(tasks)]), "application/json") for number in range(count)
    ]
    start = time.perf_counter() + 0.1
    async with asyncio.TaskGroup() as group:
        for number, request in enumerate(requests):
            due = start + number / rate
            if (left := due - time.perf_counter()) > 0:
                await asyncio.sleep(left)
            group.create_task(one(request, due))
    return latencies


if __name__ == "__main__":
    main()
