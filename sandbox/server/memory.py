"""The memory that clients can make the server use: one total over all connections."""

from __future__ import annotations

from selftaught.sandbox.server.exchange import Refused


class Memory:
    """A total of bytes, and its limit.

    It counts bytes that clients have sent, from their arrival until their response was sent, and responses that clients
    have not read. The process needs a small multiple of it.

    Args:
        limit: The limit in bytes.

    Attributes:
        used: The total in bytes.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.used = limit, 0

    @property
    def scarce(self) -> bool:
        """True if more than half is used: those that can wait should."""
        return self.used > self.limit // 2

    @property
    def full(self) -> bool:
        """True if the total is above the limit."""
        return self.used > self.limit

    def refusal(self) -> Refused:
        """Return the refusal of a request for which there is no memory."""
        text = (
            f"requests and responses of all clients use {self.limit:,} bytes already: try again later, "
            "or start the server with --max-buffered"
        )
        return Refused(503, text, retry_after=1, close=True)


class Share:
    """The part of the total that one connection or request uses.

    Args:
        memory: The total.
    """

    def __init__(self, memory: Memory) -> None:
        self.memory, self.size = memory, 0

    def grow(self, size: int) -> None:
        """Use so many more bytes. Raises Refused, and changes nothing, if the total would exceed the limit."""
        if self.memory.used + size > self.memory.limit:
            raise self.memory.refusal()
        self.resize(self.size + size)

    def shrink(self, size: int) -> None:
        """Use so many fewer bytes."""
        self.resize(self.size - size)

    def resize(self, size: int) -> None:
        """Use exactly so many bytes, whatever the total: for bytes that were received already."""
        self.memory.used += size - self.size
        self.size = size

    def close(self) -> None:
        """Use no bytes."""
        self.resize(0)
