"""Pipes of a session's process, which nobody else has: for messages in both directions, and for what it prints.

Other phases share the pipes that the zygote has. Two processes that live at the same time must not: one could speak in
the other's name. So the supervisor makes these for one child, and installs them while its ready call waits, as it does
with a program's streams (`selftaught.sandbox.worker.fork.streams`).
"""

from __future__ import annotations

import os

from selftaught.sandbox.errors import WorkerFailed
from selftaught.sandbox.jail import seccomp
from selftaught.sandbox.wire import JOB_FD, REPORT_FD


class Channel:
    """The supervisor's ends of the pipes of one child.

    Attributes:
        requests: where messages to it are written.
        report, output: where it reports, and where it prints.
    """

    def __init__(self) -> None:
        theirs, self.requests = os.pipe()
        self.report, report = os.pipe()
        self.output, output = os.pipe()
        self._theirs = {JOB_FD: theirs, REPORT_FD: report, 1: output, 2: output}
        for descriptor in (self.requests, self.report, self.output):
            os.set_blocking(descriptor, False)

    def install(self, listener: seccomp.Listener, call: seccomp.Call) -> None:
        """Give the process that made the call its ends.

        Raises:
            WorkerFailed: the kernel refuses, for instance before Linux 5.9.
        """
        try:
            for number, descriptor in self._theirs.items():
                listener.give(call, descriptor, number)
        except OSError as error:
            raise WorkerFailed(f"a process can't be given its pipes (Linux 5.9 or newer is needed): {error}") from error
        finally:
            self._close_theirs()

    def close(self) -> None:
        """Close all descriptors."""
        self._close_theirs()
        for descriptor in (self.requests, self.report, self.output):
            os.close(descriptor)

    def _close_theirs(self) -> None:
        for descriptor in {*self._theirs.values()}:
            os.close(descriptor)
        self._theirs.clear()
