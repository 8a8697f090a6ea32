"""Control groups: memory and process limits for everything in a worker's jail, v2 or v1 (man 7 cgroups).

The verifier creates a group for each worker (`Group`). The supervisor puts the zygote into it before the zygote does
anything, and children inherit it (`Member`). A group's name contains its owner, so that a later verifier can remove the
groups of a killed one.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from selftaught.sandbox.jail import owner

PROCESSES = 4 + 2 * 128
"""The most processes and threads in a worker's jail: init, the zygote, two snapshot processes, and two children with
twice as many threads as they may usually have (`selftaught.sandbox.worker.fork.threads.MOST`).
"""

_CONTROLLERS = {"memory", "pids"}
_LEAF = "selftaught"
_MOVE_ATTEMPTS = 5  # a process that forks during the move may leave its child behind
_NAME = re.compile(r"selftaught-(?P<owner>.+)-\d+")
_numbers = count()


class Unavailable(OSError):
    """No control group can be created here; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """The parent of the verifier's groups.

    Attributes:
        version: 1 or 2.
        memory: The parent group for the memory controller.
        pids: The parent group for the pids controller; the same directory in version 2.
    """

    version: int
    memory: Path
    pids: Path


def find(proc: Path = Path("/proc"), root: Path | None = None) -> Hierarchy:
    """Return the parent for the verifier's groups.

    In version 1 it is this process's own group. In version 2 it is the nearest ancestor that is writable and has the
    controllers enabled, or else this process's own group if that is delegated to it (see `_enable_controllers`).

    Args:
        proc: The proc file system; tests replace it.
        root: Replaces the directory that is mounted at /, for tests.

    Raises:
        Unavailable: There is none.
    """
    own = {}
    for line in (proc / "self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            own[controller] = path
    mounts = _mounts(proc, root)
    if "memory" in mounts and "pids" in mounts:
        memory, pids = (_own_directory(mounts[name], own.get(name, "/")) for name in ("memory", "pids"))
        for directory in (memory, pids):
            if not os.access(directory, os.W_OK):
                raise Unavailable(
                    f"{directory} is not writable: run as root, or have it delegated (chown) to this user"
                )
        return Hierarchy(1, memory, pids)
    if "" not in mounts:
        raise Unavailable("no control groups are mounted: mount cgroup2 on /sys/fs/cgroup")
    start = _own_directory(mounts[""], own.get("", "/"))
    for directory in (start, *start.parents):
        if not (directory / "cgroup.subtree_control").exists():
            break
        if _words(directory / "cgroup.subtree_control") >= _CONTROLLERS and _is_ours(directory):
            return Hierarchy(2, directory, directory)
    if _is_ours(start) and _words(start / "cgroup.controllers") >= _CONTROLLERS:
        _enable_controllers(start)
        return Hierarchy(2, start, start)
    raise Unavailable(
        f"no writable control group with the memory and pids controllers at or above {start}: run as root, or have one "
        "delegated (systemd-run --user --scope -p Delegate=yes)"
    )


def _is_ours(group: Path) -> bool:
    """Return True if this process may create groups in it and move processes to them (man 7 cgroups, "delegation")."""
    return all(os.access(path, os.W_OK) for path in (group, group / "cgroup.procs", group / "cgroup.subtree_control"))


def _enable_controllers(group: Path) -> None:
    """Enable the controllers for the group's children. Raises Unavailable.

    A group with controllers enabled for its children must not contain processes (man 7 cgroups, "no internal
    processes"), so all processes in it, this one included, are moved to a child group first.
    """
    for _ in range(_MOVE_ATTEMPTS):
        try:
            (group / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in sorted(_CONTROLLERS)))
            return
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise Unavailable(
                    f"{group}: the controllers can't be enabled for its children: {error.strerror}"
                ) from error
        leaf = group / _LEAF
        leaf.mkdir(exist_ok=True)
        for pid in _words(group / "cgroup.procs"):
            with contextlib.suppress(OSError):  # the process has ended
                (leaf / "cgroup.procs").write_text(pid)
    raise Unavailable(
        f"the processes in {group} can't be moved to a child group: start this process in a group of its own"
    )


def _words(path: Path) -> set[str]:
    return set(path.read_text().split())


