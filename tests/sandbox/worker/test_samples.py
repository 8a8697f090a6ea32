"""Samples of packages: each runs to its end with the installed version, so that none warms up less than it should."""

from __future__ import annotations

import subprocess
import sys

import pytest

from selftaught.sandbox.worker.inside import samples

RUN = """
import sys, warnings
warnings.simplefilter("ignore")
from selftaught.sandbox.worker.inside import packages, samples
scope = {}
for code in packages.split(samples.ALL[sys.argv[1]]):
    exec(code, scope)
"""


@pytest.mark.parametrize("name", samples.ALL)
def test_every_statement_of_a_sample_runs(name: str) -> None:
    done = subprocess.run([sys.executable, "-c", RUN, name], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
