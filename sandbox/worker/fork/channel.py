"""Descriptors of a child that makes reports: an empty input, and pipes to the supervisor, which nobody else has.

The supervisor makes them for one child and installs them while its ready call waits, as it does with a program's
streams (`selftaught.sandbox.worker.fork.streams`). So no child shares an open file with another process, or with a
later child: neither can speak in the other's name, and flags that a child sets there (`O_NONBLOCK`) end with it.
"""

from __future__ import annotations

import os

from selftaught.sandbox.errors import WorkerFailed
from selftaught.sandbox.jail import seccomp
from selftaught.sandbox.wire import JOB_FD, REPORT_FD


class Channel:
    """The supervisor's ends of the pipes of one child.

    Attributes:
        report, output: where it reports, and where it prints.
        requests: where messages to it are written; -1 if it is no session.
    """

    def __init__(self, has_messages: bool) -> None:
        """Make the pipes.

        Args:
            has_messages: True for a session.
        """
        self.requests = -1
        self.report, report = os.pipe()
        self.output, output = os.pipe()
        self._theirs = {0: os.open("/dev/null", os.O_RDONLY), 1: output, 2: output, REPORT_FD: report}
        if has_messages:
            self._theirs[JOB_FD], self.requests = os.pipe()
        for descriptor in self._ours():
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
        for descriptor in self._ours():
            os.close(descriptor)

    def _ours(self) -> list[int]:
        return [one for one in (self.report, self.output, self.requests) if one >= 0]

    def _close_theirs(self) -> None:
        for descriptor in {*self._theirs.values()}:
            os.close(descriptor)
        self._theirs.clear()
