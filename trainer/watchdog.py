"""Run a command that must not outlive this process: `start` it through `python -m selftaught.trainer.watchdog`.

The watchdog leads a process group of its own, and holds one end of a pipe. When this process ends, by a kill -9 too,
the pipe is closed, and the watchdog terminates its group, and kills it after ten seconds. A server that is
left behind would keep the device's memory from its successor.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import IO

_PATIENCE = 10.0


class Watched:
    """A command in a process group that ends with this process.

    Args:
        command: The command's words.
        output: Where its output goes.
    """

    def __init__(self, command: Sequence[str], output: IO[bytes]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "selftaught.trainer.watchdog", *command],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )

    def exit_code(self, wait: bool = False) -> int | None:
        """Return the command's exit code, or None while it runs."""
        found = os.waitid(
            os.P_PID,
            self._process.pid,
            # not yet reaped, so that the number of the group is nobody else's
            os.WEXITED | os.WNOWAIT | (0 if wait else os.WNOHANG),
        )
        return found.si_status if found else None

    def stop(self, patience: float = 60.0) -> None:
        """Terminate the group, and kill what is left of it.

        Args:
            patience: Seconds between the two, unless the command ends before.
        """
        if self._process.returncode is not None:
            return
        os.killpg(self._process.pid, signal.SIGTERM)
        end = time.monotonic() + patience
        while self.exit_code() is None and time.monotonic() < end:
            time.sleep(0.05)
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stdin:
            self._process.stdin.close()


def main() -> None:
    """Run the command, and end with its exit code."""
    signal.signal(signal.SIGTERM, lambda *_: None)  # it is for the command, which does not inherit a handler
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    code = child.wait()
    os._exit(code if code >= 0 else 128 - code)


def _end_with_parent() -> None:
    while os.read(0, 1):
        pass
    os.killpg(0, signal.SIGTERM)
    time.sleep(_PATIENCE)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
