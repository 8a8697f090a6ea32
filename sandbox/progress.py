"""Progress of commands on a terminal, and the pace of what was done."""

from __future__ import annotations

import sys
import time
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import ProgressColumn


def is_shown(out: IO[Any] | None, quiet: bool) -> bool:
    """Return True if a command shows its progress: on a terminal, unless its results go to a terminal too.

    Args:
        out: Where the results are written; ``None`` if that is no open file, such as a folder.
        quiet: The user wants none.
    """
    return not quiet and sys.stderr.isatty() and not (out is not None and out.isatty())


def pace(number: int, seconds: float) -> str:
    """Return what a command needed for a number of things, in words: ``"in 2.5 s (40/s)"``."""
    rate = number / seconds if seconds else 0.0
    shown = f"{rate:,.0f}" if rate >= 10 or not rate else f"{rate:.2g}"
    return f"in {duration(seconds)} ({shown}/s)"


def duration(seconds: float) -> str:
    """Return a time in words: ``"2.5 s"``, ``"1 min 30 s"``, ``"2 h 5 min"``."""
    minutes, rest = divmod(int(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def left(number: int, total: int, seconds: float) -> float | None:
    """Return the seconds that are left at the present pace, or ``None`` before there is one.

    Args:
        number: How many are done now, in these `seconds`.
        total: How many are to be done in all, from the same beginning.
    """
    return max(total - number, 0) * seconds / number if number else None


class Progress:
    """How many things are done, and how fast: a bar and the time left if their number is known, else a count.

    A context manager. It draws on standard error and leaves nothing behind.

    Args:
        total: How many there are; ``None`` if that is not known.
        done: How many were done before, which the pace leaves out.
        unit: What they are, in the plural.
        shown: False: draw nothing, and only count.

    Attributes:
        added: How many were added.
        seconds: Since it was entered, until it was left.
    """

    def __init__(self, total: int | None, done: int = 0, unit: str = "tasks", *, shown: bool = True) -> None:
        self.added, self.seconds = 0, 0.0
        self._total, self._done, self._unit, self._shown = total, done, unit, shown

    def __enter__(self) -> Progress:
        self._started = time.monotonic()
        if self._shown:
            from rich.console import Console
            from rich.progress import Progress as Drawn

            self._drawn = Drawn(*self._columns(), console=Console(stderr=True), transient=True)
            self._drawn.start()
            self._bar = self._drawn.add_task("", total=self._total, completed=self._done, note="")
        return self

    def _columns(self) -> list[ProgressColumn]:
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        count = TextColumn("")
        count.render = lambda task: f"{self._count(int(task.completed))}  {task.speed or 0:,.1f}/s"  # type: ignore
        note = TextColumn("{task.fields[note]}")
        if self._total is None:
            return [count, note, TimeElapsedColumn()]
        return [BarColumn(), count, note, TimeRemainingColumn(elapsed_when_finished=True), TextColumn("left")]

    def _count(self, number: int) -> str:
        return f"{number:,} {self._unit}" if self._total is None else f"{number:,}/{self._total:,} {self._unit}"

    def add(self, number: int = 1, note: str = "") -> None:
        """Add what was done.

        Args:
            number: How many.
            note: What is shown beside, such as ``"12 accepted"``.
        """
        self.added += number
        if self._shown:
            self._drawn.update(self._bar, advance=number, note=note)

    def __exit__(self, *_: object) -> None:
        self.seconds = time.monotonic() - self._started
        if self._shown:
            self._drawn.stop()

    def __str__(self) -> str:
        """Return the pace in words (see `pace`)."""
        return pace(self.added, self.seconds or time.monotonic() - self._started)