def _mounts(proc: Path, root: Path | None) -> dict[str, tuple[str, Path]]:
    """Return for each controller ("" for v2) the group that is mounted and its mount point (man 5 proc, mountinfo)."""
    found: dict[str, tuple[str, Path]] = {}
    for line in (proc / "self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        mounted, point = left.split()[3:5]
        place = (mounted, root / point.lstrip("/") if root else Path(point))
        if kind == "cgroup2":
            found[""] = place
        elif kind == "cgroup":
            for option in options.split()[-1].split(","):
                found[option] = place
    return found


def _own_directory(mount: tuple[str, Path], path: str) -> Path:
    mounted, point = mount
    relative = os.path.relpath(path, mounted)
    directory = point / relative
    return directory if not relative.startswith("..") and directory.is_dir() else point


class Group:
    """The control group of one worker, created and removed by the verifier.

    Args:
        hierarchy: The parent of the group.
        memory_bytes: Its memory limit.

    Raises:
        OSError: It can't be created.
    """

    def __init__(self, hierarchy: Hierarchy, memory_bytes: int) -> None:
        sweep(hierarchy)
        self.version = hierarchy.version
        name = f"selftaught-{owner.identity()}-{next(_numbers)}"
        self.memory, self.pids = hierarchy.memory / name, hierarchy.pids / name
        self.memory_bytes = 0
        for directory in {self.memory, self.pids}:
            directory.mkdir()
        (self.pids / "pids.max").write_text(str(PROCESSES))
        self.raise_memory_limit(memory_bytes)

    def raise_memory_limit(self, memory_bytes: int) -> None:
        """Raise the memory limit to this many bytes if it is lower. Raises OSError."""
        if memory_bytes > self.memory_bytes:
            name = "memory.max" if self.version == 2 else "memory.limit_in_bytes"
            (self.memory / name).write_text(str(memory_bytes))
            if self.version == 2 and (self.memory / "memory.swap.max").exists():
                (self.memory / "memory.swap.max").write_text("0")
            self.memory_bytes = memory_bytes

    def paths(self) -> list[str]:
        """Return the directories of the group, for `Member`."""
        return sorted({str(self.memory), str(self.pids)})

    def remove(self) -> None:
        """Remove the group, after waiting for its dying processes."""
        _remove([self.memory, self.pids], 5.0)


class Member:
    """The supervisor's access to its worker's group. Open it before entering namespaces, which hide the group.

    Args:
        paths: What `Group.paths` returned.
    """

    def __init__(self, paths: list[str]) -> None:
        self._paths = [Path(path) for path in paths]
        self._procs = [os.open(path / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC) for path in self._paths]
        self._events = -1
        for path in self._paths:
            for name in ("memory.events", "memory.oom_control"):
                if (path / name).exists():
                    self._events = os.open(path / name, os.O_RDONLY | os.O_CLOEXEC)

    def add(self, pid: int) -> None:
        """Put a process into the group. Raises OSError."""
        for descriptor in self._procs:
            os.write(descriptor, str(pid).encode())

    def oom_kills(self) -> int:
        """Return how many processes of the group the kernel has killed for lack of memory."""
        if self._events < 0:
            return 0
        for line in os.pread(self._events, 4096, 0).splitlines():
            if line.startswith(b"oom_kill "):
                return int(line.split()[1])
        return 0

    def remove(self) -> None:
        """Remove the group, in case the verifier was killed and can't."""
        _remove(self._paths, 0.5)


def sweep(hierarchy: Hierarchy) -> None:
    """Remove the groups of dead verifiers of this pid namespace. Those of other pid namespaces stay."""
    for directory in {hierarchy.memory, hierarchy.pids}:
        for path in directory.glob("selftaught-*"):
            match = _NAME.fullmatch(path.name)
            if match and owner.is_gone(match["owner"]):
                _remove([path], 0.0)


def _remove(paths: list[Path], timeout_seconds: float) -> None:
    deadline = time.monotonic() + timeout_seconds
    for path in paths:
        while path.exists():
            try:
                path.rmdir()
            except FileNotFoundError:
                break
            except OSError:
                if time.monotonic() > deadline:
                    break  # a later verifier removes it
                time.sleep(0.005)
