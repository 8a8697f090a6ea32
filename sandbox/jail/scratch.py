"""The scratch folder: where programs may write files. The supervisor fills it, looks into it and empties it.

At levels `full` and `container` it is a file system of its own (`selftaught.sandbox.jail.root`, the container's
/tmp): small, without devices, and nothing in it can be executed or mapped as code. Level `restricted` mounts nothing:
there it is a new folder below the host's temporary one, and the supervisor counts what is in it when a program asks to
open a file for writing, unless it has just done so.

What is in it was made by hostile code: odd names, deep trees, links, folders that nobody may read. So no path of more
than one name is used here, and no link is followed.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from selftaught.sandbox.errors import CannotConfine, WorkerFailed
from selftaught.sandbox.jail import kernel, root
from selftaught.sandbox.jail.namespaces import NOBODY

BYTES, ENTRIES = root.SCRATCH_BYTES, root.SCRATCH_INODES
FILE_BYTES = 8 << 20
"""The largest file at level `restricted`, where the sum is known only between two calls of a program."""
CONTAINER, UNNAMED = "/tmp", "/run"
"""The scratch folder in a container, and the folder for files without names (`Folder.unnamed`)."""
_PREFIX = "selftaught-scratch-"
_LOOK_SHARE = 0.05
"""The largest share of its elapsed time for which a program waits until the folder has been looked at."""
_DEEPEST = 64
"""Folders nested deeper than this count as too many at level `restricted`."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_NO_MAGIC_LINKS, _BENEATH = 2, 8  # flags of openat2: RESOLVE_


