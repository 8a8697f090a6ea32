"""The wheel: what is in it, and its tags, by what the machine that builds it has."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path

import pytest

import selftaught
from tests.wheels import build_sdist, build_wheel

CODEC, ACCELERATOR = "selftaught/sandbox/_codec.abi3.so", "selftaught/sandbox/worker/native/_accelerator.so"
NAME = f"selftaught-{selftaught.__version__}"
COMPILER = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unpacked sdist."""
    return build_sdist(tmp_path_factory.mktemp("sdist"))


def contents(wheel: Path) -> tuple[set[str], str]:
    """Return the paths in a wheel, and its file WHEEL."""
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist()), archive.read(f"{NAME}.dist-info/WHEEL").decode()


def test_an_sdist_has_each_file_once_in_real_folders(source: Path) -> None:
    paths = {path.relative_to(source).as_posix() for path in source.rglob("*")}
    assert {"selftaught/sandbox/codec.py", "selftaught/sandbox/worker/native/codec.h"} <= paths
    assert not [path for path in paths if path.startswith(("sandbox", "generator", "trainer", "tests"))]
    assert not [path for path in source.rglob("*") if path.is_symlink()]


@COMPILER
def test_one_wheel_serves_every_version_of_python(source: Path, tmp_path: Path) -> None:
    machine = os.uname().machine
    wheel = build_wheel(source, tmp_path)
    names, about = contents(wheel)
    assert wheel.name == f"{NAME}-cp311-abi3-linux_{machine}.whl"
    assert f"Tag: cp311-abi3-linux_{machine}\n" in about
    expected = {CODEC, ACCELERATOR} if machine == "x86_64" else {CODEC}
    assert {name for name in names if name.endswith(".so")} == expected
    assert not [name for name in names if name.endswith((".c", ".h"))]
    assert {name.partition("/")[0] for name in names} == {"selftaught", f"{NAME}.dist-info"}
    assert {"selftaught/py.typed", "selftaught/sandbox/server/page/page.js"} <= names


def test_without_a_compiler_it_is_pure(source: Path, tmp_path: Path) -> None:
    wheel = build_wheel(source, tmp_path, CC="/bin/false")
    names, about = contents(wheel)
    assert wheel.name == f"{NAME}-py3-none-any.whl"
    assert "Root-Is-Purelib: true\n" in about
    assert not [name for name in names if name.endswith(".so")]
    assert "selftaught/sandbox/codec.py" in names


@COMPILER
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="this machine can't look like another one")
def test_on_another_processor_it_has_no_accelerator(source: Path, tmp_path: Path) -> None:
    wheel = build_wheel(source, tmp_path, "setarch", "i686")
    names, _ = contents(wheel)
    assert wheel.name == f"{NAME}-cp311-abi3-linux_i686.whl"
    assert {name for name in names if name.endswith(".so")} == {CODEC}
