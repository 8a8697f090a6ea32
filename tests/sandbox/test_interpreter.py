"""Interpreters and C libraries: builds of Python that are refused, and what newer C libraries ask of the kernel."""

from __future__ import annotations

import json
import sys
import sysconfig
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from selftaught.sandbox import CannotConfine, Program, Task, Verifier, interpreter
from selftaught.sandbox.cli import main


@pytest.fixture
def free_threaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """This interpreter says that it is a free-threaded build."""
    known = sysconfig.get_config_var
    monkeypatch.setattr(sysconfig, "get_config_var", lambda name: 1 if name == "Py_GIL_DISABLED" else known(name))


def test_this_interpreter_is_supported() -> None:
    interpreter.check()


@pytest.mark.usefixtures("free_threaded")
def test_a_free_threaded_build_is_refused_with_the_remedy() -> None:
    with pytest.raises(CannotConfine, match=r"free-threaded build.*use the ordinary build") as refused:
        Verifier(workers=1)
    assert sys.executable in str(refused.value)


@pytest.mark.usefixtures("free_threaded")
def test_doctor_says_so_for_every_level() -> None:
    done = CliRunner().invoke(main, ["doctor", "--json"])
    found: dict[str, Any] = json.loads(done.stdout)
    assert (done.exit_code, found["level"]) == (1, None)
    for level in found["levels"].values():
        assert "free-threaded" in level["reason"]
        assert "ordinary build" in level["remedy"]


def test_another_implementation_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "implementation", SimpleNamespace(name="pypy"))
    with pytest.raises(CannotConfine, match="pypy is not supported"):
        interpreter.check()


@pytest.mark.parametrize("request_number", [0x5401, 0x802C542A], ids=["TCGETS", "TCGETS2"])
def test_a_program_may_ask_whether_its_input_is_a_terminal(verifier: Verifier, request_number: int) -> None:
    """isatty(3), and so input(), asks by TCGETS up to glibc 2.41 and by TCGETS2 since."""
    code = f"""
import errno, fcntl
try:
    fcntl.ioctl(0, {request_number}, bytes(64))
except OSError as error:
    print(errno.errorcode[error.errno])
"""
    run = verifier.run(Program("terminal", code))
    assert (run.ending, run.stdout) == ("exited", "ENOTTY\n")


def test_a_solution_may_ask_too(verifier: Verifier) -> None:
    sol = (
        "def sol():\n    import fcntl\n    try: fcntl.ioctl(1, 0x802C542A, bytes(64))\n"
        "    except OSError as e: return e.errno"
    )
    verdict = verifier.verify(Task("terminal", "def sat(x: int): return x == 25", sol))
    assert verdict.accepted, verdict
