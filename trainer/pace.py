"""How far a long stage is, and how long it still takes, in lines that come at most every half minute."""

from __future__ import annotations

import time
from collections.abc import Callable

from selftaught.sandbox.progress import duration, left

_SECONDS = 30.0


class Pace:
    """Tells how far one stage is.

    Args:
        tell: Called with each line.
        unit: What is counted, in the plural.
        clock: The seconds now.
    """

    def __init__(self, tell: Callable[[str], None], unit: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._tell, self._unit, self._clock = tell, unit, clock
        self._began: tuple[int, float] | None = None
        self._told = clock()

    def __call__(self, done: int, total: int, note: str = "", *, now: bool = False) -> None:
        """Tell it, unless that was done just before.

        Args:
            done: How many are done, those of an earlier process included, whose time is not counted.
            total: How many there are to do.
            note: More about them.
            now: Tell it in any case.
        """
        at = self._clock()
        if self._began is None:
            self._began = done, at
        if not now and at < self._told + _SECONDS:
            return
        self._told = at
        remaining = left(done - self._began[0], total - self._began[0], at - self._began[1])
        parts = [f"  {done:,} of {total:,} {self._unit}", note, f"{duration(remaining)} left" if remaining else ""]
        self._tell(", ".join(part for part in parts if part))
