"""The identity of an owner, and whether it is gone."""

from __future__ import annotations

import os
import subprocess
import sys

from selftaught.sandbox.jail import owner


def of_process(pid: int, started: int = 1) -> str:
    return f"{owner.identity().rsplit('.', 2)[0]}.{pid}.{started}"


def test_this_process_is_there_and_a_dead_one_is_gone() -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    assert not owner.is_gone(owner.identity())
    assert owner.is_gone(of_process(dead.pid))


def test_a_process_id_that_was_reused_does_not_count() -> None:
    assert owner.is_gone(of_process(os.getpid()))


def test_owners_of_another_boot_or_pid_namespace_are_not_reported_gone() -> None:
    boot, namespace, *_ = owner.identity().split(".")
    for other in (
        f"{boot[::-1]}.{namespace}.1.1",
        f"{boot}.{namespace}0.1.1",
        "left",
        "1-1",
        f"{boot}.{namespace}.{'9' * 30}.1",
    ):
        assert not owner.is_gone(other)


def test_a_copy_by_fork_is_another_owner() -> None:
    before = owner.identity()
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        os.write(write, owner.identity().encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 200).decode() != before
    os.close(read)
    os.close(write)
