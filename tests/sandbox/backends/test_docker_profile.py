"""The seccomp profile of containers: what it allows and denies, and that the snapshot engine works under it."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
from typing import Any

import pytest

from selftaught.sandbox import Limits, Task
from selftaught.sandbox.backends import WorkerConfig
from selftaught.sandbox.jail import seccomp
from tests.conftest import open_verifier

docker = pytest.importorskip("docker", reason="the extra `docker` is not installed")
backend = pytest.importorskip("selftaught.sandbox.backends.docker")


def test_our_profile_allows_all_that_the_jails_own_filter_allows() -> None:
    """A call that it did not allow would fail before the jail's filter could allow it."""
    profile = json.loads(backend._PROFILE)
    allowed = {name for group in profile["syscalls"] for name in group["names"]}
    assert all(group["action"] == "SCMP_ACT_ALLOW" for group in profile["syscalls"])
    assert profile["defaultAction"] == "SCMP_ACT_TRACE"
    assert {*seccomp._ALLOWED, *seccomp._ARGUMENTS, *seccomp.ANSWERED, "mmap", "mremap"} <= allowed
    assert {"ptrace", "process_vm_readv", "process_vm_writev", "userfaultfd", "pidfd_getfd"} <= allowed
    assert (
        not {"mount", "unshare", "setns", "bpf", "keyctl", "io_uring_setup", "socket", "connect", "init_module"}
        & allowed
    )


BELOW_THE_PROFILE = """
import ctypes, json, mmap, pyseccomp, sys
from selftaught.sandbox import Task, Verifier
import selftaught.sandbox.backends.local, selftaught.sandbox.pool, subprocess
tables = json.loads(sys.argv[1])["syscalls"]
rules = pyseccomp.SyscallFilter(pyseccomp.TRACE(0))
for table in tables:
    conditions = [
        pyseccomp.Arg(a["index"], getattr(pyseccomp, a["op"].removeprefix("SCMP_CMP_")), a["value"], a["valueTwo"])
        for a in table.get("args", ())
    ]
    for name in table["names"]:
        if pyseccomp.resolve_syscall(pyseccomp.system_arch(), name) >= 0:
            rules.add_rule(pyseccomp.ALLOW, name, *conditions)
rules.load()
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_long
print([libc.mmap(None, 4096, rights, 0x22, -1, 0) != -1 for rights in (3, 5, 7)])
print([libc.mprotect(None, 0, rights) != -1 for rights in (3, 5, 7)])
with Verifier(workers=1, level="restricted") as verifier:
    for sol in (
        "def sol():\\n    import _lsprof\\n    return 1",
        "def sol():\\n    import mmap\\n    mmap.mmap(-1, 4096, prot=7)",
    ):
        print(verifier.verify(Task("1", "def sat(x: int): return x == 1", sol)).status)
"""


def test_under_our_profile_no_memory_is_writable_and_executable_and_a_worker_starts() -> None:
    """With the filter that a container engine would make of it."""
    command = [sys.executable, "-c", BELOW_THE_PROFILE, backend._PROFILE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.splitlines() == ["[True, True, False]", "[True, False, False]", "accepted", "forbidden"], (
        done.stderr
    )


def test_our_profile_denies_a_supervisor_what_it_does_not_list(engine: Any) -> None:
    """In a container with the profile and without the jail's own filter."""
    attempt = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
for call, *arguments in (
    (165, 0, 0, 0, 0, 0), (272, 0x10000000), (250, 0, -3, 0), (321, 0, 0, 0), (41, 2, 1, 0), (39,)
):
    print(call, libc.syscall(call, *arguments) >= 0)
"""
    if os.uname().machine != "x86_64":
        pytest.skip("the numbers of the calls are those of x86-64")
    printed = engine.containers.run(
        backend.IMAGE,
        entrypoint=["python3", "-I", "-S", "-c", attempt],
        command=[],
        remove=True,
        network_mode="none",
        security_opt=["no-new-privileges", f"seccomp={backend._PROFILE}"],
    )
    assert printed.split(b"\n")[:6] == [b"165 False", b"272 False", b"250 False", b"321 False", b"41 False", b"39 True"]


def test_what_the_snapshot_engine_needs_works_for_a_supervisor(engine: Any) -> None:
    """Trace a child, read and write its memory, take a descriptor of it, ask for a userfaultfd, scan its page table."""
    attempt = """
import ctypes, fcntl, os, signal, struct, time
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long] * 4
libc.ptrace.restype = ctypes.c_long
value = ctypes.create_string_buffer(b"before")
address = ctypes.addressof(value)
child = os.fork()
if child == 0:
    while True: signal.pause()

