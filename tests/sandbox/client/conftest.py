"""Daemons with fake workers and servers that follow a script, for tests of a client of several."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from selftaught.sandbox import Limits, Task
from tests.sandbox.server.conftest import Daemon
from tests.sandbox.server.conftest import start as start  # a fixture

FAKE = "tests.sandbox.fake_worker"
WRONG = 7
"""Every so many tasks one has a wrong answer."""


def task(number: int) -> Task:
    answer = number if number % WRONG == 0 else number + 1
    return Task(str(number), f"def sat(x: int, a={number}): return x == a + 1", str(answer))


def tasks(count: int) -> Iterator[Task]:
    return map(task, range(count))


def told_once(verdicts: list[Any], count: int) -> bool:
    """Return True if every task has one verdict, in order, and each is right."""
    expected = [(str(n), "accepted" if n % WRONG else "rejected") for n in range(count)]
    return [(verdict.id, verdict.status.value) for verdict in verdicts] == expected


def judged(daemon: Daemon) -> float:
    """Return how many verdicts a daemon has reached."""
    return sum(daemon.metric(f'selftaught_verdicts_total{{status="{status}"}}') for status in ("accepted", "rejected"))


def until(condition: Callable[[], object], within_seconds: float = 20) -> None:
    deadline = time.monotonic() + within_seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def fakes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Daemon]]:
    """Three daemons whose workers are fake, for tests of what lies before them that don't harm them."""
    folder = tmp_path_factory.mktemp("fakes")
    made = [Daemon(folder / str(number), "--workers", "1", module=FAKE) for number in range(3)]
    yield made
    assert [each.stop() for each in made] == [0, 0, 0]


@pytest.fixture
def mortals(start: Any) -> list[Daemon]:
    """The same, to be killed."""
    return [start("--workers", "1", module=FAKE) for _ in range(3)]


def urls(daemons: list[Daemon]) -> list[str]:
    return [each.url for each in daemons]


class Scripted:
    """A server that answers every request with this status, after this time."""

    def __init__(self, status: int, detail: str = "go away", **answers: Any) -> None:
        self.asked: list[str] = []
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                scripted.asked.append(self.path)
                path = self.path.rpartition("/")[2]
                body = json.dumps(answers.get(path, {"detail": detail})).encode()
                self.send_response(200 if path in answers else status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                with contextlib.suppress(OSError):
                    self.wfile.write(body)

            def do_POST(self) -> None:
                self.close_connection = True
                self.do_GET()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def scripted() -> Iterator[Callable[..., Scripted]]:
    made: list[Scripted] = []

    def begin(*arguments: Any, **named: Any) -> Scripted:
        made.append(Scripted(*arguments, **named))
        return made[-1]

    yield begin
    for each in made:
        each.close()


CONFIG = {
    "version": "0", "level": "full", "workers": 1, "engine": "fork", "packages": {}, "required_isolation": "shared",
    "limits": Limits().to_dict(), "program_limits": Limits().to_dict(),
}  # fmt: skip
