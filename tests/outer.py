"""The outer limit: a hole in the jail costs a test and not the machine.

    python -m tests.outer [--memory-gib 8] [--processes 2048] [--seconds 3600] COMMAND...

Runs the command, and all that it starts, in user, pid, mount, network, ipc and uts namespaces of their own. Files can
be written in /tmp, /var/tmp and /dev/shm alone, which are private and empty. The network is a loopback. All processes
end with process 1, which is ours. A control group bounds memory and processes, ulimits bound each process, a deadline
bounds the run.

One line on standard error says which parts are in force. A host may refuse a part, an ordinary container most of them;
then the others are used, unless SELFTAUGHT_LEVELS names the level `full`: then nothing is run without all of them (exit
code 2). The command's exit code is passed on; 124 is a run over its time. The command finds the parts in the variable
SELFTAUGHT_OUTER.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import fcntl
import os
import resource
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from selftaught.sandbox.jail import cgroup, kernel

ROOT = Path(__file__).parents[1]
UNUSABLE, OVERTIME = 2, 124
WRITABLE = ("/tmp", "/var/tmp", "/dev/shm")
_NEWNS, _NEWUTS, _NEWIPC, _NEWUSER, _NEWPID, _NEWNET = 0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_MS_NOSUID_NODEV, _MS_REC_PRIVATE = 0x6, 0x44000
_RDONLY = 1
_AT_FDCWD, _AT_RECURSIVE, _OPEN_TREE_CLONE, _MOVE_FROM_EMPTY = -100, 0x8000, 1, 4
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_ENVIRONMENT = {"PYTEST_ADDOPTS": "-p no:cacheprovider", "HYPOTHESIS_STORAGE_DIRECTORY": "/tmp/hypothesis"}
"""Settings under which tests write nothing to the project's folder, which is read-only."""

_ULIMITS = {"CORE": 0, "FSIZE": 2 << 30, "NOFILE": 65536, "CPU": 1800}


class Parts:
    """The parts that are in force, and those that the host refused with the reason."""

    def __init__(self) -> None:
        self.in_force: list[str] = []
        self.missing: list[str] = []

    def attempt(self, name: str, action: Callable[[], object]) -> bool:
        try:
            action()
        except OSError as error:
            self.missing.append(f"{name} ({error})")
            return False
        self.in_force.append(name)
        return True

    def __str__(self) -> str:
        return ", ".join(self.in_force) + (f"; not {', not '.join(self.missing)}" if self.missing else "")


class Group:
    """A control group around all processes. In version 2 they are in a leaf of it, so that it can hold other groups."""

    def __init__(self, memory_bytes: int, processes: int) -> None:
        place = cgroup.find()
        for group in {*place.memory.glob("outer-limit-*"), *place.pids.glob("outer-limit-*")}:
            if not os.path.exists(f"/proc/{group.name.split('-')[2]}"):  # its launcher was killed
                _remove_groups(group)
        name = f"outer-limit-{os.getpid()}-{time.monotonic_ns()}"
        self.memory, self.pids = place.memory / name, place.pids / name
        self.leaves = [self.memory / "inside"] if place.version == 2 else [self.memory, self.pids]
        try:
            self._make(memory_bytes, processes, place.version)
        except OSError:
            self.remove()
            raise

    def _make(self, memory_bytes: int, processes: int, version: int) -> None:
        for directory in (self.memory, self.pids):
            directory.mkdir(exist_ok=True)
        (self.memory / ("memory.max" if version == 2 else "memory.limit_in_bytes")).write_text(str(memory_bytes))
        (self.pids / "pids.max").write_text(str(processes))
        if version == 2:
            (self.memory / "cgroup.subtree_control").write_text("+memory +pids")
            self.leaves[0].mkdir()

    def join(self) -> None:
        for leaf in self.leaves:
            (leaf / "cgroup.procs").write_text(str(os.getpid()))

    def remove(self) -> None:
        """Kill the processes left in it, and remove it with all groups in it."""
        deadline = time.monotonic() + 10
        for top in {self.memory, self.pids}:
            while top.exists() and time.monotonic() < deadline:
                for procs in top.glob("**/cgroup.procs"):
                    with contextlib.suppress(OSError):
                        for pid in procs.read_text().split():
                            os.kill(int(pid), signal.SIGKILL)
                _remove_groups(top)
                time.sleep(0.01)


