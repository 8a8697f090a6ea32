"""Identical tasks of a stream, which are judged once."""

from __future__ import annotations

import functools
import hashlib
from collections import OrderedDict
from dataclasses import replace

from sandbox import wire
from sandbox.task import Limits, Task
from sandbox.verdict import Verdict

_REMEMBERED = 4096
_spelt = functools.lru_cache(64)(repr)


class Twins:
    """Knows which tasks of a stream are the same but for their ids, in constant memory: the last few thousand of them.

    Not thread-safe. A task whose verdict is no judgement is not remembered.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, Verdict | list[tuple[int, str]]] = OrderedDict()
        self._keys: dict[int, bytes] = {}

    def add(self, number: int, task: object, limits: Limits) -> Verdict | bool:
        """What is known of the task with this number: its verdict, or False if a twin is being judged, or True: judge it."""
        if not isinstance(task, Task) or not (isinstance(task.sat, str) and isinstance(task.sol, str)):
            return True
        text = f"{len(task.sat)} {_spelt(task.limits or limits)}\n{task.sat}{task.sol}"
        key = hashlib.blake2b(wire.to_bytes(text), digest_size=16).digest()
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
        waiting = self._known.pop(key)
        if verdict.judged:
            self._known[key] = verdict
            if len(self._known) > _REMEMBERED + len(self._keys):
                self._forget()
        twins = waiting if isinstance(waiting, list) else []
        return [(number, verdict), *((twin, replace(verdict, id=ident)) for twin, ident in twins)]

    def _forget(self) -> None:
        """Drop the oldest verdict."""
        for key, known in self._known.items():
            if isinstance(known, Verdict):
                del self._known[key]
                return
