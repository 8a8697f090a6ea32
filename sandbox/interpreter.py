"""Which builds of Python can confine code; what others lack is said before a worker starts."""

from __future__ import annotations

import sys
import sysconfig

from selftaught.sandbox.errors import CannotConfine


def check() -> None:
    """Refuse an interpreter whose memory the engines do not know.

    A free-threaded build starts threads of its own and keeps reference counts and its heap differently: a child that is
    forked from it, or put back, is not the process that the canaries prove.

    Raises:
        CannotConfine: this is not CPython, or a free-threaded build of it.
    """
    name = sys.implementation.name
    if name != "cpython":
        raise CannotConfine(f"interpreter: {name} is not supported: install CPython 3.11 or newer and use that")
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        raise CannotConfine(
            f"interpreter: {sys.executable} is a free-threaded build of Python {sys.version.split()[0]}, which is not "
            "supported: use the ordinary build of the same version (python3.14 instead of python3.14t)"
        )