class _How(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


class Full(Exception):
    """There are too many files in the folder, or they are too large."""


class Folder:
    """The supervisor's access to the scratch folder of its worker.

    Attributes:
        path: Its path in the jail.
        is_mounted: True if it is a file system of its own, with a limit of its size and without code.
        unnamed: Descriptor of a folder for files without names, without code too; -1 if there is none.
        is_used: True if there may be something in it.
    """

    def __init__(self, path: str, descriptor: int, unnamed: int, is_mounted: bool) -> None:
        """Take the descriptors, which `close` closes."""
        self.path, self.unnamed, self.is_mounted, self.is_used = path, unnamed, is_mounted, True
        self._top = descriptor
        self._most_entries, self._look_at = 0, 0.0
        self._owns_files = os.geteuid() == os.fstat(descriptor).st_uid

    @property
    def file_bytes(self) -> int:
        """The largest file that a program may write."""
        return BYTES if self.is_mounted else FILE_BYTES

    def describe_size(self) -> str:
        """Return how much it can hold."""
        if not self.is_mounted:
            return f"{BYTES >> 20} MiB, looked at when a file is opened"
        about = os.fstatvfs(self._top)
        return f"{about.f_blocks * about.f_frsize >> 20} MiB, {about.f_files:,} files and folders"

    def put(self, files: Mapping[str, bytes]) -> None:
        """Write files, for a program that starts next.

        Args:
            files: Content by path, which `selftaught.sandbox.validation` has checked.

        Raises:
            WorkerFailed: The folder is not empty.
            OSError: They do not fit.
        """
        if self.is_used:
            raise WorkerFailed("the scratch folder was not emptied")
        self.is_used = True
        for path, content in files.items():
            *folders, name = path.split("/")
            with self._inside(folders, make=True) as folder:
                self._write(folder, name, content)

    def _write(self, folder: int, name: str, content: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(name, flags, 0o644, dir_fd=folder), "wb", buffering=0) as file:
            self._give(file.fileno(), 0o644)
            rest = memoryview(content)
            while rest:
                rest = rest[file.write(rest) :]

    def _give(self, descriptor: int, mode: int) -> None:
        """Make a file or folder the programs' own."""
        if not self._owns_files:
            os.fchown(descriptor, NOBODY, NOBODY)
        os.fchmod(descriptor, mode)

    def fetch(self, paths: Sequence[str]) -> dict[str, bytes]:
        """Return the content of those of these paths that are regular files. No process may be able to write any more.

        The largest sum of their sizes is that of the folder; a file that would exceed it is left out.
        """
        found, room = {}, BYTES
        for path in paths:
            *folders, name = path.split("/")
            with contextlib.suppress(OSError), self._inside(folders) as folder:
                content = _read(folder, name, room)
                if content is not None:
                    found[path] = content
                    room -= len(content)
        return found

    @contextlib.contextmanager
    def _inside(self, folders: list[str], make: bool = False) -> Iterator[int]:
        """Yield a descriptor of a folder in it. Raises OSError if there is none."""
        at = os.dup(self._top)
        try:
            for name in folders:
                if make:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(name, dir_fd=at)
                below = os.open(name, _FOLDER, dir_fd=at)
                os.close(at)
                at = below
                if make:
                    self._give(at, 0o755)
            yield at
        finally:
            os.close(at)

    def check_room(self, creates: bool) -> None:
        """Raise Full if nothing more may be written, or created. Where the folder is mounted the kernel decides.

        The folder is looked at again when that takes little in comparison with the time since, or when there may be as
        many entries as are allowed.
        """
        if self.is_mounted:
            return
        began = time.monotonic()
        if began < self._look_at and not (creates and self._most_entries >= ENTRIES):
            self._most_entries += creates
            return
        self._look_at = 0.0
        try:
            entries, size = _measure(self._top, _DEEPEST)
        except OSError as error:  # a thread of the program works against it
            raise Full from error
        if size > BYTES or (creates and entries >= ENTRIES):
            raise Full
        now = time.monotonic()
        self._most_entries, self._look_at = entries + creates, now + (now - began) / _LOOK_SHARE

    def holds(self, path: str) -> bool:
        """Return True if an absolute path, as the kernel shows it, is in the folder."""
        return path.startswith(self.path + "/")

    def find(self, path: str) -> None:
        """Look for a file. The path is hostile: nothing outside of the folder is looked at, by no link either.

        Args:
            path: Its absolute path, which need not be normalised.

        Raises:
            OSError: There is none, or it is not in the folder.
        """
        how = _How(os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, 0, _BENEATH | _NO_MAGIC_LINKS)
        inside = path == self.path or self.holds(path)
        if inside:
            beneath = os.fsencode(path[len(self.path) :].strip("/") or ".")
            try:
                os.close(kernel.call("openat2", self._top, beneath, how, ctypes.sizeof(how)))
            except OSError as error:
                inside = error.errno not in (errno.EXDEV, errno.ELOOP)
                if inside:
                    raise
        if not inside:
            raise PermissionError(errno.EPERM, "not in the scratch folder")

    def empty(self) -> None:
        """Remove everything, if there may be something, and put back what can be put back of the folder itself.

        Raises:
            WorkerFailed: Something remains.
        """
        if not self.is_used:
            return
        try:
            os.fchmod(self._top, 0o700)  # first: a supervisor without privileges may need the rights
            _empty(self._top)
            os.utime(self._top, (0, 0))
        except OSError as error:
            raise WorkerFailed(f"the scratch folder can't be emptied: {error}") from error
        self.is_used, self._look_at = False, 0.0

    def close(self) -> None:
        """Remove the folder if it was made for this worker, and close the descriptors."""
        if not self.is_mounted:
            with contextlib.suppress(OSError):  # a later worker removes it
                _empty(self._top)
                os.rmdir(self.path)
        for descriptor in (self._top, self.unnamed):
            if descriptor >= 0:
                os.close(descriptor)


def prepare(level: str, temporary: str) -> Folder | None:
    """Return the scratch folder of a worker, or None at level `full`, where the zygote mounts it.

    Args:
        level: The confinement level.
        temporary: At level `restricted`, the folder in which to make it.

    Raises:
        CannotConfine: There is none in this container.
        OSError: It can't be made.
    """
    if level == "full":
        return None
    if level == "restricted":
        return _make(temporary)
    for path in (CONTAINER, UNNAMED):
        if not os.statvfs(path).f_flag & os.ST_NOEXEC or not os.access(path, os.W_OK):
            raise CannotConfine(f"{path} of the container must be a tmpfs that is writable, noexec, nosuid and nodev")
    return Folder(CONTAINER, os.open(CONTAINER, _FOLDER), os.open(UNNAMED, _FOLDER), is_mounted=True)


def _make(temporary: str) -> Folder:
    """Make a folder, locked as long as this process lives. Remove those that no process has locked any more."""
    for abandoned in Path(temporary).glob(_PREFIX + "*"):
        _remove_abandoned(abandoned)
    while True:
        path = os.path.join(os.path.realpath(temporary), _PREFIX + os.urandom(8).hex())
        os.mkdir(path, 0o700)
        descriptor = os.open(path, _FOLDER)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.path.exists(path):  # else another worker has taken it for abandoned before it was locked
            return Folder(path, descriptor, -1, is_mounted=False)
        os.close(descriptor)


def _remove_abandoned(path: Path) -> None:
    """Remove a folder of this user that is not locked."""
    try:
        descriptor = os.open(path, _FOLDER)
    except OSError:  # it is gone, or another user's
        return
    try:
        if os.fstat(descriptor).st_uid == os.geteuid():
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _empty(descriptor)
            path.rmdir()
    except OSError:  # it is in use
        pass
    finally:
        os.close(descriptor)


def _read(folder: int, name: str, most: int) -> bytes | None:
    """Return the content of a regular file; None if it is none, or larger. Raises OSError."""
    with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder), "rb") as file:
        about = os.fstat(file.fileno())
        return file.read(most) if stat.S_ISREG(about.st_mode) and about.st_size <= most else None


