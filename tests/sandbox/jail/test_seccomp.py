"""The filter under an outer filter, such as a container engine's."""

from __future__ import annotations

import subprocess
import sys

import pytest

from selftaught.sandbox.jail import seccomp

BELOW = """
import pyseccomp, sys
outer = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
outer.add_rule(pyseccomp.ERRNO(1), sys.argv[1])
outer.load()
from selftaught.sandbox import Task, Verifier
from selftaught.sandbox.jail import seccomp
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
        ("bpf", "mmap.mmap(-1, 4096, prot=7)"),
        ("bpf", "mmap.mmap(-1, 64 << 20, prot=7)"),
        ("bpf", "os.getpgid(1)"),
        ("bpf", "socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)"),
        ("bpf", "socket.send_fds(socket.socketpair()[0], [b'x'], [0])"),
        ("bpf", "os.pipe2(os.O_EXCL)"),
        ("bpf", "os.kill(os.getpid(), 0)"),
        ("bpf", "ctypes.CDLL(None).syscall(56, 0x4111)"),
    ],
)
def test_a_call_that_an_outer_filter_answers_with_an_error_is_forbidden_all_the_same(name: str, attempt: str) -> None:
    number = next(number for number, known in seccomp.names().items() if known == name)
    attempt = attempt.format(number=number)
    sol = f"import ctypes, mmap, os, socket\ndef sol():\n    try: {attempt}\n    except OSError: pass\n    return 1"
    assert below(name, sol) == ["forbidden", "accepted"]


@pytest.mark.parametrize(
    "question",
    [
        "os.getpid() == 2",
        "time.sleep(0.001) is None",
        "bytearray(64 << 20)",
        "_ctypes_test",
        "sum(concurrent.futures.ThreadPoolExecutor(8).map(abs, range(9))) == 36",
        "asyncio.run(asyncio.to_thread(abs, -1)) == 1",
        "ctypes.CDLL(None).syscall(435, None, 0) == -1",
        "ctypes.CDLL(None).syscall(202, bytes(4), 0, 0, None, None, 0) == -1",
        "multiprocessing.Lock().acquire()",
    ],
)
def test_what_the_supervisor_answers_and_what_needs_code_of_a_file_works_below_another_filter(question: str) -> None:
    assert (
        below(
            "bpf",
            "import asyncio, concurrent.futures, ctypes, multiprocessing, os, time\ndef sol():\n"
            f"    import _ctypes_test, _lsprof\n    assert {question}\n    return 1",
        )
        == ["accepted"] * 2
    )


def below(name: str, sol: str) -> list[str]:
    """Return the statuses of this solution and of an honest one under an outer filter that makes the call fail."""
    done = subprocess.run(
        [sys.executable, "-c", BELOW, name, sol], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()
