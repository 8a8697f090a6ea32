"""Which verifier a process has: its own, or the daemon that many processes share."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from selftaught.sandbox.dropin import process


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """No sign of other processes."""
    for name in (process.VARIABLE, *process._SIZES):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delitem(sys.modules, "ray", raising=False)


def test_one_process_alone_has_a_verifier_of_its_own() -> None:
    assert not process.shares()


@pytest.mark.parametrize(("size", "shares"), [("8", True), ("1", False), ("", False), ("x", False)])
@pytest.mark.parametrize("name", ["LOCAL_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE"])
def test_ranks_of_one_machine_share(monkeypatch: pytest.MonkeyPatch, name: str, size: str, shares: bool) -> None:
    monkeypatch.setenv(name, size)
    assert process.shares() is shares


@pytest.mark.parametrize("connected", [True, False])
def test_processes_of_ray_share(monkeypatch: pytest.MonkeyPatch, connected: bool) -> None:
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(is_initialized=lambda: connected))  # type: ignore[arg-type]
    assert process.shares() is connected


def test_the_environment_variable_decides_over_all_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(process.VARIABLE, "1")
    assert process.shares()
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    monkeypatch.setenv(process.VARIABLE, "0")
    assert not process.shares()
    monkeypatch.setenv(process.VARIABLE, "yes")
    with pytest.raises(ValueError, match="SELFTAUGHT_SHARED must be 1"):
        process.shares()


def test_without_the_extra_each_has_its_own_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setattr(process.importlib.util, "find_spec", lambda name: None if name == "uvloop" else name)
    with caplog.at_level(logging.WARNING):
        assert not process.shares()
    assert "uvloop: pip install 'selftaught[server]'" in caplog.text


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An environment with a runtime directory of its own; at the end kill the daemons that are left in it."""
    yield {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    for daemon in _daemons(tmp_path):
        daemon.kill()


def _daemons(folder: Path) -> list[psutil.Process]:
    found = psutil.process_iter(["cmdline"])
    return [one for one in found if any(str(folder) in word for word in one.info["cmdline"] or [])]


MANY = """
import multiprocessing

from selftaught.sandbox import Task, Verifier
from selftaught.sandbox.dropin import check_correctness, process

TESTS = "def check(f):\\n    assert f(2) == 4\\n"
PROBLEM = {"task_id": "x", "prompt": "def f(n):\\n", "entry_point": "f", "test": TESTS}


def judge(number):
    assert process.judge(Task("", f"def sat(x: int): return x == {number}", str(number))).accepted
    assert process.judge(Task("", "def sat(x: int): return True", "while True: pass")).status == "time_limit"
    assert check_correctness(PROBLEM, "    return 2 * n\\n", timeout=20.0)["passed"]  # above the usual limits
    return type(process.current()).__name__


if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        print(*pool.map(judge, range(3), chunksize=1))
"""


def test_children_of_multiprocessing_share_one_daemon(runtime: dict[str, str], tmp_path: Path) -> None:
    program = tmp_path / "many.py"
    program.write_text(MANY)
    done = subprocess.run([sys.executable, program], env=runtime, capture_output=True, text=True, timeout=300)
    assert done.stdout.split() == ["Shared"] * 3, done.stderr
    sockets = list((tmp_path / "selftaught").glob("*.sock"))
    assert len(sockets) == 1


FORK = """
import os, sys
from selftaught.sandbox import Task, Verifier
from selftaught.sandbox.dropin import process

first = process.current()
assert type(first) is Verifier
child = os.fork()
if child == 0:
    assert process._verifier is None and process.shares()
    second = process.current()
    assert process.judge(Task("", "def sat(x: int): return x == 1", "1")).accepted
    print(type(second).__name__, flush=True)
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
assert process.current() is first
assert process.judge(Task("", "def sat(x: int): return x == 1", "1")).accepted
print("parent")
"""


def test_a_fork_after_the_first_use_shares_nothing_with_its_parent(runtime: dict[str, str]) -> None:
    done = subprocess.run([sys.executable, "-c", FORK], env=runtime, capture_output=True, text=True, timeout=300)
    assert done.stdout.split() == ["Shared", "parent"], done.stderr
