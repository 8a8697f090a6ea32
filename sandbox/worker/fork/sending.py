"""What the supervisor writes to a child: as much as a pipe takes, and the rest whenever it takes more."""

from __future__ import annotations

import os
import select


class Sending:
    """Writes to one pipe after the other, without ever waiting for one.

    Attributes:
        descriptor: the pipe that is written to, non-blocking.
        left: what it has not taken yet.
    """

    def __init__(self, poll: select.poll) -> None:
        self._poll, self._waits = poll, False
        self.descriptor, self.left = -1, memoryview(b"")

    def begin(self, descriptor: int, data: bytes) -> None:
        """Write to this pipe. Until it has taken everything it is registered with the poll object."""
        self.descriptor, self.left = descriptor, memoryview(data)
        self.go_on()

    def go_on(self) -> None:
        """Write what the pipe takes now."""
        try:
            self.left = self.left[os.write(self.descriptor, self.left) :]
        except BlockingIOError:
            pass
        except BrokenPipeError:  # the child has died, which is seen elsewhere
            self.left = memoryview(b"")
        if len(self.left) and not self._waits:
            self._poll.register(self.descriptor, select.POLLOUT)
            self._waits = True
        elif not len(self.left):
            self.stop()

    def stop(self) -> None:
        """Write no more."""
        if self._waits:
            self._poll.unregister(self.descriptor)
            self._waits = False
