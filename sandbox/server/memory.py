"""The memory that clients can make the server hold: one total over all connections."""

from __future__ import annotations

from selftaught.sandbox.server.exchange import Refused


class Memory:
    """A total of bytes, and the most that it may be.

    Counted are bytes as clients sent them, from their arrival until the answer to them has been handed over, and answers that clients
    have not read. What the process needs for them is a small multiple.
    """

    def __init__(self, most: int) -> None:
        self.most, self.held = most, 0

    @property
    def scarce(self) -> bool:
        """Whether half is taken: who can wait should."""
        return self.held > self.most // 2

    @property
    def full(self) -> bool:
        """Whether more than all is taken."""
        return self.held > self.most

    def refusal(self) -> Refused:
        """What is said to a request that finds no room."""
        text = f"requests and answers of all clients take {self.most:,} bytes already: try again later, or start the server with --max-buffered"
        return Refused(503, text, retry_after=1, close=True)


class Share:
    """The part of the total that one connection or request holds."""

    def __init__(self, memory: Memory) -> None:
        self.memory, self.size = memory, 0

    def grow(self, size: int) -> None:
        """Hold so many bytes more. Raises Refused, and holds no more than before, if the total would be exceeded."""
        if self.memory.held + size > self.memory.most:
            raise self.memory.refusal()
        self.resize(self.size + size)

    def shrink(self, size: int) -> None:
        """Hold so many bytes less."""
        self.resize(self.size - size)

    def resize(self, size: int) -> None:
        """Hold exactly so many bytes, whatever the total: for what is there already."""
        self.memory.held += size - self.size
        self.size = size

    def close(self) -> None:
        """Hold nothing."""
        self.resize(0)
