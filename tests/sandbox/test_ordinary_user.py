"""The command for an ordinary user: at level `restricted` as such, at `full` with a delegated control group."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter

import pytest

from selftaught.sandbox.backends import LEVELS
from tests.outer import ROOT

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can become an ordinary user: the other tests are run as one"
)
HELP = {"full": ("--delegate",), "restricted": ()}


def ordinary(level: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run the command as an ordinary user who has what the level needs and no more."""
    command = [sys.executable, "-m", "tests.ordinary", *HELP[level], sys.executable, "-m", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, timeout=300, check=False)


@pytest.mark.parametrize("level", LEVELS["local"])
def test_the_corpus_is_accepted(level: str) -> None:
    done = ordinary(level, "selftaught.sandbox.cli", "verify", "corpus:", "--require", level)
    verdicts = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stderr
    assert Counter((verdict["status"], verdict["level"]) for verdict in verdicts) == {("accepted", level): 110}


@pytest.mark.parametrize("level", LEVELS["local"])
def test_the_doctor_finds_the_level(level: str) -> None:
    done = ordinary(level, "selftaught.sandbox.cli", "doctor", "--json", "--require", level)
    found = json.loads(done.stdout)
    assert done.returncode == 0
    assert found["level"] == level
    assert found["host"]["user id"] != "0"
    assert all(proof["holds"] for proof in found["levels"][level]["mechanisms"])


def test_full_without_a_delegated_group_is_refused_with_a_remedy() -> None:
    done = ordinary("restricted", "selftaught.sandbox.cli", "verify", "corpus:", "--require", "full")
    assert done.returncode == 2
    assert b"delegated" in done.stderr
    assert done.stdout == b""


@pytest.mark.parametrize("level", LEVELS["local"])
def test_attacks_end_as_they_do_for_root(level: str) -> None:
    select = f"leaves_nothing and {level}- and (files/ or processes/)"
    done = ordinary(level, "pytest", "-q", "-p", "no:cacheprovider", "tests/sandbox/test_cases.py", "-k", select)
    assert done.returncode == 0, done.stdout.decode()
    assert b"skipped" not in done.stdout
