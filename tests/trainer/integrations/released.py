"""Run a program beside the released packages of frameworks, which are installed in a folder of their own.

The folder comes last on the path, so that what is installed in both is ours. The program runs in a process of its own:
what the frameworks import and change stays there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import unreached

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "out" / "integrations"
PINS = "tests/trainer/integrations/packages.txt"
INSTALL = f"pip install --no-deps --upgrade --target out/integrations -r {PINS}"
_FIRST = f"import sys\nsys.path.append({str(FOLDER)!r})\n"
_OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "WANDB_MODE": "offline"}


def version(package: str) -> str | None:
    """Return the version of a package in the folder, None if it is not there."""
    found = {one.metadata["Name"].lower(): one.version for one in distributions(path=[str(FOLDER)])}
    return found.get(package.lower())


def require(package: str) -> None:
    """Skip the test if a package is not in the folder in the version that is pinned."""
    pins = dict(line.split("==") for line in (ROOT / PINS).read_text().splitlines() if "==" in line)
    if version(package) != pins[package]:
        pytest.skip(f"{package}=={pins[package]} is not in out/integrations: {INSTALL}")


def run(package: str, program: str, *arguments: str, folder: Path, seconds: float = 300) -> Any:
    """Return what a program prints as JSON in its last line.

    Args:
        package: The framework, as it is pinned; the test is skipped without it.
        program: The program's source; frameworks may be imported in it.
        arguments: Its arguments.
        folder: Where it runs.
        seconds: How long it may take.
    """
    require(package)
    command = [sys.executable, "-c", _FIRST + program, *arguments]
    environment = os.environ | _OFFLINE | {"PYTHONPATH": str(ROOT), "HOME": str(folder)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=seconds)
    if "CannotConfine" in done.stderr:
        unreached("restricted", "auto", done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return json.loads(done.stdout.splitlines()[-1])
