"""``--daemon`` of the commands, and the environment variables of the same meaning."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sandbox.client.conftest import FAKE, free_port, judged
from tests.sandbox.server.conftest import Daemon

TOKEN = "0123456789abcdef0123456789abcdef"


@pytest.fixture(scope="module")
def daemons(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Daemon]]:
    """Two daemons, one of which requires a token and has a lower level."""
    folder = tmp_path_factory.mktemp("daemons")
    (folder / "token").write_text(TOKEN + "\n")
    low = ("--level", "restricted", "--token-file", str(folder / "token"))
    made = [
        Daemon(folder / "0", "--workers", "1", "--level", "full", module=FAKE),
        Daemon(folder / "1", "--workers", "1", *low, module=FAKE),
    ]
    yield made
    assert [each.stop() for each in made] == [0, 0]


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    path = tmp_path / "tasks.jsonl"
    records = ({"id": str(n), "sat": f"def sat(x: int): return x == {n}", "sol": str(n)} for n in range(300))
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def verify(path: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "selftaught.sandbox.cli", "verify", str(path), *options]
    surroundings = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, text=True, env=surroundings, timeout=120, check=False)


def accepted(done: subprocess.CompletedProcess[str]) -> int:
    return sum(json.loads(line)["status"] == "accepted" for line in done.stdout.splitlines())


def test_several_daemons_judge_a_file(daemons: list[Daemon], tasks: Path, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    options = [word for each in daemons for word in ("--daemon", each.url)]
    done = verify(tasks, *options, "--token-file", str(tmp_path / "token"), "--require", "restricted")
    assert (done.returncode, accepted(done)) == (0, 300), done.stderr
    assert {json.loads(line)["level"] for line in done.stdout.splitlines()} == {"full", "restricted"}


def test_environment_variables_name_them_too(daemons: list[Daemon], tasks: Path, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    before = judged(daemons[0])
    urls = " ".join(each.url for each in daemons)
    done = verify(tasks, SELFTAUGHT_DAEMON=urls, SELFTAUGHT_TOKEN_FILE=str(tmp_path / "token"))
    assert (done.returncode, accepted(done)) == (0, 300), done.stderr
    assert judged(daemons[0]) == before + 300, "the other is below the level that is required by default"
    assert f"{daemons[1].url}: its level is restricted, below full" in done.stderr


def test_rewards_are_judged_by_the_daemons_that_the_environment_names(daemons: list[Daemon]) -> None:
    before = judged(daemons[0])
    source = (
        "from selftaught.trainer import rewards\n"
        "puzzle = 'def sat(x: int): return x == 3'\n"
        "print(rewards.reward(['p'], ['```python\\ndef sol(): return 3\\n```'], puzzle=[puzzle]))"
    )
    environment = {**os.environ, "SELFTAUGHT_DAEMON": daemons[0].url}
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, env=environment, timeout=120, check=False
    )
    assert done.stdout == "[1.0]\n", done.stderr
    assert judged(daemons[0]) == before + 1


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--workers", "2"], "with --daemon leave out --workers: it is an option of the daemons"),
        (["--engine", "fork", "--packages", "numpy"], "leave out --engine, --packages"),
        (["--ray", "auto"], "give --ray or --daemon, not both"),
        (["--daemon", "127.0.0.1:80"], "is not the address of a server: http://HOST:PORT or unix:PATH"),
        (["--cpu-limit", "99"], "limits above those of the daemons (cpu_seconds 1"),
        (["--token-file", "no-such-file"], "the token file no-such-file can't be read"),
    ],
)
def test_what_contradicts_the_daemons_is_refused_with_the_reason(
    daemons: list[Daemon], tasks: Path, options: list[str], reason: str
) -> None:
    done = verify(tasks, "--daemon", daemons[0].url, *options)
    assert done.returncode == 2
    assert reason in " ".join(done.stderr.split()).replace("│ ", "")
    assert not done.stdout


def test_daemons_that_all_fail_are_named_with_their_reasons(daemons: list[Daemon], tasks: Path) -> None:
    done = verify(tasks, "--daemon", daemons[1].url)
    assert done.returncode == 2
    assert f"{daemons[1].url}: HTTP 401" in done.stderr
    source = (
        "from selftaught.sandbox import options\noptions.START_SECONDS = 0.5\n"
        "from selftaught.sandbox.cli import main\nmain()"
    )
    dead = [f"http://127.0.0.1:{free_port()}" for _ in range(2)]
    command = [sys.executable, "-c", source, "verify", str(tasks), "--daemon", dead[0], "--daemon", dead[1]]
    gone = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert gone.returncode == 2
    for url in dead:
        assert f"{url}: ClientConnectorError" in gone.stderr


@pytest.mark.parametrize("command", ["verify", "generate", "evaluate", "loop"])
def test_every_command_that_judges_takes_daemons(command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "selftaught.sandbox.cli", command, "--help"],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "--daemon URL" in done.stdout
    assert "--token-file FILE" in done.stdout
