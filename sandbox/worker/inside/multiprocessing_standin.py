"""What of `multiprocessing` threads can use, where no process can be started: its locks, queues and shared values.

Its locks are semaphores of the system, which have names in /dev/shm, and its shared values lie in files. With one
process alone threads' locks and private memory do the same. This module stands in for the extension
``_multiprocessing``.
"""

from __future__ import annotations

import mmap
import sys
import threading
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

_RECURSIVE = 0
"""The kind of a lock that its owner may acquire again; any other is a semaphore."""
_HEAP = "multiprocessing.heap"


class SemLock:
    """A semaphore or a recursive lock, as the extension's class of this name.

    Attributes:
        kind, maxvalue: as given.
        handle: a number, by which nobody finds it.
        name: None: there is none that would have to be removed.
    """

    SEM_VALUE_MAX = 0x7FFFFFFF

    def __init__(self, kind: int, value: int, maxvalue: int, name: str, unlink: bool) -> None:
        """Make one with this value; it has no name, whatever `name` says."""
        self.kind, self.maxvalue, self.handle, self.name = kind, maxvalue, id(self), None
        self._value, self._holds, self._owner = value, 0, 0
        self._changed = threading.Condition(threading.Lock())

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Take one off the value when it is positive. Return False if that was not in time."""
        if self.kind == _RECURSIVE and self._is_mine():
            self._holds += 1
            return True
        seconds = 0.0 if not block else None if timeout is None else max(0.0, timeout)
        with self._changed:
            if not self._changed.wait_for(lambda: self._value > 0, seconds):
                return False
            self._value -= 1
            self._holds += 1
            self._owner = threading.get_ident()
        return True

    def release(self) -> None:
        """Add one to the value.

        Raises:
            AssertionError: another thread owns the recursive lock.
            ValueError: it has its largest value.
        """
        if self.kind == _RECURSIVE:
            if not self._is_mine():
                raise AssertionError("attempt to release recursive lock not owned by thread")
            if self._holds > 1:
                self._holds -= 1
                return
        with self._changed:
            if self._value >= self.maxvalue:
                raise ValueError("semaphore or lock released too many times")
            self._value += 1
            self._holds -= 1
            self._changed.notify()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def _count(self) -> int:
        return self._holds

    def _is_mine(self) -> bool:
        return self._holds > 0 and self._owner == threading.get_ident()

    def _get_value(self) -> int:
        return self._value

    def _is_zero(self) -> bool:
        return self._value == 0

    def _after_fork(self) -> None:
        self._holds = 0


class Arena:
    """Memory for shared values: of this process alone, and in no file."""

    def __init__(self, size: int, fd: int = -1) -> None:
        """Reserve so many bytes."""
        self.size, self.fd = size, fd
        self.buffer = mmap.mmap(-1, size)


class _Finder:
    """Finds the module that has the class `Arena`, and replaces that."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != _HEAP or (spec := PathFinder.find_spec(name, path, target)) is None or spec.loader is None:
            return None
        loader: Any = spec.loader
        execute = loader.exec_module

        def execute_and_replace(module: ModuleType) -> None:
            execute(module)
            vars(module)["Arena"] = Arena

        loader.exec_module = execute_and_replace
        return spec


def install() -> None:
    """Have imports of `multiprocessing` find what is here."""
    module = ModuleType("_multiprocessing")
    vars(module).update(SemLock=SemLock, sem_unlink=lambda name: None, flags={})
    SemLock.__module__ = "_multiprocessing"
    sys.modules["_multiprocessing"] = module
    sys.meta_path.insert(0, _Finder)
