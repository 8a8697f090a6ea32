"""The supervisor's side of the scratch folder: it fills, looks and empties, whatever hostile code has made of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from selftaught.sandbox.errors import WorkerFailed
from selftaught.sandbox.jail import scratch
from selftaught.sandbox.jail.scratch import Folder, Full


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    made = scratch.prepare("restricted", str(tmp_path))
    assert made is not None
    made.empty()
    yield made
    made.close()
    assert not os.path.exists(made.path)


def test_a_new_folder_is_private_and_has_no_telling_name(folder: Folder) -> None:
    assert os.stat(folder.path).st_mode & 0o777 == 0o700
    assert os.listdir(folder.path) == []
    assert f"{os.getpid()}" not in os.path.basename(folder.path).split("-")


def test_files_are_put_and_fetched(folder: Folder) -> None:
    folder.put({"a": b"1", "d/e/b": b"22", "d/c": b""})
    assert folder.fetch(["d/c", "d/e/b", "none", "a", "d", "d/e/b/x"]) == {"d/c": b"", "d/e/b": b"22", "a": b"1"}
    with pytest.raises(WorkerFailed, match="not emptied"):
        folder.put({})
    folder.empty()
    assert os.listdir(folder.path) == []


def test_no_link_is_followed(folder: Folder, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "file").write_text("kept")
    folder.put({})
    os.symlink(secret / "file", f"{folder.path}/soft")
    os.symlink(secret, f"{folder.path}/folder")
    os.mkfifo(f"{folder.path}/pipe")
    assert folder.fetch(["soft", "folder/file", "pipe"]) == {}
    with pytest.raises(FileExistsError):
        Folder._write(folder, folder._top, "soft", b"changed")
    folder.empty()
    assert (os.listdir(folder.path), (secret / "file").read_text()) == ([], "kept")


def test_what_is_deeper_than_any_path_is_removed_with_few_descriptors(folder: Folder) -> None:
    folder.put({})
    here = os.getcwd()
    try:
        os.chdir(folder.path)
        for _ in range(3000):
            os.mkdir("d" * 200)
            os.chdir("d" * 200)
    finally:
        os.chdir(here)
    before = len(os.listdir("/proc/self/fd"))
    folder.empty()
    assert os.listdir(folder.path) == []
    assert len(os.listdir("/proc/self/fd")) == before


def test_rights_do_not_keep_anything(folder: Folder) -> None:
    folder.put({"a/b/c": b"", "2/2/2": b"", "1/x": b""})
    for path in ("a/b/c", "a/b", "a", "2/2", "2", "."):
        os.chmod(f"{folder.path}/{path}", 0)
    folder.empty()
    assert os.listdir(folder.path) == []
    assert os.stat(folder.path).st_mode & 0o777 == 0o700


def test_times_of_the_folder_tell_nothing(folder: Folder) -> None:
    folder.put({"a": b""})
    folder.empty()
    assert os.stat(folder.path).st_mtime == 0


@pytest.mark.parametrize("creates", [True, False])
def test_there_is_room_until_it_is_full(folder: Folder, creates: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "ENTRIES", 3)
    monkeypatch.setattr(scratch, "BYTES", 100_000)
    monkeypatch.setattr(scratch, "_LOOK_SHARE", 1e9)  # so that it is looked at each time
    folder.put({"a/b": b"x"})
    folder.check_room(creates)
    Path(folder.path, "a/c").write_text("")
    if creates:
        with pytest.raises(Full):
            folder.check_room(creates)
    folder.check_room(creates=False)
    Path(folder.path, "a/c").write_bytes(bytes(200_000))
    with pytest.raises(Full):
        folder.check_room(creates)


def test_folders_that_are_too_deep_count_as_full(folder: Folder) -> None:
    folder.put({"/".join("d" * 100): b""})
    with pytest.raises(Full):
        folder.check_room(creates=True)


def test_what_a_killed_worker_left_is_removed_by_the_next(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\nfrom selftaught.sandbox.jail import scratch\n"
        "folder = scratch.prepare('restricted', sys.argv[1]); folder.empty(); folder.put({'a/b': b'x'})\n"
        "print(folder.path, flush=True); sys.stdin.read(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout and other.stdin
        path = other.stdout.readline().strip()
        first = scratch.prepare("restricted", str(tmp_path))
        assert first and os.path.exists(f"{path}/a/b"), "it is in use"
        other.stdin.close()
    second = scratch.prepare("restricted", str(tmp_path))
    assert second and not os.path.exists(path)
    assert os.path.exists(first.path)
    first.close()
    second.close()
    assert os.listdir(tmp_path) == []


def test_a_folder_of_another_name_stays(tmp_path: Path) -> None:
    (tmp_path / "selftaught-other").mkdir()
    (tmp_path / "selftaught-scratch-file").write_text("")
    made = scratch.prepare("restricted", str(tmp_path))
    assert made
    made.close()
    assert sorted(os.listdir(tmp_path)) == ["selftaught-other", "selftaught-scratch-file"]
