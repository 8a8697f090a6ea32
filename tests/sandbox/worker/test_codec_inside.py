"""A worker uses the codec in C, in the supervisor and in the jail; without it the one in Python serves."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import selftaught
from selftaught.sandbox import Task, codec, doctor
from selftaught.sandbox.backends import WorkerConfig
from tests.conftest import ENGINES, open_verifier

IN_C, IN_PYTHON = "builtin_function_or_method", "function"
LOOK = """
import sys
def kinds():
    phase, codec = sys.modules["selftaught.sandbox.worker.inside.phase"], sys.modules["selftaught.sandbox.codec"]
    return [type(part).__name__ for part in (phase._encode, phase._decode, codec.check)]
"""
LEVELS = ("full", "restricted")

needs_native = pytest.mark.skipif(not codec.IS_NATIVE, reason="the codec in C was not built")


def look(kind: str) -> Task:
    """Return a task that is accepted if both phases find all functions of the codec of this kind."""
    return Task("look", f"{LOOK}\ndef sat(x: list): return x == kinds() == [{kind!r}] * 3", f"{LOOK}\nsol = kinds")


@needs_native
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("level", LEVELS)
def test_supervisor_and_jail_have_the_codec_in_c(level: str, engine: str) -> None:
    with open_verifier(level, engine=engine) as verifier:
        (supervisor,) = verifier.worker_pids()
        assert "_codec.abi3.so" in Path(f"/proc/{supervisor}/maps").read_text()
        verdict = verifier.verify(look(IN_C))
    assert verdict.accepted, verdict


@pytest.mark.parametrize("level", ["container"])
def test_the_image_has_the_codec_in_c_if_it_could_be_built(level: str) -> None:
    with open_verifier(level) as verifier:
        verdict = verifier.verify(look(IN_C if shutil.which("cc") else IN_PYTHON))
    assert verdict.accepted, verdict


def test_the_doctor_says_which_codec_there_is() -> None:
    assert doctor.examine(WorkerConfig())["host"]["answer codec"].split(";")[0] == (
        "C" if codec.IS_NATIVE else "Python"
    )


@needs_native
def test_large_answers_of_every_kind_leave_the_snapshot_engine_as_they_found_it() -> None:
    answers = [
        "[[i] for i in range(30_000)]", "[str(i) for i in range(30_000)]", "[1 << 1000 + i for i in range(1000)]",
        "{(i, -i) for i in range(10_000)}",
        "{str(i): [{i}] for i in range(10_000)}", "['\\ud800\\u20ac' * i for i in range(200)]",
        "[i / 7 for i in range(20_000)]", "'\\ud800' * 50_000",
    ]  # fmt: skip
    tasks = [
        Task(f"{n}", f"def sat(x): return x == {answer}", f"def sol(): return {answer}")
        for n, answer in enumerate(answers)
    ]
    refused = [
        Task("cycle", "def sat(x): return True", "def sol():\n    x = []\n    x.append({1: x})\n    return x"),
        Task("foreign", "def sat(x): return True", "def sol(): return [{1}, (2, object())]"),
    ]
    with open_verifier("restricted", engine="snapshot") as verifier:
        for _ in range(3):
            for task in tasks:
                verdict = verifier.verify(task)
                assert (verdict.accepted, "fork" in verdict.verifier) == (True, False), verdict
            for task in refused:
                verdict = verifier.verify(task)
                assert (verdict.status.value, "fork" in verdict.verifier) == ("wrong_type", False), verdict
        assert verifier.counters.given_up == 0


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("what", ["none", "of another machine"])
def test_without_a_codec_in_c_that_fits_the_one_in_python_serves(tmp_path: Path, level: str, what: str) -> None:
    left_out = shutil.ignore_patterns("_codec*.so", "__pycache__", "generator", "trainer")
    shutil.copytree(Path(selftaught.__file__).parent, tmp_path / "selftaught", ignore=left_out)
    if what != "none":
        (tmp_path / "selftaught" / "sandbox" / "_codec.abi3.so").write_bytes(b"\x7fELF of another machine")
    task = look(IN_PYTHON)
    script = f"""
from selftaught.sandbox import CannotConfine, Task, Verifier
for engine in {ENGINES}:
    try:
        with Verifier(workers=1, level={level!r}, engine=engine) as verifier:
            verdict = verifier.verify(Task("look", {task.sat!r}, {task.sol!r}))
            assert verdict.accepted, verdict
            print(engine)
    except CannotConfine as error:
        print("unreached:", error)
"""
    open_verifier(level).close()  # else it is skipped
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "fork" in done.stdout.split()
