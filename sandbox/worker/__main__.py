"""The first steps of a supervisor: it forks the warm interpreter of its jail before it has been told anything, which tasks could find in memory.

A backend starts it with an empty environment, without `site`, in the folder that holds this package, with `selftaught.sandbox.backends.worker.COMMAND` and the level. It
speaks through its standard input and output.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections.abc import Callable

from selftaught.sandbox.jail import namespaces
from selftaught.sandbox.worker.inside import zygote
from selftaught.sandbox.worker.jailed import JailedProcesses


def main() -> Callable[[], object]:
    """Become the supervisor, and fork its zygote. Returns what the one or the other is to do then."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the verifier's to handle
    level, (source, sink) = sys.argv[1], _conversation()
    jailed: JailedProcesses | OSError
    try:
        if level == "full":
            namespaces.enter()
        jailed = JailedProcesses(level == "full")
        if jailed.entry:
            return zygote.enter(jailed.entry)
    except OSError as error:
        jailed = error
    from selftaught.sandbox.worker import supervisor  # only now: a zygote that has it could tell of it

    return functools.partial(supervisor.run, level, source, sink, jailed)


def _conversation() -> tuple[int, int]:
    """Take the conversation off descriptors 0 and 1, where a stray read or print would spoil it."""
    source, sink = os.dup(0), os.dup(1)
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return source, sink
