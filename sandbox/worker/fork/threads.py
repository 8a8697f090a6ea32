"""Threads of a child, as the kernel shows them to the supervisor (man 5 proc, /proc/PID/task)."""

from __future__ import annotations

import os
import time

MOST = 64
"""Threads that a child may have at a time, with the first. Each of them can ask for another one at the same moment, so
that there may be twice as many; the control group (`cgroup.PROCESSES`) has room for that.
"""

FLAGS = (0x003D0F00, 0x007D0F00)
"""Flags of clone by which the C library starts a thread: glibc, musl. CLONE_VM, _FS, _FILES, _SIGHAND, _THREAD,
_SYSVSEM, _SETTLS, _PARENT_SETTID, _CHILD_CLEARTID; musl adds one that has no meaning. A thread has no rights but those
of its process and dies with it.
"""

_JOIN_SECONDS = (0.0, 0.001, 0.002, 0.004, 0.008)


class Threads:
    """Threads of one child, and the numbers that it is told for them.

    Attributes:
        begun: True once the child has been allowed to start a thread.
    """

    def __init__(self, pid: int, number: int) -> None:
        """Begin with the first thread.

        Args:
            pid: the process.
            number: what it is told as its id. Other threads get the numbers after it, in the order in which they ask.
        """
        self._pid, self._first = pid, number
        self._numbers = {pid: number}
        self.begun = False

    def count(self) -> int:
        """Return how many are alive; 0 if the process has died."""
        status = self._status("status")
        return int(status.get("Threads", "0"))

    def is_alone(self) -> bool:
        """Return True if there is one thread. Waits a little for others that are ending: they end after a join."""
        for seconds in _JOIN_SECONDS if self.begun else ():
            if self.count() <= 1:
                break
            time.sleep(seconds)
        return self.count() <= 1

    def include(self, thread: int) -> bool:
        """Return True if the kernel has a thread of this id in the process."""
        return thread == self._pid or (self.begun and os.path.exists(f"/proc/{self._pid}/task/{thread}"))

    def number(self, thread: int) -> int:
        """Return what the thread is told as its id. The kernel's would reveal how many processes ran before."""
        return self._numbers.setdefault(thread, self._first + len(self._numbers))

    def answer_to(self, number: int) -> bool:
        """Return True if a number is one that a thread was told, or the kernel's, which the C library knows."""
        if number in self._numbers.values():
            return True
        try:
            threads = os.listdir(f"/proc/{self._pid}/task") if self.begun else []
        except OSError:
            return False
        return any(self._status(f"task/{one}/status").get("NSpid", "").split()[-1:] == [f"{number}"] for one in threads)

    def _status(self, name: str) -> dict[str, str]:
        try:
            with open(f"/proc/{self._pid}/{name}") as file:
                return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
        except OSError:
            return {}
