"""Namespaces: a worker can't affect what it can't name (man 7 namespaces, man 7 user_namespaces).

The supervisor enters the user namespace and, for its children, the others. The zygote then enters its own mount and
cgroup namespaces. In the user namespace the zygote is nobody. A supervisor that is root maps root too, so that files
which only root may read (a Python under /root, say) can be mounted into the jail before the zygote finally becomes
nobody.
"""

from __future__ import annotations

import os

from selftaught.sandbox.jail import kernel

NOBODY = 65534

_NEWNS, _NEWCGROUP, _NEWUTS, _NEWIPC = 0x00020000, 0x02000000, 0x04000000, 0x08000000
_NEWUSER, _NEWPID, _NEWNET = 0x10000000, 0x20000000, 0x40000000

NAMES = ("user", "mnt", "pid_for_children", "net", "ipc", "uts", "cgroup")


def enter() -> None:
    """Enter new user, pid (for children), network, ipc and uts namespaces. Raises OSError."""
    _enter_user()
    kernel.unshare(_NEWPID | _NEWNET | _NEWIPC | _NEWUTS)


def enter_own() -> None:
    """In the zygote: enter new mount and cgroup namespaces. Raises OSError."""
    kernel.unshare(_NEWNS | _NEWCGROUP)


def become_nobody() -> None:
    """Change the user and group ids to nobody's, which own nothing. Raises OSError."""
    if os.geteuid() != NOBODY:
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)


def identity() -> dict[str, str]:
    """Return the namespaces of this process: for each name the kernel's identifier. Raises OSError."""
    return {name: os.readlink(f"/proc/self/ns/{name}") for name in NAMES}


def _enter_user() -> None:
    """Enter a user namespace. A child outside it writes the id maps: only the parent namespace may map root."""
    uid, gid, supervisor = os.geteuid(), os.getegid(), os.getpid()
    if uid == 0:
        os.setgroups([])
    ready_read, ready_write = os.pipe()
    mapper = os.fork()
    if mapper == 0:
        status = 1
        try:
            os.close(ready_write)
            if os.read(ready_read, 1):
                _write(f"/proc/{supervisor}/setgroups", "deny")
                _write(f"/proc/{supervisor}/uid_map", _map(uid))
                _write(f"/proc/{supervisor}/gid_map", _map(gid))
                status = 0
        finally:
            os._exit(status)
    os.close(ready_read)
    try:
        kernel.unshare(_NEWUSER)
        os.write(ready_write, b"!")
    finally:
        os.close(ready_write)
        _, status = os.waitpid(mapper, 0)
    if status:
        raise OSError("the user namespace's id maps can't be written")


def _map(outer: int) -> str:
    return f"0 0 1\n{NOBODY} {NOBODY} 1\n" if outer == 0 else f"{NOBODY} {outer} 1\n"


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)
