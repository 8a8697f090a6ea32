"""Messages for forbidden system calls: what was tried, in words."""

from __future__ import annotations

import pytest

from selftaught.sandbox import Ending, Program, Verifier
from selftaught.sandbox.jail import seccomp
from selftaught.sandbox.worker.fork import refusals


def test_every_call_that_has_a_reason_exists_and_has_one_alone() -> None:
    names = [name for listed in refusals._REASONS.values() for name in listed.split()]
    assert len(names) == len(set(names))
    assert not set(names) - set(seccomp.names().values())


def test_a_call_without_a_reason_is_named() -> None:
    assert refusals.refusal("number 9999") == "system call number 9999"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import os\nos.fork()", "no process can be started"),
        ("import subprocess\nsubprocess.run(['true'])", "no process can be started"),
        ("import os\nos.execv('/bin/true', ['true'])", "no process can be started"),
        ("import multiprocessing\nmultiprocessing.Process(target=print).start()", "not by fork, subprocess or multi"),
        ("import multiprocessing\nmultiprocessing.Pool(2)", "no process can be started"),
        ("import multiprocessing\nmultiprocessing.Manager()", "no process can be started"),
        (
            "import concurrent.futures as c\nwith c.ProcessPoolExecutor() as p: p.submit(print).result()",
            "no process can be started",
        ),
        ("import asyncio\nasyncio.run(asyncio.create_subprocess_exec('true'))", "no process can be started"),
        ("import socket\nsocket.create_connection(('127.0.0.1', 9))", "there is no network"),
        ("import urllib.request\nurllib.request.urlopen('http://example.invalid')", "there is no network"),
        ("import os\nos.kill(os.getppid(), 9)", "only to itself"),
        ("import resource\nresource.prlimit(1, resource.RLIMIT_AS, (1, 1))", "limits can't be changed"),
        ("import os\nos.setuid(0)", "can't change its rights"),
    ],
)
def test_a_refusal_says_what_was_tried(verifier: Verifier, code: str, message: str) -> None:
    found = verifier.run(Program("p", code))
    assert found.ending is Ending.FORBIDDEN
    assert found.message.startswith("system call ") and message in found.message


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import os\nos.system('clear')", "no process can be started"),
        ("import platform\nplatform.platform()", "no process can be started"),
        ("import uuid\nuuid.uuid1()", "there is no network"),
        ("import ctypes\nctypes.CDLL(None).mprotect(0, 4096, 5)", "both written and executed"),
    ],
)
def test_a_program_that_does_without_ends_well_and_is_told_what_was_refused(
    verifier: Verifier, code: str, message: str
) -> None:
    found = verifier.run(Program("p", code))
    assert (found.ending, found.return_code) == (Ending.EXITED, 0)
    assert found.message.startswith("system call ") and message in found.message
