"""The jail's root file system: read-only, with only the standard library (man 2 pivot_root, man 2 mount_setattr).

It also contains the shared libraries that modules of the standard library need, and packages if there are any. It has
no /proc, /sys, /dev, /etc, /tmp.
"""

from __future__ import annotations

import ctypes
import os
import sysconfig
from collections.abc import Mapping

from selftaught.sandbox.jail import kernel

_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_AT_RECURSIVE = 0x8000
_OPEN_TREE_CLONE = 1
_MOVE_FROM_EMPTY, _MOVE_TO_EMPTY = 0x04, 0x40
_FSCONFIG_SET_STRING, _FSCONFIG_CREATE = 1, 6
_RDONLY, _NOSUID, _NODEV, _NOEXEC = 1, 2, 4, 8
_MS_REC, _MS_PRIVATE = 0x4000, 0x40000
_MNT_DETACH = 2
PACKAGES = "/packages"
"""Where packages are in the root."""
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
    """Return what untrusted code may read of the standard library: no third-party packages, no symbolic links."""
    return [
        entry.path
        for path in library()
        for entry in os.scandir(path)
        if entry.name not in _THIRD_PARTY and not entry.is_symlink()
    ]


def enter(others: Mapping[str, str]) -> None:
    """Create the root and make it this process's root. Needs a private mount namespace.

    Args:
        others: Further files and folders to mount: for each path its path in the new root.

    Raises:
        OSError: A mount failed.
    """
    kernel.mount(b"none", b"/", _MS_REC | _MS_PRIVATE)
    trees = [(path, _clone(path)) for path in library()]
    further = [(inside, os.path.isdir(path), _clone(path)) for path, inside in others.items()]
    masks = [f"{path}/{name}" for path in library() for name in _THIRD_PARTY if os.path.isdir(f"{path}/{name}")]
    root, mount_point = _tmpfs(), _mount_point()
    _attach(root, mount_point)
    os.chdir(mount_point)
    for path, tree in trees:
        os.makedirs("." + path, mode=0o755, exist_ok=True)
        _attach(tree, "." + path)
    for path in masks:
        _attach(_tmpfs(), "." + path)
    for path, is_folder, tree in further:
        os.makedirs("." + (path if is_folder else os.path.dirname(path)), mode=0o755, exist_ok=True)
        if not is_folder:
            os.close(os.open("." + path, os.O_CREAT | os.O_CLOEXEC))
        _attach(tree, "." + path)
    kernel.call("pivot_root", b".", b".")
    kernel.umount(b".", _MNT_DETACH)
    os.chdir("/")
    _restrict(_AT_FDCWD, b"/", _RDONLY | _NOSUID | _NODEV)


def _clone(path: str) -> int:
    return kernel.call("open_tree", _AT_FDCWD, os.fsencode(path), _OPEN_TREE_CLONE | os.O_CLOEXEC)


def _tmpfs() -> int:
    """Return a descriptor of a new, detached, small tmpfs."""
    context = kernel.call("fsopen", b"tmpfs", 1)
    try:
        for key, value in ((b"size", b"1m"), (b"mode", b"0755")):
            kernel.call("fsconfig", context, _FSCONFIG_SET_STRING, key, value, 0)
        kernel.call("fsconfig", context, _FSCONFIG_CREATE, None, None, 0)
        return kernel.call("fsmount", context, 1, _NOSUID | _NODEV)
    finally:
        os.close(context)


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
