"""Control groups: version 2 in a temporary tree, and the version of this host."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from selftaught.sandbox.jail import cgroup, owner

ROOT = Path(__file__).parents[3]


def tree(
    tmp_path: Path, own: str, controllers: str = "cpu memory pids", enabled: str = "cpu memory pids"
) -> tuple[Path, Path]:
    """Create /proc and a root with version 2 mounted, `enabled` at its top, and this process in the group `own`."""
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
        (path / "cgroup.subtree_control").write_text(enabled if path == mounted else "")
        (path / "cgroup.controllers").write_text(controllers)
        (path / "cgroup.procs").write_text("")
        if path == mounted:
            break
    return proc, root


def test_version_2_groups_are_made_at_the_nearest_ancestor_with_the_controllers(tmp_path: Path) -> None:
    proc, root = tree(tmp_path, "/user.slice/session.scope")
    found = cgroup.find(proc, root)
    assert found.version == 2
    assert found.memory == found.pids == root / "sys/fs/cgroup"


def test_version_2_without_the_controllers_is_unavailable_with_a_remedy(tmp_path: Path) -> None:
    proc, root = tree(tmp_path, "/a", controllers="cpu", enabled="cpu")
    with pytest.raises(cgroup.Unavailable, match="Delegate=yes"):
        cgroup.find(proc, root)


def test_version_2_controllers_are_enabled_where_that_is_all_that_is_missing(tmp_path: Path) -> None:
    proc, root = tree(tmp_path, "/a", enabled="")
    found = cgroup.find(proc, root)
    assert found.memory == root / "sys/fs/cgroup/a"
    assert (found.memory / "cgroup.subtree_control").read_text() == "+memory +pids"


class Kernel:
    """Emulates the rule of no internal processes (man 7 cgroups) in the temporary tree."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, group: Path, obeys: bool = True) -> None:
        self.group, self.obeys, self.write = group, obeys, Path.write_text
        monkeypatch.setattr(Path, "write_text", lambda path, text: self.take(path, text))

    def take(self, path: Path, text: str) -> int:
        procs = self.group / "cgroup.procs"
        pids = procs.read_text().split()
        if path == self.group / "cgroup.subtree_control" and pids:
            raise OSError(errno.EBUSY, "Device or resource busy")
        if path.name == "cgroup.procs" and path != procs and self.obeys:
            self.write(procs, "\n".join(pid for pid in pids if pid != text))
        return self.write(path, text)


def test_processes_of_a_delegated_version_2_group_make_room_for_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proc, root = tree(tmp_path, "/a", enabled="")
    group = root / "sys/fs/cgroup/a"
    (group / "cgroup.procs").write_text("11\n12\n")
    Kernel(monkeypatch, group)
    assert cgroup.find(proc, root).memory == group
    assert (group / "cgroup.procs").read_text() == ""
    assert (group / "selftaught/cgroup.procs").exists()
    assert (group / "cgroup.subtree_control").read_text() == "+memory +pids"


def test_processes_that_cannot_be_moved_make_version_2_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proc, root = tree(tmp_path, "/a", enabled="")
    group = root / "sys/fs/cgroup/a"
    (group / "cgroup.procs").write_text("0\n")  # one of another pid namespace
    Kernel(monkeypatch, group, obeys=False)
    with pytest.raises(cgroup.Unavailable, match="can't be moved"):
        cgroup.find(proc, root)


def test_version_2_limits_are_written_by_their_names(tmp_path: Path) -> None:
    made = cgroup.Group(cgroup.Hierarchy(2, tmp_path, tmp_path), 1 << 20)
    assert (made.memory / "memory.max").read_text() == str(1 << 20)
    assert (made.pids / "pids.max").read_text() == str(cgroup.PROCESSES)
    made.raise_memory_limit(1 << 21)
    made.raise_memory_limit(1 << 10)
    assert (made.memory / "memory.max").read_text() == str(1 << 21)


def test_version_2_oom_kills_are_counted(tmp_path: Path) -> None:
    (tmp_path / "cgroup.procs").write_text("")
    (tmp_path / "memory.events").write_text("low 0\nhigh 0\nmax 4\noom 1\noom_kill 3\n")
    member = cgroup.Member([str(tmp_path)])
    assert member.oom_kills() == 3
    member.add(1234)
    assert (tmp_path / "cgroup.procs").read_text() == "1234"


def test_groups_of_a_dead_verifier_are_removed(tmp_path: Path) -> None:
    realm = owner.identity().rsplit(".", 2)[0]
    (tmp_path / f"selftaught-{realm}.999999999.1-0").mkdir()
    (tmp_path / f"selftaught-{realm}.{os.getpid()}.1-0").mkdir()
    mine = tmp_path / f"selftaught-{owner.identity()}-7"
    mine.mkdir()
    cgroup.sweep(cgroup.Hierarchy(2, tmp_path, tmp_path))
    assert list(tmp_path.iterdir()) == [mine]


def test_verifiers_of_two_pid_namespaces_on_one_tree_keep_each_others_groups(tmp_path: Path) -> None:
    """The process ids of owners here exist in no other namespace, and the reverse."""
    code = f"""
import sys
from pathlib import Path
from selftaught.sandbox.jail import cgroup
hierarchy = cgroup.Hierarchy(2, Path({str(tmp_path)!r}), Path({str(tmp_path)!r}))
cgroup.Group(hierarchy, 1 << 20)
print("made", flush=True)
sys.stdin.read()
"""
    mine = cgroup.Group(cgroup.Hierarchy(2, tmp_path, tmp_path), 1 << 20)
    for path in mine.memory.iterdir():
        path.unlink()  # a real group is removed by rmdir with its files in it
    elsewhere = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]
    if shutil.which("unshare") is None or subprocess.run([*elsewhere, "true"], check=False).returncode:
        pytest.skip("this host gives no pid namespace with a /proc of its own")
    command = [*elsewhere, sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as other:
        assert other.stdin and other.stdout
        assert other.stdout.readline() == "made\n"
        assert mine.memory.exists()
        (theirs,) = (path for path in tmp_path.iterdir() if path != mine.memory)
        for path in theirs.iterdir():
            path.unlink()
        cgroup.sweep(cgroup.Hierarchy(2, tmp_path, tmp_path))
        assert theirs.exists()
        other.stdin.close()


def test_no_control_groups_at_all_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self/cgroup").write_text("")
    (tmp_path / "self/mountinfo").write_text("")
    with pytest.raises(cgroup.Unavailable, match="mount"):
        cgroup.find(tmp_path)
