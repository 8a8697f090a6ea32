"""Where commands write: never through a symbolic link, and still to pipes, devices and files that are open already."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from selftaught.sandbox.batch import resume
from selftaught.sandbox.cli import main
from selftaught.sandbox.output import InUse, SymbolicLink, open_output
from selftaught.trainer import evaluation
from selftaught.trainer.loop import Loop

LEVEL = ("--require", "restricted")
RECORD = json.dumps({"id": "1", "sat": "def sat(x: int): return x == 1", "sol": "1"}) + "\n"
COMMANDS = {
    "verify": ("selftaught.sandbox.cli", "verify", "INPUT", *LEVEL, "-o", "OUT"),
    "verify --force": ("selftaught.sandbox.cli", "verify", "INPUT", *LEVEL, "--force", "-o", "OUT"),
    "verify --resume": ("selftaught.sandbox.cli", "verify", "INPUT", *LEVEL, "--resume", "-o", "OUT"),
    "generate": ("selftaught.sandbox.cli", "generate", "--model", "none", "-n", "1", "-o", "OUT"),
    "generate --resume": ("selftaught.sandbox.cli", "generate", "--model", "none", "-n", "1", "--resume", "-o", "OUT"),
    "loop": ("selftaught.sandbox.cli", "loop", "--iterations", "0", "--out", "OUT"),
    "evaluate": ("selftaught.sandbox.cli", "evaluate", "none", "-o", "OUT"),
    "train": ("selftaught.sandbox.cli", "train", "INPUT", "--model", "none", "-o", "OUT"),
}


@pytest.fixture
def task_file(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    path.write_text(RECORD)
    return path


def command(name: str, task_file: Path, out: Path | str) -> list[str]:
    places = {"INPUT": str(task_file), "OUT": str(out)}
    return [sys.executable, "-m", *(places.get(part, part) for part in COMMANDS[name])]


def run(name: str, task_file: Path, out: Path | str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(name, task_file, out), capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(
    ("name", "kind"),
    [(name, "a file") for name in COMMANDS]
    + [
        (name, kind) for name in ("verify", "loop") for kind in ("an empty file", "nothing", "a folder", "another link")
    ],
)
def test_no_command_writes_through_a_link_and_each_says_what_to_do(
    tmp_path: Path, task_file: Path, name: str, kind: str
) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    if kind in ("a file", "an empty file"):
        target.write_text("precious\n" if kind == "a file" else "")
    elif kind == "a folder":
        target.mkdir()
    elif kind == "another link":
        target.symlink_to(tmp_path / "further")
    before = sorted(tmp_path.iterdir()), target.read_text() if target.is_file() else None
    link.symlink_to(target)
    done = run(name, task_file, link)
    assert done.returncode == 2
    assert f"{link} is a symbolic link to {target}" in done.stderr
    assert "remove it" in done.stderr
    link.unlink()
    assert (sorted(tmp_path.iterdir()), target.read_text() if target.is_file() else None) == before
    assert not target.is_dir() or not any(target.iterdir())


def test_a_slash_behind_a_link_does_not_hide_it(tmp_path: Path, task_file: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    for name in ("generate", "loop", "train"):
        assert "symbolic link" in run(name, task_file, f"{tmp_path / 'link'}/").stderr
    assert not any((tmp_path / "target").iterdir())


@pytest.mark.parametrize("mode", ["wb", "ab", "r+b"])
def test_a_link_that_is_put_there_after_the_check_is_not_followed_either(tmp_path: Path, mode: str) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("precious\n")
    link.symlink_to(target)
    with pytest.raises(SymbolicLink):
        open_output(link, mode)
    with pytest.raises(SymbolicLink):
        resume(link, iter(()))
    with pytest.raises(SymbolicLink):
        evaluation.write([], link)
    assert target.read_text() == "precious\n"


def test_a_folder_on_the_way_may_be_a_link(tmp_path: Path, task_file: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "way").symlink_to(tmp_path / "real")
    assert run("verify", task_file, tmp_path / "way" / "out.jsonl").returncode == 0
    assert json.loads((tmp_path / "real" / "out.jsonl").read_text())["status"] == "accepted"


@pytest.mark.parametrize("out", ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
@pytest.mark.parametrize("where", ["a pipe", "a file"])
def test_standard_output_may_be_named_and_a_file_behind_it_is_appended_to(
    tmp_path: Path, task_file: Path, out: str, where: str
) -> None:
    if where == "a pipe":
        text = run("verify", task_file, out).stdout
    else:
        with open(tmp_path / "log", "w") as log:
            log.write("before\n")
            log.flush()
            assert (
                subprocess.run(command("verify", task_file, out), stdout=log, timeout=120, check=False).returncode == 0
            )
        before, text = (tmp_path / "log").read_text().split("\n", 1)
        assert before == "before"
    assert json.loads(text)["status"] == "accepted"


def test_what_a_shell_opens_and_devices_are_written_to(tmp_path: Path, task_file: Path) -> None:
    shell = [
        "bash",
        "-c",
        f'"$@" > {tmp_path}/nothing 3> {tmp_path}/out',
        "bash",
        *command("verify", task_file, "/dev/fd/3"),
    ]
    assert subprocess.run(shell, timeout=120, check=False).returncode == 0
    assert json.loads((tmp_path / "out").read_text())["status"] == "accepted"
    assert run("verify", task_file, "/dev/null").returncode == 0
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE, text=True) as reader:
        assert run("verify", task_file, pipe).returncode == 0
        assert reader.stdout is not None
        assert json.loads(reader.stdout.read())["status"] == "accepted"


def test_resuming_needs_a_file(task_file: Path) -> None:
    for out in ("-", "/dev/stdout"):
        assert "needs an output file" in run("verify --resume", task_file, out).stderr


@pytest.mark.parametrize("name", ["verify", "verify --force", "verify --resume"])
def test_a_file_that_another_process_is_writing_stays_as_it_is(tmp_path: Path, task_file: Path, name: str) -> None:
    out = tmp_path / "out.jsonl"
    with open_output(out) as file:
        if name != "verify":
            file.write(b'{"id": "1", "status": "acc')  # as while a line is being written
            file.flush()
        before = out.read_bytes()
        done = run(name, task_file, out)
        assert done.returncode == 2 and f"another process is writing {out}" in done.stderr, done.stderr
        assert out.read_bytes() == before
    assert run("verify --resume", task_file, out).returncode == 0
    assert json.loads(out.read_text())["status"] == "accepted"


@pytest.mark.parametrize("mode", ["wb", "ab", "r+b"])
def test_a_file_may_be_opened_again_when_it_is_closed(tmp_path: Path, mode: str) -> None:
    out = tmp_path / "out"
    out.write_bytes(b"before")
    with open_output(out, mode) as file:
        file.write(b"a")
        for other in ("wb", "ab", "r+b"):
            with pytest.raises(InUse):
                open_output(out, other)
    assert out.read_bytes() == {"wb": b"a", "ab": b"beforea", "r+b": b"aefore"}[mode]
    open_output(out, "wb").close()
    assert out.read_bytes() == b""


def test_a_loop_whose_files_another_process_is_writing_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(self: Loop) -> None:
        open_output(tmp_path / "pairs.jsonl")

    monkeypatch.setattr(Loop, "run", run)
    with open_output(tmp_path / "pairs.jsonl"):
        arguments = ["loop", "--preset", "tiny", *LEVEL, "--out", str(tmp_path / "run")]
        done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 2 and "another process is writing" in done.output, done.output
