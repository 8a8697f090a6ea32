"""Start of a worker: fork the zygote before this process has received anything that a task could find in its memory.

A backend starts it with an empty environment, without `site`, in the folder that has the package, with the code
`selftaught.sandbox.backends.worker.COMMAND` and the level as argument. It talks to the verifier over its standard
input and output.
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
    """Fork the zygote and return what this process does next: run the supervisor, or, in the zygote, serve forks."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the verifier's to handle
    level, (source, sink) = sys.argv[1], _take_connection()
    jailed: JailedProcesses | OSError
    try:
        if level == "full":
            namespaces.enter()
        jailed = JailedProcesses(level == "full")
        if jailed.entry:
            return zygote.enter(jailed.entry)
    except OSError as error:
        jailed = error
    from selftaught.sandbox.worker import supervisor  # after the fork: the zygote must not have it in memory

    return functools.partial(supervisor.run, level, source, sink, jailed)


def _take_connection() -> tuple[int, int]:
    """Move the connection off descriptors 0 and 1, where a stray read or print would corrupt it."""
    source, sink = os.dup(0), os.dup(1)
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return source, sink
