"""Daemons in separate processes, for tests that send requests over loopback."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

JSON = {"Content-Type": "application/json"}
LINES = {"Content-Type": "application/x-ndjson"}


class Daemon:
    """`selftaught serve`, or the same command of another module, with these options. What it says goes to `log`."""

    def __init__(
        self,
        log: Path,
        *options: str,
        port: int = 0,
        module: str = "selftaught.sandbox.cli",
        host: str = "127.0.0.1",
    ) -> None:
        self.log, self.host = log, host
        command = [
            sys.executable,
            "-m",
            module,
            "serve",
            "--require",
            "restricted",
            "--host",
            host,
            "--port",
            str(port),
            *options,
        ]
        with open(log, "ab") as file:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        self.port = int(self.wait_for(rf"{re.escape(host)}:(\d+)")[1]) if "--uds" not in options else 0

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait until the daemon has printed this."""
        deadline = time.monotonic() + 30
        while not (found := re.search(pattern, self.log.read_text())):
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)
        return found

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def ask(
        self, method: str, path: str, content: Any = None, headers: dict[str, str] | None = None, timeout: float = 60
    ) -> tuple[int, Any, dict[str, str]]:
        """Send a request on a new connection; return status, body (parsed if it is JSON) and headers."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        with contextlib.closing(connection):
            body = content if isinstance(content, (bytes, type(None))) else json.dumps(content).encode()
            host = {} if self.host == "127.0.0.1" else {"Host": "localhost"}
            connection.request(method, path, body, {**host, **({} if content is None else JSON), **(headers or {})})
            response = connection.getresponse()
            text = response.read()
            kind = response.headers.get("content-type", "")
            return response.status, json.loads(text) if kind == "application/json" else text, dict(response.headers)

    def raw(self) -> socket.socket:
        """Return a raw connection."""
        return socket.create_connection((self.host, self.port), timeout=30)

    def metric(self, name: str) -> float:
        """Return the value of a metric."""
        _, text, _ = self.ask("GET", "/metrics")
        found = re.search(rf"^{re.escape(name)} (\S+)$", text.decode(), re.M)
        assert found, name
        return float(found[1])

    def until(self, name: str, value: float, within_seconds: float = 20) -> None:
        """Wait until a metric has this value."""
        deadline = time.monotonic() + within_seconds
        while (seen := self.metric(name)) != value:
            assert time.monotonic() < deadline, f"{name} is {seen}, not {value}"
            time.sleep(0.05)

    def supervisors(self) -> list[psutil.Process]:
        """Return the supervisors' processes."""
        return psutil.Process(self.process.pid).children()

    def stop(self, number: int = signal.SIGTERM, within_seconds: float = 60) -> int:
        """Send a signal, wait for the end, and return the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(within_seconds)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon that tests of a module share if they do not harm it. It must not log an error."""
    log = tmp_path_factory.mktemp("daemon") / "log"
    yield from _lent(Daemon(log, "--workers", "2", "--patience", "1", "--max-body", "1M"))


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    """Return a function that starts daemons; end them after the test."""
    made: list[Daemon] = []

    def begin(*options: str, **arguments: Any) -> Daemon:
        made.append(Daemon(tmp_path / f"log{len(made)}", *options, **arguments))
        return made[-1]

    yield begin
    for each in made:
        each.stop(signal.SIGKILL)


@pytest.fixture(scope="module")
def unconfined(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon whose workers are fake: for tests of what lies before them."""
    log = tmp_path_factory.mktemp("unconfined") / "log"
    yield from _lent(Daemon(log, "--workers", "1", module="tests.sandbox.fake_worker"))


def _lent(made: Daemon) -> Iterator[Daemon]:
    """Lend a daemon to tests, and end it. It must end well, and not log an error."""
    try:
        yield made
        assert made.stop() == 0
        assert "Traceback" not in made.log.read_text(), made.log.read_text()
    finally:
        made.stop(signal.SIGKILL)


def task(number: int, **fields: Any) -> dict[str, Any]:
    """A task that is accepted."""
    sat, sol = f"def sat(x: int, a={number}): return x == a + 1", f"def sol(a={number}): return a + 1"
    return {"id": str(number), "sat": sat, "sol": sol, **fields}


def endless(**fields: Any) -> dict[str, Any]:
    """A task that runs until its limit."""
    return task(0, sol="def sol():\n    while True: pass", **fields)


def sleeper(seconds: float = 60) -> dict[str, Any]:
    """A task that waits, as long as the wall limit lets it."""
    return task(0, sol=f"import time\ndef sol():\n    time.sleep({seconds})\n    return 1")


def lines(content: bytes) -> list[dict[str, Any]]:
    """JSON lines."""
    return [json.loads(line) for line in content.splitlines()]


def descriptors(pid: int) -> int:
    """How many files a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))
