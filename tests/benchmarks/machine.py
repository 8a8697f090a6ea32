"""What a benchmark says about where it ran, and how it writes figures."""

from __future__ import annotations

import os
import platform
import statistics
from collections import Counter
from pathlib import Path

import psutil


def machine() -> dict[str, str]:
    """What it runs on."""
    model = platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    return {
        "processor": f"{model}, {len(os.sched_getaffinity(0))} of {os.cpu_count()} cores",
        "system": f"Linux {platform.release()}, Python {platform.python_version()}",
    }


def busy() -> str:
    """How much others use the machine right now, while nothing is measured: over a few percent, trust no figure."""
    return f"others use {psutil.cpu_percent(1.0):.0f} % of the processors"


def spread(values: list[float], digits: int) -> str:
    """The median (least..most)."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}..{max(values):.{digits}f})"


def quartiles(values: list[float]) -> str:
    """The middle, the quartiles and the extremes of at least two values."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{middle:.3f} in the middle, quartiles {low:.3f} and {high:.3f}, {min(values):.3f}..{max(values):.3f}"


def counts(rounds: list[Counter[str]]) -> str:
    """How many tasks came out as each status, or between which numbers if the rounds differ."""
    shown = []
    for status in sorted({status for one in rounds for status in one}):
        numbers = sorted({one[status] for one in rounds})
        shown.append(f"{status} {'..'.join(map(str, numbers[:1] + numbers[1:][-1:]))}")
    return ", ".join(shown)
