"""The jail's root file system: read-only, with only the standard library (man 2 pivot_root, man 2 mount_setattr).

It also contains the shared libraries that modules of the standard library need, packages if there are any, a few
devices, and the scratch folder: a small file system of its own, where nothing can be executed. It has no /proc, /sys,
/etc, and nothing of the host's /tmp.
"""

from __future__ import annotations

import ctypes
import os
import sysconfig
from collections.abc import Mapping

from selftaught.sandbox.jail import kernel
from selftaught.sandbox.jail.namespaces import NOBODY

_AT_FDCWD = -100
_AT_RECURSIVE = 0x8000
_OPEN_TREE_CLONE = 1
_MOVE_FROM_EMPTY, _MOVE_TO_EMPTY = 0x04, 0x40
_FSCONFIG_SET_STRING, _FSCONFIG_CREATE = 1, 6
_RDONLY, _NOSUID, _NODEV, _NOEXEC = 1, 2, 4, 8
_NO_CODE = _NOSUID | _NODEV | _NOEXEC
_MS_REC, _MS_PRIVATE = 0x4000, 0x40000
_MNT_DETACH = 2
DATA = "/usr/share/zoneinfo", "/usr/lib/locale/C.utf8"
"""What the standard library reads besides, where the host has it: time zones, and the locale of all tasks."""
PACKAGES = "/packages"
"""Where packages are in the root."""
DEVICES = {"/dev/null": True, "/dev/zero": True, "/dev/full": True, "/dev/random": False, "/dev/urandom": False}
"""Devices that hold nothing, and whether they may be written to."""
SCRATCH_BYTES, SCRATCH_INODES = 64 << 20, 1000
"""The size of the scratch folder, and the most files and folders in it."""
_THIRD_PARTY = ("site-packages", "dist-packages")


class _MountAttr(ctypes.Structure):
    _fields_ = (
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def library() -> list[str]:
    """Return the directories of the standard library, outermost first."""
    stdlib, platform = sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")
    return [stdlib] if (platform + "/").startswith(stdlib + "/") else [stdlib, platform]


def readable() -> list[str]:
    """Return what untrusted code may read: the standard library without third-party packages and symbolic links, and
    what it needs."""
    return [*data()] + [
        entry.path
        for path in library()
        for entry in os.scandir(path)
        if entry.name not in _THIRD_PARTY and not entry.is_symlink()
    ]


def data() -> list[str]:
    """Return the paths of `DATA` that this host has."""
    return [path for path in DATA if os.path.isdir(path)]


def enter(others: Mapping[str, str]) -> None:
    """Create the root and make it this process's root. Needs a private mount namespace.

    Args:
        others: Further files and folders to mount: for each path its path in the new root.

    Raises:
        OSError: A mount failed.
    """
    kernel.mount(b"none", b"/", _MS_REC | _MS_PRIVATE)
    trees = [(path, _clone(path)) for path in library()]
    others = {**others, **{path: path for path in data()}}
    further = [(inside, os.path.isdir(path), _clone(path)) for path, inside in others.items()]
    devices = [(path, _clone(path)) for path in DEVICES if os.path.exists(path)]
    masks = [f"{path}/{name}" for path in library() for name in _THIRD_PARTY if os.path.isdir(f"{path}/{name}")]
    root, mount_point = _tmpfs(_NOSUID | _NODEV, size="1m", mode="0755"), _mount_point()
    _attach(root, mount_point)
    os.chdir(mount_point)
    for path, tree in trees:
        os.makedirs("." + path, mode=0o755, exist_ok=True)
        _attach(tree, "." + path)
    for path in masks:
        _attach(_tmpfs(_NOSUID | _NODEV, size="1m", mode="0755"), "." + path)
    for path, is_folder, tree in further:
        _make_mount_point(path, is_folder)
        _attach(tree, "." + path)
    for path, _ in devices:
        _make_mount_point(path, is_folder=False)
    _make_mount_point(scratch(), is_folder=True)
    kernel.call("pivot_root", b".", b".")
    kernel.umount(b".", _MNT_DETACH)
    os.chdir("/")
    _restrict(_AT_FDCWD, b"/", _RDONLY | _NOSUID | _NODEV)
    for path, tree in devices:
        _attach(tree, path)
        _restrict(_AT_FDCWD, os.fsencode(path), _RDONLY | _NOSUID | _NOEXEC)  # their times and rights are the host's
    own = {"uid": str(NOBODY), "gid": str(NOBODY), "mode": "0700"}
    _attach(_tmpfs(_NO_CODE, size=str(SCRATCH_BYTES), nr_inodes=str(SCRATCH_INODES), **own), scratch())


def scratch() -> str:
    """Return where the scratch folder is in the root: /tmp, unless the library itself is below the host's."""
    return "/scratch" if any(path.startswith("/tmp/") for path in library()) else "/tmp"


def unnamed_files() -> int:
    """Return a descriptor of a file system for files without names, which can't be mapped as code. Raises OSError."""
    return _tmpfs(_NO_CODE, size="0", mode="0700")  # of any size: only the supervisor has it


def _clone(path: str) -> int:
    return kernel.call("open_tree", _AT_FDCWD, os.fsencode(path), _OPEN_TREE_CLONE | os.O_CLOEXEC)


def _tmpfs(flags: int, **options: str) -> int:
    """Return a descriptor of a new, detached tmpfs."""
    context = kernel.call("fsopen", b"tmpfs", 1)
    try:
        for key, value in options.items():
            kernel.call("fsconfig", context, _FSCONFIG_SET_STRING, key.encode(), value.encode(), 0)
        kernel.call("fsconfig", context, _FSCONFIG_CREATE, None, None, 0)
        return kernel.call("fsmount", context, 1, flags)
    finally:
        os.close(context)


def _make_mount_point(path: str, is_folder: bool) -> None:
    """Create a file or folder of this path below the current directory."""
    os.makedirs("." + (path if is_folder else os.path.dirname(path)), mode=0o755, exist_ok=True)
    if not is_folder:
        os.close(os.open("." + path, os.O_CREAT | os.O_CLOEXEC))


def _mount_point() -> str:
    """Return a directory to mount on. Any will do: what is needed below it has been cloned already."""
    return next(path for path in ("/tmp", "/run", "/var", "/usr", "/proc") if os.path.isdir(path))


def _attach(tree: int, path: str) -> None:
    """Mount the detached tree there and close its descriptor."""
    kernel.call("move_mount", tree, b"", _AT_FDCWD, os.fsencode(path), _MOVE_FROM_EMPTY)
    os.close(tree)


def _restrict(directory: int, path: bytes, flags: int) -> None:
    attr = _MountAttr(set=flags)
    kernel.call("mount_setattr", directory, path, _AT_RECURSIVE, attr, ctypes.sizeof(attr))
