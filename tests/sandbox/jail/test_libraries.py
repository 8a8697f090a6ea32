"""The shared libraries in the jail's root are those that the loader would load, wherever they are."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from selftaught.sandbox.jail import libraries
from tests.conftest import open_verifier

MOVED = """
import sys
from selftaught.sandbox import Task, Verifier
from selftaught.sandbox.jail import libraries
print(libraries.needed()["libbz2.so.1.0"])
sol = "import bz2\\ndef sol(): return len(bz2.decompress(bz2.compress(b'x')))"
with Verifier(workers=1, level=sys.argv[1]) as verifier:
    print(verifier.verify(Task("1", "def sat(x: int): return x == 1", sol)).status)
"""


def test_what_is_needed_is_there_and_nothing_for_a_display() -> None:
    found = libraries.needed()
    assert all(os.path.exists(path) for path in found.values())
    assert "libc.so.6" in found
    assert not [name for name in found if name.startswith(("libX", "libtk"))]


@pytest.mark.parametrize("level", ["full", "restricted"])
def test_a_library_that_lies_elsewhere_is_found_inside(level: str, tmp_path: Path) -> None:
    open_verifier(level).close()
    if "libbz2.so.1.0" not in libraries.needed():
        pytest.skip("this interpreter's bz2 needs no library of that name")
    moved = tmp_path / "libbz2.so.1.0"
    shutil.copy(libraries.needed()[moved.name], moved)
    variables = os.environ | {"LD_LIBRARY_PATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", MOVED, level], env=variables, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.split() == [str(moved), "accepted"], done.stderr


def test_in_a_root_of_its_own_a_library_lies_where_the_loader_looks_without_its_cache(tmp_path: Path) -> None:
    odd = tmp_path / "libodd.so"
    odd.touch()
    placed = libraries.beside_the_c_library(
        {"libc.so.6": "/lib/x/libc.so.6", "libodd.so": str(odd), "libgone.so": "/nowhere/libgone.so"}
    )
    assert placed[str(odd)] == "/lib/x/libodd.so"
    assert "/nowhere/libgone.so" not in placed
    assert libraries.beside_the_c_library({"libodd.so": str(odd)}) == {}