def checked(name, result):
    print(name, "ok" if result >= 0 else os.strerror(ctypes.get_errno()))
    return result

checked("seize", libc.ptrace(0x4206, child, 0, 0))
checked("interrupt", libc.ptrace(0x4207, child, 0, 0))
os.waitpid(child, 0)
buffer = ctypes.create_string_buffer(b"after!")
local, remote = struct.pack("QQ", ctypes.addressof(buffer), 6), struct.pack("QQ", address, 6)
checked("write", libc.process_vm_writev(child, local, 1, remote, 1, 0))
back = ctypes.create_string_buffer(6)
checked("read", libc.process_vm_readv(child, struct.pack("QQ", ctypes.addressof(back), 6), 1, remote, 1, 0))
print("content", back.raw.decode())
pidfd = os.pidfd_open(child)
checked("pidfd_getfd", libc.syscall(438, pidfd, 1, 0))
checked("userfaultfd", libc.syscall({"x86_64": 323, "aarch64": 282}[os.uname().machine], os.O_CLOEXEC | 1))
regions = ctypes.create_string_buffer(24 * 8)
start = address & ~4095
scan = struct.pack("12Q", 96, 0, start, start + 4096, 0, ctypes.addressof(regions), 8, 0, 0, 8, 0, 8)
with open(f"/proc/{child}/pagemap", "rb") as pagemap:
    try:
        fcntl.ioctl(pagemap, 0xC0606610, bytearray(scan))
        print("pagemap_scan ok")
    except OSError as error:
        print("pagemap_scan", error)
os.kill(child, 9)
"""
    printed = engine.containers.run(
        backend.IMAGE,
        entrypoint=["python3", "-I", "-S", "-c", attempt],
        command=[],
        remove=True,
        network_mode="none",
        user="65534:65534",
        cap_drop=["ALL"],
        read_only=True,
        security_opt=["no-new-privileges", f"seccomp={backend._PROFILE}"],
    ).decode()
    expected = "seize interrupt write read pidfd_getfd userfaultfd".split()
    if "pagemap_scan [Errno 25]" in printed:  # Linux before 6.7
        printed = printed.replace("pagemap_scan [Errno 25] Inappropriate ioctl for device", "pagemap_scan ok")
    assert printed.splitlines() == [*(f"{name} ok" for name in expected[:4]), "content after!",
                                    *(f"{name} ok" for name in [*expected[4:], "pagemap_scan"])]  # fmt: skip


def test_the_snapshot_engine_judges_in_containers_with_our_profile(engine: Any) -> None:
    """Without falling back to fork: this machine's kernel allows it, so our profile must too."""
    open_verifier("restricted", engine="snapshot").close()
    with open_verifier("container", engine="snapshot") as verifier:
        tasks = [
            Task(f"{n}", f"def sat(x: int, a={n}): return x == a + 1", f"def sol(a={n}): return a + 1")
            for n in range(50)
        ]
        verdicts = list(verifier.verify_many(tasks))
        assert all(
            verdict.accepted and "snapshot" in verdict.verifier and verdict.level == "container" for verdict in verdicts
        )
        assert verifier.counters.given_up == 0


BUILT = shutil.which("cc") is not None and os.uname().machine == "x86_64"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("pass", "" if BUILT else "was not built"),
        ("path.unlink(missing_ok=True)", "was not built"),
        ("path.write_bytes(b'of another machine')", "_accelerator.so: (invalid ELF header|file too short)"),
    ],
    ids=["as it is", "without", "one that does not fit"],
)
def test_the_image_has_the_library_if_it_could_be_built_and_fork_serves_without_one_that_fits(
    engine: Any, change: str, why: str
) -> None:
    open_verifier("restricted", engine="snapshot").close()
    library = "/opt/selftaught/selftaught/sandbox/worker/native/_accelerator.so"
    code = f"import pathlib; path = pathlib.Path('{library}'); {change}"
    recipe = f"FROM {backend.IMAGE}\nUSER 0\nRUN {json.dumps(['python3', '-c', code])}\nUSER 65534:65534\n"
    image, _ = engine.images.build(fileobj=io.BytesIO(recipe.encode()), tag="selftaught-accelerated", rm=True)
    worker = WorkerConfig(backend="docker", image="selftaught-accelerated").open().start("container", Limits())
    try:
        assert worker.engine == ("fork" if why else "snapshot")
        assert re.search(why, worker.reason) if why else worker.reason == "", worker.reason
    finally:
        worker.close()
        engine.images.remove(image.id, force=True)
