"""A server that a command starts: when it is used, what is said if it can't be, and that it leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from selftaught.generator import models
from selftaught.generator.models import ModelFailed
from selftaught.trainer import serving
from selftaught.trainer.serving import Server

ROOT = Path(__file__).parents[2]
FAKE = f"{sys.executable} -m tests.trainer.fake_server serve {{model}} --port {{port}}"
URLS = "http://127.0.0.1:{port}/v1"


@pytest.fixture(autouse=True)
def _in_the_checkout(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(ROOT)
    yield


def worker(log: Path) -> int:
    """Return the number of the process that the last server has started."""
    return int(re.findall(r"worker (\d+)", log.read_text())[-1])


def gone(pid: int) -> bool:
    """Return whether a process ends; a zombie has."""
    for _ in range(600):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


def test_a_server_is_used_when_it_answers_and_its_whole_group_ends_with_it(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    with Server(FAKE, URLS, "some model", log, 60) as server:
        model = models.load(server.address)
        assert model.context == 4096 and "serve 'some model' --port" in log.read_text()
        left = worker(log)
        os.kill(left, 0)
    assert gone(left)
    with pytest.raises(ModelFailed):
        models.load(server.address)


def test_what_a_models_name_has_is_one_word_and_is_not_filled_in(tmp_path: Path) -> None:
    name = "run {port}/'a'; exit 3 $(exit 4) --port=1"
    with Server(FAKE, URLS, name, tmp_path / "log", 60) as server:
        assert models.load(server.address).name == name


def test_a_server_that_heeds_no_sigterm_is_killed(tmp_path: Path) -> None:
    stubborn = "import signal,time; signal.signal(15, signal.SIG_IGN); print('worker', __import__('os').getpid()); "
    (tmp_path / "stubborn.py").write_text(
        stubborn.replace("; ", "\n") + "import sys; sys.stdout.flush(); time.sleep(1000)"
    )
    log = tmp_path / "log"
    command = f"{sys.executable} {tmp_path / 'stubborn.py'}"
    with pytest.raises(ModelFailed, match="does not answer at http"):
        Server(command, URLS, "m", log, 1.5, patience=0.5)
    assert gone(worker(log))


def test_a_command_that_ends_or_is_not_there_is_told_with_its_output(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("import sys; print('CUDA out of memory'); sys.exit(3)")
    with pytest.raises(ModelFailed, match=r"(?s)exit code 3 .*CUDA out of memory"):
        Server(f"{sys.executable} {tmp_path / 'bad.py'}", URLS, "m", tmp_path / "log", 60)
    with pytest.raises(ModelFailed, match="no-such-server"):
        Server("no-such-server {model}", URLS, "m", tmp_path / "log", 60)


def test_a_server_ends_with_a_process_that_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    program = (
        "import os, pathlib\nfrom selftaught.trainer.serving import Server\n"
        f"Server({FAKE!r}, {URLS!r}, 'm', pathlib.Path({str(log)!r}), 60)\nos.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=120).returncode == -signal.SIGKILL
    assert gone(worker(log))


def test_every_address_must_answer(tmp_path: Path) -> None:
    with pytest.raises(ModelFailed, match=r"does not answer at http://127[.]0[.]0[.]1:9/v1"):
        Server(FAKE, f"{URLS},http://127.0.0.1:9/v1", "m", tmp_path / "log", 3)
    assert gone(worker(tmp_path / "log"))


def test_a_digest_is_that_of_the_weights_and_not_of_their_place(tmp_path: Path) -> None:
    for name, content in (("one", b"1"), ("copy", b"1"), ("other", b"2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(content)
    one, copy, other = (serving.digest(str(tmp_path / name)) for name in ("one", "copy", "other"))
    assert one == copy != other
    assert serving.digest("some/name") != serving.digest("another/name")
