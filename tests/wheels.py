"""Build an sdist and wheels of the checkout elsewhere: it may be read-only, and nothing may be left in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("sandbox", "generator", "trainer")
FILES = "pyproject.toml setup.py MANIFEST.in README.md LICENSE CHANGELOG.md DESIGN.md constraints.txt".split()


def build_sdist(folder: Path) -> Path:
    """Build the sdist in an empty folder and return the folder that it unpacks to."""
    source, unpacked = folder / "checkout", folder / "unpacked"
    left_out = shutil.ignore_patterns("__pycache__", "*.so", "build", "*.egg-info")
    source.mkdir()
    for name in (*FOLDERS, "selftaught"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=left_out)
    for name in FILES:
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", str(folder), str(source)]
    subprocess.run(command, check=True, capture_output=True, cwd=folder)
    (made,) = folder.glob("selftaught-*.tar.gz")
    shutil.unpack_archive(made, unpacked, filter="data")
    (inside,) = unpacked.iterdir()
    return inside


def build_wheel(source: Path, folder: Path, *before: str, **environment: str) -> Path:
    """Build a wheel of an unpacked sdist.

    Args:
        source: the unpacked sdist, which is left as it is.
        folder: an empty one, where the wheel is put.
        before: the beginning of the command, such as one that changes how the machine looks.
        environment: more variables.

    Returns:
        The path of the wheel.
    """
    copied = shutil.copytree(source, folder / "source")
    options = "--quiet --no-deps --no-build-isolation --no-index".split()
    command = [*before, sys.executable, "-m", "pip", "wheel", *options, "-w", str(folder), str(copied)]
    subprocess.run(command, check=True, capture_output=True, cwd=folder, env=os.environ | environment)
    (made,) = folder.glob("selftaught-*.whl")
    return made
