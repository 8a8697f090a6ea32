"""Control groups, of version 2 in a made-up tree and of whatever version this host has."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sandbox.jail import cgroup


def tree(tmp_path: Path, own: str, controllers: str = "cpu memory pids") -> tuple[Path, Path]:
    """A made-up /proc and root with version 2 mounted and this process in the group `own`."""
    proc, root = tmp_path / "proc", tmp_path / "root"
    (proc / "self").mkdir(parents=True)
    (proc / "self/cgroup").write_text(f"0::{own}\n")
    (proc / "self/mountinfo").write_text(
        "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
    )
    mounted = root / "sys/fs/cgroup"
    leaf = mounted / own.lstrip("/")
    leaf.mkdir(parents=True)
    for path in (leaf, *leaf.parents):
        (path / "cgroup.subtree_control").write_text(controllers if path == mounted else "")
        if path == mounted:
            break
    return proc, root


def test_version_2_groups_are_made_at_the_nearest_ancestor_with_the_controllers(tmp_path: Path) -> None:
    proc, root = tree(tmp_path, "/user.slice/session.scope")
    found = cgroup.find(proc, root)
    assert found.version == 2
    assert found.memory == found.pids == root / "sys/fs/cgroup"


def test_version_2_without_the_controllers_is_unavailable_with_a_remedy(tmp_path: Path) -> None:
    proc, root = tree(tmp_path, "/a", controllers="cpu")
    with pytest.raises(cgroup.Unavailable, match="Delegate=yes"):
        cgroup.find(proc, root)


def test_version_2_limits_are_written_by_their_names(tmp_path: Path) -> None:
    made = cgroup.Group(cgroup.Hierarchy(2, tmp_path, tmp_path), 1 << 20)
    assert (made.memory / "memory.max").read_text() == str(1 << 20)
    assert (made.pids / "pids.max").read_text() == "3"
    made.allow_memory(1 << 21)
    made.allow_memory(1 << 10)
    assert (made.memory / "memory.max").read_text() == str(1 << 21)


def test_version_2_oom_kills_are_counted(tmp_path: Path) -> None:
    (tmp_path / "cgroup.procs").write_text("")
    (tmp_path / "memory.events").write_text("low 0\nhigh 0\nmax 4\noom 1\noom_kill 3\n")
    member = cgroup.Member([str(tmp_path)])
    assert member.oom_kills() == 3
    member.add(1234)
    assert (tmp_path / "cgroup.procs").read_text() == "1234"


def test_groups_of_a_verifier_that_is_gone_are_swept(tmp_path: Path) -> None:
    (tmp_path / "selftaught-999999999-1-0").mkdir()
    mine = tmp_path / f"selftaught-{os.getpid()}-{cgroup.start_time(os.getpid())}-7"
    mine.mkdir()
    cgroup.sweep(cgroup.Hierarchy(2, tmp_path, tmp_path))
    assert list(tmp_path.iterdir()) == [mine]


def test_no_control_groups_at_all_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self/cgroup").write_text("")
    (tmp_path / "self/mountinfo").write_text("")
    with pytest.raises(cgroup.Unavailable, match="mount"):
        cgroup.find(tmp_path)