def _open_folder(name: str, parent: int) -> int:
    """Open a folder, even if its owner may not read it: nothing that is put in its place in the meantime is touched."""
    found = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        itself = f"/proc/self/fd/{found}"
        if os.fstat(found).st_mode & 0o700 != 0o700:
            os.chmod(itself, 0o700)
        return os.open(itself, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    finally:
        os.close(found)


def _measure(folder: int, depth: int) -> tuple[int, int]:
    """Return how many entries there are below a folder, and how many bytes they take. Raises Full if it is too deep."""
    if not depth:
        raise Full
    entries = size = 0
    for name in os.listdir(folder):
        entries += 1
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            about = os.stat(name, dir_fd=folder, follow_symlinks=False)
            size += about.st_blocks * 512
            if stat.S_ISDIR(about.st_mode):
                below = _open_folder(name, folder)
                try:
                    more = _measure(below, depth - 1)
                finally:
                    os.close(below)
                entries, size = entries + more[0], size + more[1]
    return entries, size


def _empty(top: int) -> None:
    """Remove everything in a folder that no process changes any more, however deep it is. Raises OSError."""
    number = 0
    while names := os.listdir(top):
        for name in names:
            if not stat.S_ISDIR(os.stat(name, dir_fd=top, follow_symlinks=False).st_mode):
                os.unlink(name, dir_fd=top)
                continue
            folder = _open_folder(name, top)
            try:
                for inner in os.listdir(folder):
                    if stat.S_ISDIR(os.stat(inner, dir_fd=folder, follow_symlinks=False).st_mode):
                        os.close(_open_folder(inner, folder))  # to move it may need rights of its own
                        number = _free_number(top, number)
                        os.rename(inner, str(number), src_dir_fd=folder, dst_dir_fd=top)  # so nothing gets deep
                    else:
                        os.unlink(inner, dir_fd=folder)
            finally:
                os.close(folder)
            os.rmdir(name, dir_fd=top)


def _free_number(folder: int, number: int) -> int:
    """Return the next number that no entry of the folder has as its name."""
    while True:
        number += 1
        try:
            os.stat(str(number), dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return number
