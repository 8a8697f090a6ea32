"""Become an ordinary user and run a command: ``python -m tests.ordinary [--delegate] COMMAND...``, as root.

The user owns nothing. --delegate gives it a control group, as systemd does (man 7 cgroups, "delegation"), which is
removed at the end. Folders that only root may enter (a checkout or an interpreter under /root, say) are covered, for
this command alone, by ones that hold just what is needed.
"""

from __future__ import annotations

import argparse
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

from selftaught.sandbox.jail import cgroup, kernel
from tests import outer

USER = 4242
_NEWNS, _MS_REC_PRIVATE = 0x20000, 0x44000


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="tests.ordinary", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--delegate", action="store_true")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    groups = delegate() if options.delegate else []
    try:
        return subprocess.call(options.command, preexec_fn=lambda: become_ordinary(groups))
    finally:
        for group in groups:
            _remove(group)


def delegate() -> list[Path]:
    """Make control groups that belong to the user."""
    place = cgroup.find()
    name = f"ordinary-{os.getpid()}-{time.monotonic_ns()}"
    groups = sorted({place.memory / name, place.pids / name})
    for group in groups:
        group.mkdir()
        for path in (group, *group.glob("cgroup.*")):
            if path.name in (name, "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"):
                os.chown(path, USER, USER)
    return groups


def become_ordinary(groups: list[Path]) -> None:
    """Go into the groups and give up all rights of root."""
    for group in groups:
        (group / "cgroup.procs").write_text(str(os.getpid()))
    _open_the_way({str(outer.ROOT), sys.prefix, sys.base_prefix})
    os.setgroups([])
    os.setresgid(USER, USER, USER)
    os.setresuid(USER, USER, USER)
    os.environ["HOME"] = "/"


def _open_the_way(needed: set[str]) -> None:
    """In a mount namespace of its own."""
    closed = {place for path in needed if (place := _first_closed(path))}
    if not closed:
        return
    kernel.unshare(_NEWNS)
    kernel.mount(b"none", b"/", _MS_REC_PRIVATE)
    trees = {path: outer.clone(path) for path in sorted(needed) if any(path.startswith(place) for place in closed)}
    for place in closed:
        outer.mount("tmpfs", place, "size=1m,mode=755")
    for path, tree in trees.items():
        if os.path.exists(path):
            os.close(tree)  # within one that is there already
        else:
            outer.attach(tree, path)


def _first_closed(path: str) -> str:
    """The outermost folder on the way to `path`, itself included, that others may not enter."""
    parts = [Path(path), *Path(path).parents]
    return next((str(part) for part in reversed(parts) if not part.stat().st_mode & stat.S_IXOTH), "")


def _remove(group: Path) -> None:
    deadline = time.monotonic() + 5
    while group.exists() and time.monotonic() < deadline:
        for directory, _, _ in os.walk(group, topdown=False):
            try:
                os.rmdir(directory)
            except OSError:
                time.sleep(0.01)


if __name__ == "__main__":
    sys.exit(main())
