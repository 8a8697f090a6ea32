"""Run a program beside the released packages of frameworks, which are installed in folders of their own.

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
PLACES = {
    "packages.txt": "out/integrations",
    "packages-nemo_gym.txt": "out/integrations-nemo_gym",
    "packages-training.txt": "out/integrations-training",
    "packages-verifiers.txt": "out/integrations-verifiers",
}
"""Where the packages of a file of pins are installed; several, as not all frameworks can be in one place."""

_OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "WANDB_MODE": "offline"}


def place(package: str) -> Path:
    """Return the folder that has a package in the version that is pinned; skip the test if there is none."""
    for pins, folder in PLACES.items():
        path = f"tests/trainer/integrations/{pins}"
        pinned = dict(line.split("==") for line in (ROOT / path).read_text().splitlines() if "==" in line)
        if package in pinned:
            found = {one.metadata["Name"]: one.version for one in distributions(path=[str(ROOT / folder)])}
            if found.get(package) != pinned[package]:
                pytest.skip(
                    f"{package}=={pinned[package]} is not in {folder}: "
                    f"pip install --no-deps --ignore-requires-python --upgrade --target {folder} -r {path}"
                )
            return ROOT / folder
    raise LookupError(f"{package} is pinned in none of {', '.join(PLACES)}")


def run(package: str, program: str, *arguments: str, folder: Path, seconds: float = 300) -> Any:
    """Return what a program prints as JSON in its last line.

    Args:
        package: The framework, as it is pinned; the test is skipped without it.
        program: The program's source; frameworks may be imported in it.
        arguments: Its arguments.
        folder: Where it runs.
        seconds: How long it may take.
    """
    first = f"import sys\nsys.path.append({str(place(package))!r})\n"
    command = [sys.executable, "-c", first + program, *arguments]
    environment = os.environ | _OFFLINE | {"PYTHONPATH": str(ROOT), "HOME": str(folder)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=seconds)
    if "CannotConfine" in done.stderr:
        unreached("restricted", "auto", done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return json.loads(done.stdout.splitlines()[-1])
