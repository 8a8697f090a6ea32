"""A pytest plugin for emulated machines, which are some twenty times slower: ``-p tests.machines.slow``."""

from __future__ import annotations

from selftaught.sandbox.task import Limits

FACTOR = 20
_check = Limits.__post_init__


def _stretch(limits: Limits) -> None:
    _check(limits)
    object.__setattr__(limits, "cpu_seconds", limits.cpu_seconds * FACTOR)
    object.__setattr__(limits, "wall_seconds", limits.wall_seconds * FACTOR)


Limits.__post_init__ = _stretch  # type: ignore[method-assign]
