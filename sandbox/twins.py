"""Identical tasks of a stream, which are judged once."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import replace

from sandbox import wire
from sandbox.task import Limits, Task
from sandbox.verdict import Verdict

_REMEMBERED = 4096
_SHORT = 1024
"""Characters of sources that are kept as they are: longer ones by their digest."""
_Key = tuple[str | bytes, str | bytes, Limits | None]


class Twins:
    """Knows which tasks of a stream are the same but for their ids, in constant memory: the last few thousand of them.

    Not thread-safe. A task whose verdict is no judgement is not remembered.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[_Key, Verdict | list[tuple[int, str]]] = OrderedDict()
        self._keys: dict[int, _Key] = {}

    def add(self, number: int, task: object) -> Verdict | bool:
        """What is known of the task with this number: its verdict, or False if a twin is being judged, or True: judge it."""
        if not isinstance(task, Task) or not (isinstance(task.sat, str) and isinstance(task.sol, str)):
            return True
        sat, sol = task.sat, task.sol
        key = sat if len(sat) <= _SHORT else _digest(sat), sol if len(sol) <= _SHORT else _digest(sol), task.limits
        known = self._known.get(key)
        if isinstance(known, Verdict):
            self._known.move_to_end(key)
            return replace(known, id=task.id)
        if known is not None:
            known.append((number, task.id))
            return False
        self._known[key] = []
        self._keys[number] = key
        return True

    def settle(self, number: int, verdict: Verdict) -> list[tuple[int, Verdict]]:
        """The verdicts that are known now: of the task with this number, and of the twins that waited for it."""
        key = self._keys.pop(number, None)
        if key is None:
            return [(number, verdict)]
        waiting = self._known[key]
        if verdict.judged:
            self._known[key] = verdict
            if len(self._known) > _REMEMBERED + len(self._keys):
                self._forget()
        else:
            del self._known[key]
        settled = [(number, verdict)]
        if waiting and isinstance(waiting, list):
            settled += [(twin, replace(verdict, id=ident)) for twin, ident in waiting]
        return settled

    def _forget(self) -> None:
        """Drop the oldest verdict."""
        for key, known in self._known.items():
            if isinstance(known, Verdict):
                del self._known[key]
                return


def _digest(source: str) -> bytes:
    return hashlib.blake2b(wire.to_bytes(source)).digest()