def _remove_groups(top: Path) -> None:
    """Remove all empty groups in it and itself, if it is empty then."""
    for directory, _, _ in os.walk(top, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(directory)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="tests.outer", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--memory-gib", type=float, default=_half_of_the_memory())
    parser.add_argument("--processes", type=int, default=2048)
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    if not options.command:
        parser.error("no command")
    parts, groups = Parts(), list[Group]()
    bounds = f"control group ({options.memory_gib:g} GiB, {options.processes} processes)"
    parts.attempt(bounds, lambda: groups.append(Group(int(options.memory_gib * (1 << 30)), options.processes)))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command handles Ctrl-C
    child = os.fork()
    if child == 0:
        _guarded(lambda: _enter(options.command, parts, groups))
    try:
        return _wait(child, options.seconds)
    finally:
        for group in groups:
            group.remove()


def _half_of_the_memory() -> float:
    """Return it in GiB, at most 8."""
    return min(8.0, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2 / (1 << 30))


def _wait(child: int, seconds: float) -> int:
    """Wait for the child, and kill it on a timeout or when the launcher gets SIGTERM; return its exit code."""
    deadline = time.monotonic() + seconds
    try:
        while time.monotonic() < deadline:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                return _code(status)
            time.sleep(0.05)
    except SystemExit:
        _end(child)
        raise
    print(f"outer limit: stopped after {seconds:g} s", file=sys.stderr)
    _end(child)
    return OVERTIME


def _end(child: int) -> None:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def _code(status: int) -> int:
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def _guarded(action: Callable[[], int]) -> NoReturn:
    """Run the action in a forked child and exit; never return into the parent's code."""
    code = UNUSABLE
    try:
        code = action()
    except OSError as error:
        print(f"outer limit: {error}", file=sys.stderr)
    finally:
        os._exit(code)


def _enter(command: list[str], parts: Parts, groups: list[Group]) -> int:
    """Enter the group and the namespaces, fork process 1 and wait for it; return its exit code."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    kernel.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    for group in groups:
        group.join()
    apart = parts.attempt("user, pid, mount, network, ipc and uts namespaces", _try_namespaces)
    if apart:
        _enter_namespaces()
    first = os.fork()
    if first == 0:
        _guarded(lambda: _serve_as_first(command, parts, apart))
    return _code(os.waitpid(first, 0)[1])


def _try_namespaces() -> None:
    """Enter and set them up in processes that then exit. Raises OSError with the reason if that fails."""
    reason, report = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            _enter_namespaces()
            if (first := os.fork()) == 0:
                _set_up()
            else:
                os.waitpid(first, 0)
        except OSError as error:
            os.write(report, str(error).encode())
        finally:
            os._exit(0)
    os.close(report)
    os.waitpid(child, 0)
    with open(reason) as file:
        if text := file.read():
            raise OSError(text)


def _enter_namespaces() -> None:
    _enter_user_namespace()
    kernel.unshare(_NEWNS | _NEWUTS | _NEWIPC | _NEWPID | _NEWNET)


def _set_up() -> None:
    """Mount and configure what processes in the namespaces need."""
    _protect_files()
    mount("proc", "/proc")
    _raise_loopback()


def _enter_user_namespace() -> None:
    """Map all ids of this namespace to themselves; an ordinary user may map only its own.

    Root has rights over nothing outside the new namespace.
    """
    maps = {}
    for kind, own in (("uid", os.geteuid()), ("gid", os.getegid())):
        ranges = [line.split() for line in Path(f"/proc/self/{kind}_map").read_text().splitlines()]
        maps[kind] = (
            "".join(f"{start} {start} {count}\n" for start, _, count in ranges) if own == 0 else f"{own} {own} 1"
        )
    # The maps of root must be written from outside, by a process that has the rights there.
    ready, signal_ready = os.pipe()
    pid, writer = os.getpid(), os.fork()
    if writer == 0:
        os.close(signal_ready)
        _guarded(lambda: _write_maps(pid, maps, ready))
    try:
        kernel.unshare(_NEWUSER)
        os.write(signal_ready, b"!")
    finally:
        os.close(ready)
        os.close(signal_ready)
        _, status = os.waitpid(writer, 0)
    if status:
        raise OSError("the id maps can't be written")


def _write_maps(pid: int, maps: dict[str, str], ready: int) -> int:
    if not os.read(ready, 1):
        return 1
    if os.geteuid():
        Path(f"/proc/{pid}/setgroups").write_text("deny")
    for kind, text in maps.items():
        Path(f"/proc/{pid}/{kind}_map").write_text(text)
    return 0


def _serve_as_first(command: list[str], parts: Parts, apart: bool) -> int:
    """Be process 1: set up the namespaces, run the command, reap; return its exit code."""
    kernel.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    kernel.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    if apart:
        _set_up()
    parts.attempt("ulimits", _set_ulimits)
    print(f"outer limit: {parts}", file=sys.stderr, flush=True)
    if parts.missing and "full" in os.environ.get("SELFTAUGHT_LEVELS", "").split(","):
        print("outer limit: SELFTAUGHT_LEVELS demands all of it; nothing was run", file=sys.stderr)
        return UNUSABLE
    os.environ.update(_ENVIRONMENT, SELFTAUGHT_OUTER=str(parts))
    started = os.fork()
    if started == 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        _guarded(lambda: os.execvp(command[0], command))
    code = UNUSABLE
    while True:
        pid, status = os.wait()
        if pid == started:
            code = _code(status)
            break
    _end_orphans()
    return code


def _end_orphans() -> None:
    """Kill what the command left: without a pid namespace it is now our child (see PR_SET_CHILD_SUBREAPER)."""
    while True:
        children = Path(f"/proc/self/task/{os.getpid()}/children")
        for pid in children.read_text().split() if children.exists() else ():
            os.kill(int(pid), signal.SIGKILL)
        try:
            os.wait()
        except ChildProcessError:
            return


def mount(kind: str, target: str, options: str = "") -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    flags = ctypes.c_ulong(_MS_NOSUID_NODEV)
    if libc.mount(kind.encode(), target.encode(), kind.encode(), flags, options.encode()):
        raise OSError(ctypes.get_errno(), f"mount {kind} on {target}: {os.strerror(ctypes.get_errno())}")


def _protect_files() -> None:
    """Make everything read-only but new /tmp, /var/tmp, /dev/shm, and the control groups.

    The checkout and the interpreter stay visible where they are below one of these folders.
    """
    kernel.mount(b"none", b"/", _MS_REC_PRIVATE)
    parent = ROOT.parent if str(ROOT.parent) not in WRITABLE else ROOT
    needed = {str(parent), sys.prefix, sys.base_prefix}
    kept = [(path, clone(path)) for path in needed if path.startswith(tuple(f"{place}/" for place in WRITABLE))]
    _set_read_only("/", True)
    if os.path.isdir("/sys/fs/cgroup"):
        _set_read_only("/sys/fs/cgroup", False)
    for place in WRITABLE:
        if os.path.isdir(place):
            mount("tmpfs", place, "size=50%,mode=1777")
    for path, tree in kept:
        attach(tree, path)
        _set_read_only(path, True)


def clone(path: str) -> int:
    """Return a descriptor of a copy of this mount tree, for `attach`."""
    return kernel.call("open_tree", _AT_FDCWD, path.encode(), _OPEN_TREE_CLONE | _AT_RECURSIVE | os.O_CLOEXEC)


def attach(tree: int, path: str) -> None:
    os.makedirs(path, exist_ok=True)
    kernel.call("move_mount", tree, b"", _AT_FDCWD, path.encode(), _MOVE_FROM_EMPTY)
    os.close(tree)


def _set_read_only(path: str, value: bool) -> None:
    """Make this mount and all below it read-only or writable (man 2 mount_setattr)."""
    change = (ctypes.c_uint64 * 4)(*((_RDONLY, 0) if value else (0, _RDONLY)), 0, 0)
    kernel.call("mount_setattr", _AT_FDCWD, path.encode(), _AT_RECURSIVE, bytes(change), ctypes.sizeof(change))


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as query:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack_from("H", fcntl.ioctl(query, _SIOCGIFFLAGS, request), 16)[0]
        fcntl.ioctl(query, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))


def _set_ulimits() -> None:
    for name, value in _ULIMITS.items():
        kind = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))


if __name__ == "__main__":
    sys.exit(main())
