"""`/execute`, asked as NeMo-Skills' client and its evaluator of programs ask, and what they make of the answers."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.server.conftest import Daemon
from tests.trainer.integrations import released

CLIENT = (Path(__file__).parent / "nemo_skills_client.py").read_text()


@pytest.fixture
def client(tmp_path: Path) -> Any:
    """Return a function that asks a daemon, and returns what NeMo-Skills makes of the answer."""
    released.place("httpx")  # here, since a test can't be skipped in a thread

    def ask(daemon: Daemon, code: str, tests: list[list[str]] | None = None, **settings: Any) -> Any:
        asked = {"code": code, **({} if tests is None else {"tests": tests}), **settings}
        return released.run("httpx", CLIENT, daemon.url, json.dumps(asked), folder=tmp_path)

    return ask


def test_its_evaluator_counts_the_inputs_that_a_program_solves(daemon: Daemon, client: Any) -> None:
    tests = [["1", "2"], ["2", "4\n"], ["3", "7"]]
    assert client(daemon, "print(int(input()) * 2)", tests) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("code", "status", "stdout", "stderr"),
    [
        ("print('out')", "completed", "out\n", ""),
        ("print('out')\n1 / 0", "completed", "out\n", "ZeroDivisionError: division by zero"),
        ("import os\nos.fork()", "completed", "", "no process can be started"),
        ("while True: pass", "timeout", "", "Execution timed out after 0.5 seconds\n"),
    ],
)
def test_what_a_program_does_is_told_in_its_words(
    daemon: Daemon, client: Any, code: str, status: str, stdout: str, stderr: str
) -> None:
    found = client(daemon, code, timeout=0.5)
    assert set(found) == {"process_status", "stdout", "stderr"}
    assert (found["process_status"], found["stdout"]) == (status, stdout)
    assert stderr in found["stderr"]


def test_a_long_output_is_cut_and_says_so(daemon: Daemon, client: Any) -> None:
    assert client(daemon, "print('x' * 2000)")["stdout"] == "x" * 1000 + "<output cut>"
    assert client(daemon, "print('x' * 2000)", max_output_characters=5000)["stdout"] == "x" * 2000 + "\n"


def test_an_output_that_the_server_cut_says_so_too(start: Any, client: Any) -> None:
    daemon = start("--workers", "1", "--run-output", "1M")
    found = client(daemon, "print('x' * 2_000_000)", max_output_characters=10_000_000)
    assert found["stdout"] == "x" * (1 << 20) + "<output cut>"


def test_a_program_that_is_slower_than_the_client_is_patient_is_waited_for(daemon: Daemon, client: Any) -> None:
    assert client(daemon, "import time\ntime.sleep(6.5)\nprint(1)", timeout=1.4)["stdout"] == "1\n"


@pytest.mark.parametrize("language", ["ipython", "shell", "lean4", "pypy3"])
def test_what_is_not_served_has_no_result(daemon: Daemon, client: Any, language: str) -> None:
    assert "process_status" not in client(daemon, "print(1)", language=language)


def test_clients_see_that_the_server_is_there(daemon: Daemon) -> None:
    assert daemon.ask("GET", "/health")[0] == 200


def test_a_failure_of_the_server_stops_the_evaluator_and_is_never_a_wrong_answer(start: Any, client: Any) -> None:
    daemon = start("--workers", "1")
    found: list[Any] = []
    code = "import time\ntime.sleep(4)\nprint(1)"
    thread = threading.Thread(target=lambda: found.append(client(daemon, code, [["", "1"]], timeout=1)))
    thread.start()
    end = time.monotonic() + 60
    while thread.is_alive() and time.monotonic() < end:
        time.sleep(0.5)
        for supervisor in daemon.supervisors():
            supervisor.kill()
    thread.join(30)
    assert found == ["KeyError: 'process_status'"]
