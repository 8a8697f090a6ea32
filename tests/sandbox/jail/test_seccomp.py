"""The filter below another one, as a container engine's."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sandbox.jail import seccomp

BELOW = """
import pyseccomp, sys
outer = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
outer.add_rule(pyseccomp.ERRNO(1), sys.argv[1])
outer.load()
from sandbox import Task, Verifier
from sandbox.jail import seccomp
assert seccomp.nested()
with Verifier(workers=1, level="restricted") as verifier:
    for sol in (sys.argv[2], "1"):
        print(verifier.verify(Task("1", "def sat(x: int): return x == 1", sol)).status)
"""


@pytest.mark.parametrize(
    ("name", "attempt"),
    [
        ("bpf", "ctypes.CDLL(None).syscall({number}, 0, 0, 0)"),
        ("keyctl", "ctypes.CDLL(None).syscall({number}, 0, -3, 0)"),
        ("unshare", "ctypes.CDLL(None).unshare(0x10000000)"),
        ("io_uring_setup", "ctypes.CDLL(None).syscall({number}, 4, 0)"),
        ("bpf", "os.fork()"),
        ("bpf", "socket.socket()"),
    ],
)
def test_a_call_that_an_outer_filter_answers_with_an_error_is_forbidden_all_the_same(name: str, attempt: str) -> None:
    number = next(number for number, known in seccomp.names().items() if known == name)
    attempt = attempt.format(number=number)
    sol = f"import ctypes, os, socket\ndef sol():\n    try: {attempt}\n    except OSError: pass\n    return 1"
    command = [sys.executable, "-c", BELOW, name, sol]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == ["forbidden", "accepted"], done.stderr
