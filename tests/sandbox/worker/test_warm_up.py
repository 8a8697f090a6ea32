"""The samples that run before children are forked: they do what they are for, and leave nothing behind."""

from __future__ import annotations

import subprocess
import sys

import pytest

from selftaught.sandbox import FunctionTask, Status, Verifier
from selftaught.sandbox.worker.inside.warm_up import SESSIONS

STATE = """
import gc, random, sys, warnings
from selftaught.sandbox.worker.inside import phase, serving, testing, warm_up

def state():
    return (sys.stdout, sys.stderr, [*sys.modules], warnings.filters[:], warnings.showwarning, random.getstate(),
            serving.PRINTED._side, serving.PRINTED())

phase.warm_up(1)
before = state()
warm_up.run()
assert state() == before
gc.collect()
left = [one for one in gc.get_objects() if isinstance(one, (warm_up.Solution, serving.RelayedCalls, testing.Relay))]
assert not left, left
"""


@pytest.mark.parametrize(("sol", "tests"), [sample[:2] for sample in SESSIONS])
def test_the_tests_of_a_sample_pass(sol: bytes, tests: bytes, verifier: Verifier) -> None:
    verdict = verifier.verify(FunctionTask("", sol.decode(), "f", tests=tests.decode()))
    assert verdict.status is Status.ACCEPTED, verdict.message


def test_samples_leave_nothing_behind() -> None:
    subprocess.run([sys.executable, "-c", STATE], check=True)
