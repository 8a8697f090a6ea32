"""The first steps of a warden: it forks the warm interpreter of its jail before it has been told anything, which tasks could find in memory.

Started by a backend with an empty environment, without `site`: ``python __main__.py LEVEL``. It speaks through its standard input and output.
"""

from __future__ import annotations

import os
import signal
import sys

if __name__ == "__main__":
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from sandbox.jail import namespaces
from sandbox.worker.cell import Cell


def main() -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the verifier's to handle
    level, (source, sink) = sys.argv[1], _conversation()
    cell: Cell | None = None
    failure: OSError | None = None
    try:
        if level == "full":
            namespaces.enter()
        cell = Cell(level == "full")
    except OSError as error:
        failure = error
    from sandbox.worker import warden  # only now: a zygote that has it could tell of it

    return warden.run(level, source, sink, cell, failure)


def _conversation() -> tuple[int, int]:
    """Take the conversation off descriptors 0 and 1, where a stray read or print would spoil it."""
    source, sink = os.dup(0), os.dup(1)
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return source, sink


if __name__ == "__main__":
    sys.exit(main())
