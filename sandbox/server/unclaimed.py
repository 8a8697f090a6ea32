"""Programs whose client's patience is over, and that go on for a moment: the client sends the same again.

SandboxFusion's clients ask three times, a second or two after each refusal. A program that began anew each time would
have waited in vain.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

KEPT_SECONDS = 6.0
"""How long a program waits for its client: twice what verl's waits at most between two requests, and more."""

MOST_KEPT = 64


class Pending(NamedTuple):
    """A submitted item: its result to come, and how to cancel it."""

    future: asyncio.Future[Any]
    abandon: Callable[[], None]


class Unclaimed:
    """Items that were refused since their results were late. Runs in one event loop."""

    def __init__(self) -> None:
        self._kept: list[tuple[Any, Pending]] = []

    def keep(self, item: Any, pending: Pending) -> None:
        """Keep an item for a moment, then cancel it unless it was taken; the oldest at once if there are too many."""
        kept = item, pending
        self._kept.append(kept)
        asyncio.get_running_loop().call_later(KEPT_SECONDS, self._drop, kept)
        if len(self._kept) > MOST_KEPT:
            self._drop(self._kept[0])

    def take(self, item: Any) -> Pending | None:
        """Remove and return the oldest item that is the same, if there is one. Each is its next client's alone."""
        for kept in self._kept:
            if kept[0] == item:
                self._remove(kept)
                return kept[1]
        return None

    def _drop(self, kept: tuple[Any, Pending]) -> None:
        if self._remove(kept):
            kept[1].abandon()

    def _remove(self, kept: tuple[Any, Pending]) -> bool:
        """Remove exactly this entry, not one that is equal. Return False if it is gone."""
        before = len(self._kept)
        self._kept = [one for one in self._kept if one is not kept]
        return len(self._kept) < before
