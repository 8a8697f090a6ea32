"""Deduplication: find tasks of a stream that differ only in their ids, so that each is judged once."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import replace

from selftaught.sandbox import wire
from selftaught.sandbox.judging import Checked
from selftaught.sandbox.task import Task
from selftaught.sandbox.verdict import Verdict

_REMEMBERED = 4096
"""The most verdicts that are remembered for duplicates."""
_SHORT = 1024
"""Longer sources are remembered by their digest instead; in characters, or bytes of a packed task."""

_Key = tuple[object, ...]
_Waiting = list[tuple[int, str]]


class Deduplicator:
    """Finds duplicates among the last few thousand tasks of a stream.

    Not thread-safe. A verdict that is not a judgement (`Verdict.judged`) is not remembered.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[_Key, Verdict | _Waiting | None] = OrderedDict()  # None: judged now, no duplicate yet
        self._keys: dict[int, _Key] = {}

    def add(self, number: int, task: Checked) -> Verdict | _Waiting | None:
        """Add a task of the stream.

        Args:
            number: The number of the task in the stream.
            task: The task.

        Returns:
            None if the task has to be judged. Its verdict if it duplicates a task that was judged. The list of waiting
            duplicates, this one included, if it duplicates a task that is being judged.
        """
        key = _key(task)
        if key not in self._known:
            self._known[key] = None
            self._keys[number] = key
            return None
        known = self._known[key]
        if isinstance(known, Verdict):
            self._known.move_to_end(key)
            return replace(known, id=task.id)
        if known is None:
            known = self._known[key] = []
        known.append((number, task.id))
        return known

    def settle(self, number: int, verdict: Verdict) -> list[tuple[int, Verdict]]:
        """Remember the verdict on a task that `add` returned None for.

        Args:
            number: The number of the task in the stream.
            verdict: The verdict on it.

        Returns:
            The verdicts on the duplicates that waited for it, each after the number of its task.
        """
        key = self._keys.pop(number, None)
        if key is None:
            return []
        waiting = self._known[key] or []
        assert isinstance(waiting, list)
        if verdict.judged:
            self._known[key] = verdict if len(verdict.id) <= _SHORT else replace(verdict, id="")
            if len(self._known) > _REMEMBERED + len(self._keys):
                self._forget()
        else:
            del self._known[key]
        return [(duplicate, replace(verdict, id=ident)) for duplicate, ident in waiting]

    def _forget(self) -> None:
        """Forget the verdict that was used least recently."""
        for key, known in self._known.items():
            if isinstance(known, Verdict):
                del self._known[key]
                return


def _key(task: Checked) -> _Key:
    """Return what identifies tasks that get the same verdict. The values of limits are faster to hash than Limits."""
    sources: _Key
    if isinstance(task, Task):
        sat, sol, limits = task.sat, task.sol, task.limits
        sources = (
            sat if len(sat) <= _SHORT else _digest(wire.to_bytes(sat)),
            sol if len(sol) <= _SHORT else _digest(wire.to_bytes(sol)),
        )
    else:
        limits = task.limits
        sources = task.kind, *(part if len(part) <= _SHORT else _digest(part) for part in (task.judge, task.sol))
    return sources if limits is None else (*sources, *limits.to_tuple())


def _digest(source: bytes) -> bytes:
    return hashlib.blake2b(source).digest()
