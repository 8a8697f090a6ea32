"""Find out which confinement level this host reaches: start a worker at each, whose canaries prove it."""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

from selftaught.sandbox import codec
from selftaught.sandbox.backends import LEVELS, WorkerConfig
from selftaught.sandbox.backends.worker import Backend
from selftaught.sandbox.errors import CannotConfine, WorkerFailed
from selftaught.sandbox.jail import cgroup, landlock, seccomp
from selftaught.sandbox.task import Limits

_REMEDIES = (
    ("packages:",
     "Name packages that are installed where this command is, or give the folder that has them with --site; with "
     "containers, an image that has them with --image."),
    ("interpreter", "Install selftaught for an ordinary build of CPython 3.11 or newer."),
    ("no container engine",
     "Start the engine, for instance: systemctl start docker; or set DOCKER_HOST. The socket is for root and the group "
     "docker."),
    ("make images", "In the project's repository: make images."),
    ("docker sdk", "pip install 'selftaught[docker]'"),
    *((words, "Register the runtime with the engine: \"runtimes\" in /etc/docker/daemon.json.")
      for words in ("unknown runtime", "invalid runtime")),
    ("control group",
     "Run as root, or have a control group delegated: systemd-run --user --scope -p Delegate=yes ...; in a container "
     "use --require restricted."),
    ("unshare",
     "Allow user namespaces: on Ubuntu 24.04 sysctl kernel.apparmor_restrict_unprivileged_userns=0 or an AppArmor "
     "profile for this Python; on Debian kernel.unprivileged_userns_clone=1; user.max_user_namespaces above 0; in a "
     "container use --require restricted."),
    ("id maps", "Allow user namespaces for this user: see user.max_user_namespaces and AppArmor's userns rules."),
    ("landlock_create_ruleset: operation not permitted",
     "The container's seccomp profile refuses Landlock's calls: use an engine of 2022 or newer, or a profile that "
     "allows landlock_create_ruleset, landlock_add_rule and landlock_restrict_self."),
    ("landlock",
     "Use Linux 5.13 or newer with Landlock among its security modules (boot parameter lsm=landlock,...). The kernel "
     "of gVisor (runsc) has none."),
    ("seccomp",
     "Install libseccomp 2.5 or newer (Debian, Ubuntu: apt-get install libseccomp2) and use Linux 5.5 or newer."),
    ("mount", "Use Linux 5.12 or newer; in a container use --require restricted."),
    ("open_tree", "Use Linux 5.12 or newer; in a container use --require restricted."),
    ("pidfd", "Use Linux 5.3 or newer."),
)  # fmt: skip
"""What helps against a reason that contains the text: the first that fits."""


def examine(config: WorkerConfig) -> dict[str, Any]:
    """Examine what this host gives.

    Args:
        config: Names the backend and the engine. All levels of the backend are examined, also those that the
            config does not allow.

    Returns:
        ``level``: the best level that is reached, or None. ``levels``: by level, whether it is ``reached``, the
        ``mechanisms`` with their evidence, the ``engine`` that serves there and ``why`` no faster one does, and the
        ``packages`` that tasks may import; or else the ``reason`` why it is not reached and a ``remedy``. ``host``:
        facts about the machine, by name.
    """
    known = LEVELS[config.backend]
    try:
        backend = config.open()
        levels = {level: _examine_level(backend, level) for level in known}
    except CannotConfine as error:
        levels = {level: _unreached(error) for level in known}
    reached = next((level for level in known if levels[level]["reached"]), None)
    return {"level": reached, "levels": levels, "host": _host()}


def survey(config: WorkerConfig) -> dict[str, Any]:
    """Examine what this host gives, containers included if `config` leaves the backend at ``local``.

    Args:
        config: As for `examine`.

    Returns:
        What `examine` returns, with the levels of containers too. ``level`` is the best one of the config's own
        backend.
    """
    found = examine(config)
    if config.backend == "local":
        found["levels"] |= examine(WorkerConfig(engine=config.engine, backend="docker"))["levels"]
    return found


def _examine_level(backend: Backend, level: str) -> dict[str, Any]:
    try:
        worker = backend.start(level, Limits())
    except (CannotConfine, WorkerFailed) as error:
        return _unreached(error)
    try:
        return {
            "reached": True,
            "engine": worker.engine,
            "why": worker.reason,
            "mechanisms": worker.proof,
            "packages": worker.packages,
            "reason": "",
            "remedy": "",
        }
    finally:
        worker.close()


def _unreached(error: Exception) -> dict[str, Any]:
    return {
        "reached": False,
        "engine": "",
        "why": "",
        "mechanisms": [],
        "packages": {},
        "reason": str(error),
        "remedy": _remedy(str(error)),
    }


def _remedy(reason: str) -> str:
    for word, remedy in _REMEDIES:
        if word in reason.lower():
            return remedy
    return "See the reason; an older kernel or an outer sandbox may refuse what the level needs."


def _libseccomp() -> str:
    version = ctypes.CDLL("libseccomp.so.2").seccomp_version
    version.restype = ctypes.POINTER(ctypes.c_uint * 3)
    return ".".join(map(str, version().contents))


def _host() -> dict[str, str]:
    facts = {
        "kernel": platform.release(),
        "machine": platform.machine(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "user id": str(os.geteuid()),
        "answer codec": "C"
        if codec.IS_NATIVE
        else "Python; with a C compiler at installation it is in C, and much faster",
    }
    checks: dict[str, Callable[[], str]] = {
        "libseccomp": _libseccomp,
        "Landlock version": lambda: str(landlock.abi()),
        "seccomp filter": lambda: f"{len(seccomp.compile_filter(seccomp.nested())) // 8} instructions",
        "outer seccomp filter": lambda: "yes" if seccomp.nested() else "none",
        "control groups": lambda: f"version {cgroup.find().version}",
    }
    for name, check in checks.items():
        try:
            facts[name] = check()
        except OSError as error:
            facts[name] = f"none: {error}"
    for name in (
        "kernel/unprivileged_userns_clone",
        "kernel/apparmor_restrict_unprivileged_userns",
        "user/max_user_namespaces",
    ):
        path = Path("/proc/sys") / name
        if path.exists():
            facts[name.replace("/", ".")] = path.read_text().strip()
    return facts
