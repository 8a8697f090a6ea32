"""The base image that is made of the local Python."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "images" / "base.py"
IMAGE = "selftaught-base-under-test"
IMPORT_ALL = """
import importlib, pathlib, sysconfig
folder = pathlib.Path(sysconfig.get_path("platstdlib"), "lib-dynload")
names = sorted({path.name.split(".")[0] for path in folder.glob("*.so")})
for name in names:
    importlib.import_module(name)
print(len(names))
import ctypes.util, pip, ssl, sqlite3, unittest, zoneinfo
ctypes.CDLL(ctypes.util.find_library("seccomp")).seccomp_init
"""


@pytest.fixture(scope="session")
def base() -> bytes:
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def image(engine: Any, base: bytes) -> Iterator[str]:
    engine.api.import_image_from_data(base, IMAGE)
    yield IMAGE
    engine.images.remove(IMAGE, force=True)


def test_everything_in_it_is_roots_and_can_be_read_by_any_user(base: bytes) -> None:
    with tarfile.open(fileobj=io.BytesIO(base)) as tar:
        entries = tar.getmembers()
    assert {(entry.uid, entry.gid) for entry in entries} == {(0, 0)}
    private = {entry.name for entry in entries if entry.isfile() and not entry.mode & 0o004}
    closed = {entry.name for entry in entries if entry.isdir() and entry.mode & 0o005 != 0o005}
    assert (private, closed) == (set(), {"root"})
    assert not [entry.name for entry in entries if entry.mode & 0o6000]


def test_it_holds_each_path_once_after_its_folder(base: bytes) -> None:
    with tarfile.open(fileobj=io.BytesIO(base)) as tar:
        names = tar.getnames()
    assert len(names) == len(set(names))
    seen = {""}
    for name in names:
        assert name.rpartition("/")[0] in seen, name
        seen.add(name)


def test_it_holds_no_package_but_pip_and_nothing_of_this_machines_secrets(base: bytes) -> None:
    with tarfile.open(fileobj=io.BytesIO(base)) as tar:
        names = tar.getnames()
        passwd = tar.extractfile("etc/passwd")
        assert passwd is not None
        users = [line.split(b":")[0] for line in passwd]
    packages = {name.split("-packages/")[1].split("/")[0] for name in names if "-packages/" in name}
    assert {package.partition("-")[0] for package in packages} == {"pip"}
    assert users == [b"root", b"nobody"]
    assert not [name for name in names if name.startswith(("home/", "root/")) or name == "etc/shadow"]


def test_every_module_of_its_library_finds_what_it_is_linked_to(image: str, engine: Any) -> None:
    printed = engine.containers.run(
        image, ["python3", "-I", "-c", IMPORT_ALL], remove=True, network_mode="none", user="65534:65534",
        read_only=True, environment={"PATH": "/usr/local/bin:/usr/bin"},
    )  # fmt: skip
    assert int(printed) > 40


def test_a_tar_is_not_written_to_a_terminal() -> None:
    done = subprocess.run(
        ["script", "-qec", f"{sys.executable} {SCRIPT}", "/dev/null"], capture_output=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert b"docker import" in done.stdout
    assert len(done.stdout) < 1000
