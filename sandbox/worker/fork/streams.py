"""Standard streams of a program (`Phase.RUN`): its input, and its two outputs, which are kept apart and capped.

The supervisor makes them for one child and installs them in it while the child's ready call waits
(SECCOMP_IOCTL_NOTIF_ADDFD, Linux 5.9). So neither the zygote nor another child ever has them, and output ends when
the child does.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from selftaught.sandbox import wire
from selftaught.sandbox.errors import WorkerFailed
from selftaught.sandbox.jail import seccomp

_LINE_BYTES = 500


class Streams:
    """The supervisor's ends of the standard streams of one child.

    Attributes:
        cut: True if output was dropped because it exceeded the cap.
    """

    def __init__(self, stdin: bytes, cap: int, unnamed: int) -> None:
        """Create the pipes and the input file.

        Args:
            stdin: content of standard input, in bytes.
            cap: bytes kept of each output; what exceeds it is read and dropped.
            unnamed: descriptor of the folder for the input file, where no code is; -1 if there is none.
        """
        self._cap = cap
        self._stdin = _readable(stdin, unnamed)
        out, self._child_out = os.pipe()
        err, self._child_err = os.pipe()
        self._kept = {out: bytearray(), err: bytearray()}
        self._open = {out, err}
        self.cut = False
        for descriptor in self._open:
            os.set_blocking(descriptor, False)

    @property
    def open(self) -> frozenset[int]:
        """Return the descriptors that can still bring output."""
        return frozenset(self._open)

    def install(self, listener: seccomp.Listener, call: seccomp.Call) -> None:
        """Make these streams descriptors 0, 1 and 2 of the process that made the call.

        Args:
            listener: the listener where the call waits.
            call: the child's ready call.

        Raises:
            WorkerFailed: the kernel refuses, for instance before Linux 5.9.
        """
        try:
            for number, descriptor in enumerate((self._stdin, self._child_out, self._child_err)):
                listener.give(call, descriptor, number)
        except OSError as error:
            raise WorkerFailed(
                f"a program can't be given its streams (Linux 5.9 or newer is needed): {error}"
            ) from error
        finally:
            self._close_ours()

    def read(self, descriptor: int) -> bool:
        """Read available output from a descriptor. Return False at its end."""
        try:
            data = os.read(descriptor, 1 << 16)
        except BlockingIOError:
            return True
        kept = self._kept[descriptor]
        left = self._cap - len(kept)
        kept += data[:left]
        self.cut = self.cut or len(data) > left
        if not data:
            self._open.discard(descriptor)
        return bool(data)

    def last_error(self) -> str:
        """Return the last line of standard error, printable or not; empty if there is none, or not all was kept."""
        kept = [*self._kept.values()][1]
        return "" if self.cut else kept[-_LINE_BYTES:].decode("utf-8", "replace").rstrip().rpartition("\n")[2]

    def pack(self, files: Mapping[str, bytes], return_code: int) -> bytes:
        """Return the kept output with these, packed by `wire.pack_output`."""
        stdout, stderr = self._kept.values()
        return wire.pack_output(bytes(stdout), bytes(stderr), self.cut, files, return_code)

    def close(self) -> None:
        """Close all descriptors."""
        self._close_ours()
        for descriptor in self._kept:
            os.close(descriptor)

    def _close_ours(self) -> None:
        """Close our copies of the child's ends."""
        for name in ("_stdin", "_child_out", "_child_err"):
            if (descriptor := getattr(self, name)) >= 0:
                os.close(descriptor)
                setattr(self, name, -1)


def _readable(content: bytes, unnamed: int) -> int:
    """Return a read-only descriptor of this content: a file, so that programs that ask for its size get it."""
    writable = os.open(".", os.O_RDWR | os.O_TMPFILE, dir_fd=unnamed) if unnamed >= 0 else os.memfd_create("stdin")
    try:
        with open(writable, "wb", closefd=False) as file:
            file.write(content)
        return os.open(f"/proc/self/fd/{writable}", os.O_RDONLY)
    finally:
        os.close(writable)
