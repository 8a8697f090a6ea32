"""Records that a command leaves out: counted, and named with their reasons."""

from __future__ import annotations

import sys
from collections import Counter

_NAMED = 5


class Omissions:
    """What a command leaves out of its input.

    A reason has a short name, such as ``"not accepted"``; details name the place of a record.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._details: dict[str, list[str]] = {}

    def add(self, reason: str, detail: str) -> None:
        """Count a record.

        Args:
            reason: Why it is left out; equal reasons are counted together.
            detail: Where it is, and what exactly is wrong.
        """
        self.counts[reason] += 1
        known = self._details.setdefault(reason, [])
        if len(known) < _NAMED:
            known.append(detail)

    def lines(self) -> list[str]:
        """Return the counts in words, each with the first few details of it."""
        found = []
        for reason, number in self.counts.items():
            records = "1 record is" if number == 1 else f"{number:,} records are"
            found.append(f"  {records} left out: {reason}")
            found += [f"    {detail}" for detail in self._details[reason]]
            if number > _NAMED:
                found.append(f"    and {number - _NAMED:,} more")
        return found

    def tell(self, source: str) -> None:
        """Print the counts to standard error, if there are any."""
        if self.counts:
            print(f"{source}:", *self.lines(), sep="\n", file=sys.stderr)
