"""How many requests a server is asked at once."""

from __future__ import annotations

FIRST, MOST = 32, 1024
"""Requests at once to begin with, and at most, at one server."""

_GROWTH = 1.1
"""What doubling the requests must multiply the throughput by, for them to be doubled again."""

_FORGET = 20
"""Rounds after which the highest throughput is forgotten: the server may have less other work than before."""


class Window:
    """The number of requests in flight at one server: doubled while that raises the throughput, halved when the server
    pushes back.

    Args:
        fixed: Keep this number (None: find it out).

    Attributes:
        size: The number.
    """

    def __init__(self, fixed: int | None = None) -> None:
        self.size = fixed or FIRST
        self._fixed = fixed is not None
        self._best, self._rounds = 0.0, 0
        self._done, self._began = 0, 0.0

    def count(self, now: float, is_full: bool) -> None:
        """Count a request that was answered.

        Args:
            now: The time in seconds.
            is_full: Other requests wait for a place. Without any, the throughput says nothing about the server.
        """
        if self._fixed:
            return
        if not is_full or not self._began:
            self._done, self._began = 0, now
            return
        self._done += 1
        if self._done >= self.size and now > self._began:
            self._end_round(self._done / (now - self._began))
            self._done, self._began = 0, now

    def _end_round(self, rate: float) -> None:
        self._rounds += 1
        if rate >= _GROWTH * self._best:
            self._best, self._rounds = rate, 0
            self.size = min(2 * self.size, MOST)
        elif self._rounds >= _FORGET:
            self._best, self._rounds = rate, 0

    def push_back(self) -> None:
        """Halve the number: the server has too many requests."""
        if not self._fixed:
            self.size = max(1, self.size // 2)
            self._done, self._began = 0, 0.0
