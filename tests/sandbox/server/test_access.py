"""Access: tokens, addresses, and pages of other origins."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.server.conftest import Daemon, task

SECRET = "0123456789abcdef-a-token"
CLOSED = [
    ("POST", "/v1/verify"),
    ("POST", "/v1/verify/batch"),
    ("POST", "/v1/run"),
    ("POST", "/run_code"),
    ("GET", "/v1/config"),
    ("GET", "/metrics"),
    ("GET", "/no/such/path"),
    ("GET", "//v1/config"),
    ("GET", "/page.js/../v1/config"),
]


def serve(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "selftaught.sandbox.cli", "serve", "--require", "restricted", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "token").write_text(f"  {SECRET}\n")
    made = Daemon(folder / "log", "--token-file", str(folder / "token"), "--workers", "1")
    yield made
    made.stop()
    assert SECRET not in made.log.read_text()


@pytest.mark.parametrize(("method", "path"), CLOSED)
@pytest.mark.parametrize(
    "shown",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        f"Bearer {SECRET[:-1]}",
        f"Bearer {SECRET}x",
        f"Basic {SECRET}",
        SECRET,
        f"Bearer {SECRET.upper()}",
    ],
)
def test_without_the_right_token_nothing_is_done(guarded: Daemon, method: str, path: str, shown: str | None) -> None:
    headers = {} if shown is None else {"Authorization": shown}
    status, content, answered = guarded.ask(method, path, task(1) if method == "POST" else None, headers)
    assert status == 401
    assert answered["www-authenticate"] == "Bearer"
    assert SECRET not in str(content)


def test_with_the_token_everything_works(guarded: Daemon) -> None:
    headers = {"Authorization": f"Bearer {SECRET}"}
    assert guarded.ask("POST", "/v1/verify", task(1), headers)[1]["status"] == "accepted"
    assert guarded.ask("POST", "/v1/verify", task(1), {"Authorization": f"bearer  {SECRET} "})[0] == 200
    assert guarded.ask("GET", "/v1/config", None, headers)[1]["token_required"]
    assert SECRET not in str(guarded.ask("GET", "/v1/config", None, headers)[1])
    assert SECRET not in str(guarded.ask("GET", "/metrics", None, headers)[1])


@pytest.mark.parametrize("path", ["/", "/page.js", "/page.css", "/healthz", "/readyz", "/openapi.json"])
def test_paths_without_secrets_are_open(guarded: Daemon, path: str) -> None:
    assert guarded.ask("GET", path)[0] == 200


def test_the_token_is_compared_in_constant_time() -> None:
    source = (Path(__file__).parents[3] / "sandbox" / "server" / "guard.py").read_text()
    assert "hmac.compare_digest" in source
    assert "== self._token" not in source


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_an_address_that_others_can_reach_needs_a_token(host: str) -> None:
    done = serve("--host", host, "--port", "0")
    assert done.returncode == 2
    assert "--token-file" in done.stderr


@pytest.mark.parametrize("content", ["", "short", "with a space inside it", "nön-ascii-token-here"])
def test_an_invalid_token_is_refused_at_start(tmp_path: Path, content: str) -> None:
    (tmp_path / "token").write_text(content)
    done = serve("--token-file", str(tmp_path / "token"), "--port", "0")
    assert done.returncode == 2
    assert "openssl rand" in done.stderr
    assert not content or content not in done.stderr


def test_a_missing_token_file_is_an_error() -> None:
    assert serve("--token-file", "/no/such/file").returncode == 2


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "localhost.evil.example"]
)
def test_other_names_of_this_machine_are_refused_as_host(daemon: Daemon, host: str) -> None:
    assert daemon.ask("POST", "/v1/verify", task(1), {"Host": host})[0] == 421


@pytest.mark.parametrize("host", ["localhost", "localhost:1234", "127.0.0.1", "[::1]:8000"])
def test_localhost_is_accepted_as_host(daemon: Daemon, host: str) -> None:
    assert daemon.ask("POST", "/v1/verify", task(1), {"Host": host})[0] == 200


def test_a_page_of_another_origin_is_refused(daemon: Daemon) -> None:
    for origin in ("http://evil.example", "null", f"http://localhost:{daemon.port + 1}"):
        assert (
            daemon.ask("POST", "/v1/verify", task(1), {"Host": f"localhost:{daemon.port}", "Origin": origin})[0] == 403
        )
    own = {"Host": f"localhost:{daemon.port}", "Origin": f"http://localhost:{daemon.port}"}
    assert daemon.ask("POST", "/v1/verify", task(1), own)[0] == 200


def test_a_taken_port_is_an_error_with_a_remedy(daemon: Daemon) -> None:
    done = serve("--port", str(daemon.port))
    assert done.returncode == 2
    assert "--port" in done.stderr


def test_a_level_that_cannot_be_reached_is_an_error(tmp_path: Path) -> None:
    source = f"""
import sys
from selftaught.sandbox import cli
from selftaught.sandbox.backends import local
from selftaught.sandbox.errors import CannotConfine
def refuse(*arguments):
    raise CannotConfine("unshare: not here")
local.Local.start = refuse
sys.argv = ["selftaught", "serve", "--uds", {str(tmp_path / "s")!r}]
cli.main()
"""
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2, done.stderr
    assert "unshare: not here" in done.stderr
    assert "doctor" in done.stderr
    assert not (tmp_path / "s").exists()


def test_a_unix_socket_is_for_its_owner_alone_and_removed_at_the_end(tmp_path: Path, start: Any) -> None:
    path = tmp_path / "s"
    for _ in range(2):
        daemon = start("--uds", str(path), "--workers", "1")
        daemon.wait_for("level restricted|level full")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: anything\r\nConnection: close\r\n\r\n")
            assert client.recv(1 << 16).startswith(b"HTTP/1.1 200")
        second = serve("--uds", str(path))
        assert second.returncode == 2
        assert "another server" in second.stderr
        daemon.stop(signal.SIGTERM)
        assert not path.exists()
        stale = socket.socket(socket.AF_UNIX)  # as a killed server leaves it
        stale.bind(str(path))
        stale.close()
    path.unlink()
    path.write_text("precious")
    assert serve("--uds", str(path)).returncode == 2
    assert path.read_text() == "precious"


def test_without_the_extra_the_command_names_it(tmp_path: Path) -> None:
    (tmp_path / "uvicorn.py").write_text("raise ImportError('no', name='uvicorn')")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}"}
    command = [sys.executable, "-m", "selftaught.sandbox.cli", "serve"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
    assert done.returncode == 2
    assert "pip install 'selftaught[server]'" in done.stderr
