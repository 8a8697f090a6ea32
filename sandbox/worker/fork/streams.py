"""The standard streams of a program that is run, not judged: its input, and its output kept apart and capped.

They are made for one child and installed in it by the supervisor while the child waits to be let go (SECCOMP_IOCTL_NOTIF_ADDFD, Linux 5.9):
so neither the zygote nor any other child ever holds them, and the end of the child is the end of its output.
"""

from __future__ import annotations

import os

from selftaught.sandbox import wire
from selftaught.sandbox.errors import WorkerFailed
from selftaught.sandbox.jail import seccomp


class Streams:
    """stdin: what there is to read. cap: how many bytes are kept of each of the two outputs; the rest is read and forgotten."""

    def __init__(self, stdin: bytes, cap: int) -> None:
        self._cap = cap
        self._stdin = _readable(stdin)
        out, self._child_out = os.pipe()
        err, self._child_err = os.pipe()
        self._kept = {out: bytearray(), err: bytearray()}
        self._open = {out, err}
        self.cut = False
        for descriptor in self._open:
            os.set_blocking(descriptor, False)

    @property
    def open(self) -> frozenset[int]:
        """The descriptors that may still bring output."""
        return frozenset(self._open)

    def install(self, listener: seccomp.Listener, call: seccomp.Call) -> None:
        """Make these the descriptors 0, 1 and 2 of the process that made the call. Raises WorkerFailed."""
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
        """Take in what has been written; False at its end."""
        try:
            data = os.read(descriptor, 1 << 16)
        except BlockingIOError:
            return True
        kept = self._kept[descriptor]
        room = self._cap - len(kept)
        kept += data[:room]
        self.cut = self.cut or len(data) > room
        if not data:
            self._open.discard(descriptor)
        return bool(data)

    def pack(self) -> bytes:
        """What was kept, for the outcome's payload."""
        stdout, stderr = self._kept.values()
        return wire.pack_output(bytes(stdout), bytes(stderr), self.cut)

    def close(self) -> None:
        """Let go of every descriptor."""
        self._close_ours()
        for descriptor in self._kept:
            os.close(descriptor)

    def _close_ours(self) -> None:
        """The child's ends, which we need only until the child has them."""
        for name in ("_stdin", "_child_out", "_child_err"):
            if (descriptor := getattr(self, name)) >= 0:
                os.close(descriptor)
                setattr(self, name, -1)


def _readable(content: bytes) -> int:
    """A descriptor that reads this from its start and can't write: a file, so that programs which ask for its size get it."""
    writable = os.memfd_create("stdin")
    try:
        with open(writable, "wb", closefd=False) as file:
            file.write(content)
        return os.open(f"/proc/self/fd/{writable}", os.O_RDONLY)
    finally:
        os.close(writable)
