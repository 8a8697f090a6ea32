"""Decides about a child's system calls on files: which pass, if its phase may write to the scratch folder at all.

A call passes by its number and registers; where it may reach is for Landlock to say, and at levels with mounts for
these. What Landlock does not cover (rights, times, attributes) passes only where everything else is mounted read-only.
No lock is ever taken: two workers could talk by locks on files of the library, and a program alone needs none. Nor is
advice about use taken, by which a file of the library could be evicted from memory.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from typing import TYPE_CHECKING

from selftaught.sandbox.jail import landlock, seccomp
from selftaught.sandbox.jail.scratch import Folder, Full
from selftaught.sandbox.outcome import Phase
from selftaught.sandbox.worker.jailed import JailedProcesses

if TYPE_CHECKING:
    from selftaught.sandbox.worker.fork.child import Child

WRITERS = Phase.RUN, Phase.SHARED
"""Phases that may write files. No process of another phase of the same task runs beside them: two that share a folder
could pass what is never checked.
"""

_CREATES = "creat mkdir mkdirat link linkat symlink symlinkat".split()
_REMOVES = "rmdir unlink unlinkat".split()
_CHANGES = "rename renameat ftruncate copy_file_range sendfile".split()
_OPENS = {"open": 1, "openat": 2}
"""Calls that open a file, and where their flags are."""
_UNLIMITED_BY_LANDLOCK = "chmod fchmod fchmodat fchmodat2 utime utimes futimesat utimensat".split()
_PASS = "chdir fchdir umask fsync fdatasync msync".split()
_REFUSED = {
    **dict.fromkeys("setxattr lsetxattr fsetxattr getxattr lgetxattr fgetxattr".split(), errno.ENOTSUP),
    **dict.fromkeys("listxattr llistxattr flistxattr".split(), errno.ENOTSUP),
    **dict.fromkeys("chown fchown lchown fchownat".split(), errno.EPERM),
    **dict.fromkeys("statfs fstatfs".split(), errno.ENOSYS),  # how full the host's disks are tells what others do
}
_NAME_SERVICE = (1, 0o2004001, 0)
"""AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK: how the C library asks a daemon for users' names, as for
`os.path.expanduser` and `tarfile`. There is none, and it goes on without.
"""
_KNOWN_FLAGS_OF_RENAME = 3  # RENAME_NOREPLACE, RENAME_EXCHANGE; not RENAME_WHITEOUT, which makes a device
_AT_FDCWD = -100
_LONGEST_PATH = 4096
_LOW = 0xFFFFFFFF  # the bits of an argument of type int that the kernel reads
_TRUNCATES_SINCE = 3
"""The version of Landlock that covers `truncate`."""


class FileCalls:
    """Decides for the children of a worker."""

    def __init__(self, jailed: JailedProcesses) -> None:
        self._folder, self._listener = jailed.scratch, jailed.listener

        def numbers(*names: str) -> set[int]:
            return {jailed.number(name) for name in names} - {-1}  # arm64 lacks the older calls

        self._creates, self._changes, self._pass = numbers(*_CREATES), numbers(*_CHANGES), numbers(*_PASS)
        self._removes = numbers(*_REMOVES)
        self._by_path = numbers(*_UNLIMITED_BY_LANDLOCK)
        self._opens = {jailed.number(name): place for name, place in _OPENS.items()}
        self._at = numbers("fchmodat", "fchmodat2", "futimesat", "utimensat")
        self._of_descriptors = numbers("fchmod")
        self._refused = {jailed.number(name): error for name, error in _REFUSED.items()}
        self._rename, self._truncate, self._fallocate = map(jailed.number, ("renameat2", "truncate", "fallocate"))
        self._flock, self._advise, self._fcntl, self._ioctl, self._socket = map(
            jailed.number, ("flock", "fadvise64", "fcntl", "ioctl", "socket")
        )
        self._truncates = self._folder.is_mounted or landlock.abi() >= _TRUNCATES_SINCE

    def decide(self, child: Child, call: seccomp.Call) -> bool:
        """Handle a call on files. Return False if it is none, or one that ends the phase."""
        number, writes = call.number, child.request.phase in WRITERS
        if number in self._opens:
            flags = call.args[self._opens[number]]
            self._open(call, flags) if writes else self._listener.fail(call, errno.EACCES)
        elif not writes:
            return False
        elif number in self._creates:
            self._change(call, creates=True)
        elif number in self._changes or self._has_known_flags(call):
            self._change(call, creates=False)
        elif number == self._truncate:
            self._change(call, creates=False) if self._truncates else self._listener.fail(call, errno.EACCES)
        elif number in self._by_path and self._folder.is_mounted:
            self._change(call, creates=False)
        elif number in self._pass or number in self._removes:  # what is removed was made, and takes no room
            self._listener.allow(call)
        else:
            return self._answer(child, call)
        return True

    def _has_known_flags(self, call: seccomp.Call) -> bool:
        """Return True for a call that only with some flags is one like those that change files."""
        if call.number == self._fallocate:
            return call.args[1] & _LOW == 0  # else it can reserve space beyond the limits of files
        return call.number == self._rename and call.args[4] <= _KNOWN_FLAGS_OF_RENAME

    def _answer(self, child: Child, call: seccomp.Call) -> bool:
        """Answer a call that does not take place."""
        if call.number in self._refused:
            self._listener.fail(call, self._refused[call.number])
        elif call.number == self._fallocate or (call.number == self._ioctl and call.args[1] & _LOW == seccomp.FICLONE):
            self._listener.fail(call, errno.EOPNOTSUPP)
        elif call.number == self._socket and call.args[:3] == _NAME_SERVICE:
            self._listener.fail(call, errno.EAFNOSUPPORT)
        elif call.number in self._by_path:
            self._pretend(child, call)
        elif call.number == self._fcntl and call.args[1] & _LOW in seccomp.LOCK_QUERIES:
            self._say_unlocked(child, call)
        elif call.number in (self._flock, self._advise) or (
            call.number == self._fcntl and call.args[1] & _LOW in seccomp.LOCKS
        ):
            self._listener.answer(call, 0)
        else:
            return False
        return True

    def _say_unlocked(self, child: Child, call: seccomp.Call) -> None:
        """Answer the question who holds a lock: nobody does (man 2 fcntl, struct flock)."""
        try:
            with open(f"/proc/{child.pid}/mem", "r+b", buffering=0) as memory:
                memory.seek(call.args[2])
                memory.write(fcntl.F_UNLCK.to_bytes(2, "little"))
        except (OSError, ValueError, OverflowError):
            self._listener.fail(call, errno.EFAULT)
        else:
            self._listener.answer(call, 0)

    def _pretend(self, child: Child, call: seccomp.Call) -> None:
        """Answer a call that would change rights or times of a file as if it had, if there is the file."""
        try:
            if path := self._path(child, call):
                self._folder.find(path)
        except OSError as error:
            self._listener.fail(call, error.errno or errno.EPERM)
        else:
            self._listener.answer(call, 0)

    def _path(self, child: Child, call: seccomp.Call) -> str:
        """Return the path by which a call names a file; empty if it names a descriptor. Raises OSError.

        Another thread can change it at once. It only decides what the call is answered.
        """
        at = call.number in self._at
        if call.number in self._of_descriptors or not (path := _text(child.pid, call.args[1 if at else 0])):
            return ""
        if os.path.isabs(path):
            return path
        folder = call.args[0] & _LOW
        inherits = not at or folder == _AT_FDCWD & _LOW
        return os.path.join(os.readlink(f"/proc/{child.pid}/{'cwd' if inherits else f'fd/{folder}'}"), path)

    def _open(self, call: seccomp.Call, flags: int) -> None:
        if flags & os.O_TRUNC and not flags & seccomp.WRITES:  # older versions of Landlock would permit it
            self._listener.fail(call, errno.EACCES)
        else:
            self._change(call, creates=bool(flags & seccomp.CREATES))

    def _change(self, call: seccomp.Call, creates: bool) -> None:
        """Let a call take place that may change what is in the folder."""
        try:
            self._folder.check_room(creates)
        except Full:
            self._listener.fail(call, errno.ENOSPC)
        else:
            self._folder.is_used = True
            self._listener.allow(call)

    def looks_at_code(self, child: Child) -> bool:
        """Return True if the file must be looked at that a child maps as code (`is_library`).

        Where the scratch folder is mounted, the kernel refuses to map what is in it, and standard input.
        """
        return child.request.phase in WRITERS and not self._folder.is_mounted


def _text(pid: int, address: int) -> str:
    """Return the path at an address of a process; empty if there is none."""
    if not address:
        return ""
    try:
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
            memory.seek(address)
            room = _LONGEST_PATH - address % _LONGEST_PATH  # up to the end of the page: the next may not be mapped
            found = memory.read(room)
            if b"\0" not in found:
                found += memory.read(_LONGEST_PATH)
    except (OSError, ValueError, OverflowError):
        return ""
    return os.fsdecode(found.partition(b"\0")[0])


def is_library(pid: int, descriptor: int, folder: Folder) -> bool:
    """Return True if the file behind a descriptor of a process is the library's, as far as it may read any.

    A program's own files are in the scratch folder, or have no name, as standard input.
    """
    link = f"/proc/{pid}/fd/{descriptor & 0x7FFFFFFF}"
    try:
        about, path = os.stat(link), os.readlink(link)
    except OSError:
        return False
    return stat.S_ISREG(about.st_mode) and about.st_nlink > 0 and not folder.holds(path)
