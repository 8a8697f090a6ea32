"""SIGTERM and SIGINT at any moment: exit code 0, no socket file, no process left, no traceback."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import gone
from tests.sandbox.server.conftest import Daemon
from tests.sandbox.server.test_requests import answer

WAIT = """
import os, signal, sys
from selftaught.sandbox.server import listener
from selftaught.sandbox.server.listener import Listener
from selftaught.sandbox.verifier import Verifier
def here(*_):
    os.kill(os.getpid(), signal.{number})
{patch}
from selftaught.sandbox import cli
sys.argv = ["selftaught", "serve", "--require", "restricted", "--workers", "1", {where}]
cli.main()
"""
MOMENTS = {
    "as soon as the socket is made": (
        "whole = Listener.__init__\n"
        "def init(self, *a):\n"
        "    here()\n"
        "    whole(self, *a)\n"
        "    here()\n"
        "Listener.__init__ = init\n"
    ),
    "before the workers": (
        "whole = Verifier._set_up\n"
        "def init(self, *a, **k):\n"
        "    here()\n"
        "    whole(self, *a, **k)\n"
        "Verifier._set_up = init\n"
    ),
    "with the workers": (
        "whole = Verifier._set_up\n"
        "def init(self, *a, **k):\n"
        "    whole(self, *a, **k)\n"
        "    here()\n"
        "Verifier._set_up = init\n"
    ),
    "before the loop": (
        "whole = listener.serve\ndef serve(*a):\n    here()\n    return whole(*a)\nlistener.serve = serve\n"
    ),
    "in the loop": (
        "whole = listener.Server.startup\n"
        "async def startup(self, *a, **k):\n"
        "    here()\n"
        "    await whole(self, *a, **k)\n"
        "listener.Server.startup = startup\n"
    ),
    "in the end": (
        "whole = listener.Server.startup\n"
        "async def startup(self, *a, **k):\n"
        "    await whole(self, *a, **k)\n"
        "    here()\n"
        "listener.Server.startup = startup\n"
        "close = Verifier.close\n"
        "def closing(self):\n"
        "    here()\n"
        "    close(self)\n"
        "    here()\n"
        "Verifier.close = closing\n"
        "unlink = Listener.unlink\n"
        "def unlinking(self):\n"
        "    here()\n"
        "    unlink(self)\n"
        "    here()\n"
        "Listener.unlink = unlinking\n"
    ),
}


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("where", ["socket", "port"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_signal_at_a_chosen_moment_ends_it_in_order(tmp_path: Path, moment: str, where: str, number: str) -> None:
    path = tmp_path / "s"
    place = f'"--uds", {str(path)!r}' if where == "socket" else '"--port", "0"'
    code = WAIT.format(number=number, patch=MOMENTS[moment], where=place)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, path.exists()) == (0, False), done.stderr
    assert "Traceback" not in done.stderr


def test_a_second_signal_ends_a_start_that_hangs(tmp_path: Path) -> None:
    path = tmp_path / "s"
    hang = "import time\nVerifier._set_up = lambda *a, **k: (here(), time.sleep(1), here(), time.sleep(60))"
    code = WAIT.format(number="SIGTERM", patch=hang, where=f'"--uds", {str(path)!r}')
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, path.exists()) == (0, False), done.stderr
    assert 1 < time.monotonic() - began < 20


@pytest.fixture
def begun(tmp_path: Path) -> Iterator[Any]:
    made: list[subprocess.Popen[bytes]] = []

    def begin(path: Path) -> subprocess.Popen[bytes]:
        command = [
            sys.executable,
            "-m",
            "selftaught.sandbox.cli",
            "serve",
            "--require",
            "restricted",
            "--workers",
            "2",
            "--uds",
            str(path),
        ]
        with open(tmp_path / "log", "ab") as log:
            made.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log))
        return made[-1]

    yield begin
    for each in made:
        each.kill()
        each.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_right_after_the_start_leave_nothing(tmp_path: Path, begun: Any, number: int) -> None:
    """From the moment that the socket is there until some time after the first answer."""
    path = tmp_path / "s"
    random.seed(number)
    for attempt in range(12):
        process = begun(path)
        while not path.exists():
            assert process.poll() is None
        time.sleep(0 if attempt < 4 else random.uniform(0, 0.8))
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        if attempt % 2:
            time.sleep(random.uniform(0, 0.05))
            process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, (tmp_path / "log").read_text()
        assert not path.exists()
        assert gone(children)
    log = (tmp_path / "log").read_text()
    assert log.count("Traceback") == log.count("Exception ignored")  # of a second one that hit a destructor


def test_the_socket_is_removed_before_admitted_tasks_are_answered(tmp_path: Path, begun: Any) -> None:
    """So that the next server can use the path, and the end of this one does not remove its socket."""
    path = tmp_path / "s"
    first = begun(path)
    body = b'{"sat": "def sat(x): return x", "sol": "import time\\ndef sol():\\n    time.sleep(3)\\n    return True"}'
    head = b"POST /v1/verify HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    with closing(connected(path)) as client:
        client.sendall(head % len(body) + body)
        time.sleep(1)
        first.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 2
        while path.exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        second = begun(path)
        connected(path).close()
        assert b'"accepted"' in answer(client)
    assert first.wait(20) == 0
    assert path.exists()
    second.send_signal(signal.SIGTERM)
    assert second.wait(20) == 0
    assert not path.exists()


def connected(path: Path) -> socket.socket:
    """A client of the server at this path, as soon as it answers."""
    deadline = time.monotonic() + 20
    while True:
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(20)
        if client.connect_ex(str(path)) == 0:
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            if b"200 OK" in client.recv(1 << 16):
                time.sleep(0.1)
                client.setblocking(True)
                with suppress(BlockingIOError):
                    client.recv(1 << 16, socket.MSG_DONTWAIT)
                return client
        client.close()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_end_does_not_wait_for_clients_without_a_request(start: Any) -> None:
    daemon: Daemon = start("--drain", "20", "--patience", "30")
    with (
        closing(daemon.raw()) as half,
        closing(daemon.raw()) as quiet,
        closing(daemon.raw()) as heading,
        closing(daemon.raw()) as refused,
    ):
        half.sendall(
            b"POST /v1/verify HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
        )
        refused.sendall(b"POST /v1/verify HTTP/1.1\r\nHost: evil\r\nContent-Length: 9\r\n\r\n{")
        heading.sendall(b"GET / HT")
        quiet.sendall(b"")
        time.sleep(0.3)
        began = time.monotonic()
        assert daemon.stop(within_seconds=40) == 0
        assert time.monotonic() - began < 5
        assert b" 503 " in answer(half)
        assert b" 421 " in answer(refused)
    assert "Traceback" not in daemon.log.read_text()


def test_a_link_at_the_path_of_the_socket_is_kept(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "s"
    with closing(socket.socket(socket.AF_UNIX)) as stale:
        stale.bind(str(target))
    link.symlink_to(target)
    command = [sys.executable, "-m", "selftaught.sandbox.cli", "serve", "--require", "restricted", "--uds", str(link)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert os.path.islink(link)
    assert target.exists()
