"""The end of a program, in the interpreter's order (Py_FinalizeEx, Python/pylifecycle.c).

Threads, exit handlers, standard streams; then what the program's modules hold: a file that was not closed is written,
a ``__del__`` runs. The interpreter itself is not taken down: that writes to most of its memory.
"""

from __future__ import annotations

import _thread
import atexit
import contextlib
import ctypes
import gc
import os
import signal
import sys
import threading
import traceback
import types
import typing
import weakref
from collections.abc import Callable
from typing import Any, NoReturn, TextIO

from selftaught.sandbox.worker.inside import uncaught

FLUSH = signal.SIGRTMAX
"""A signal by which the supervisor has a program write what is in its buffers, before it is killed."""
FLUSH_FAILED = 120
"""The exit code if standard output could not be written."""
_exit, _raise_signal, _collect = os._exit, signal.raise_signal, gc.collect
_SPECIAL = (
    "path argv ps1 ps2 last_exc last_type last_value last_traceback path_hooks path_importer_cache meta_path".split()
)
"""What the interpreter deletes in `sys` first: some of it keeps frames alive."""


class _Sign:
    """An object that a namespace holds: it shows whether that is gone."""


def handle_signals(stdout: TextIO) -> None:
    """Handle `FLUSH`, and SIGINT as the interpreter does: it is ignored elsewhere in a worker.

    Args:
        stdout: the standard output that programs begin with.
    """

    def flush(number: int, frame: types.FrameType | None) -> NoReturn:
        for stream in (sys.stdout, stdout, sys.stderr):
            with contextlib.suppress(BaseException):  # the program may have put anything there
                stream.flush()
        _exit(1)

    signal.signal(FLUSH, flush)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def run(source: bytes, status: int, stdout: TextIO, folder: str) -> NoReturn:
    """End the process.

    Args:
        source: source of the program.
        status: its exit code, or `uncaught.INTERRUPTED`.
        stdout: the standard output that it began with.
        folder: where it may have modules of its own.
    """
    with contextlib.suppress(BaseException):
        if _thread._count():
            _join_threads()
        run_exit_handlers: Callable[[], object] = atexit._run_exitfuncs
        run_exit_handlers()
    flushed = _flush("stdout", shown=True)
    flushed = _flush("stderr", shown=False) and flushed
    if not _thread._count():  # daemon threads go on until the process ends
        with contextlib.suppress(BaseException):
            _free_modules(source, folder)
    for stream in (stdout, sys.stderr):
        with contextlib.suppress(BaseException):  # the program has closed it
            stream.flush()
    if b"ctypes" in source:
        with contextlib.suppress(BaseException):
            _flush_streams_of_c()
    if not flushed:
        status = FLUSH_FAILED
    if status == uncaught.INTERRUPTED:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        _raise_signal(signal.SIGINT)
    _exit(status & 0xFF)


def _join_threads() -> None:
    try:
        shutdown: Callable[[], object] = threading._shutdown  # type: ignore[attr-defined]
        shutdown()
    except BaseException as error:
        _show_ignored(f"in: {threading!r}", error)


def _flush(name: str, shown: bool) -> bool:
    """Flush a standard stream, whatever the program has made of it. Return False if that fails."""
    stream = getattr(sys, name, None)
    if stream is None:
        return True
    with contextlib.suppress(BaseException):
        if stream.closed:
            return True
    try:
        stream.flush()
    except BaseException as error:
        if shown:
            _show_ignored(f"on flushing sys.{name}:" if sys.version_info >= (3, 13) else f"in: {stream!r}", error)
        return False
    return True


def _flush_streams_of_c() -> None:
    """Write what functions of C have printed, as the C library does where a process ends by `exit`."""
    ctypes.CDLL(None).fflush(None)


def _show_ignored(where: str, error: BaseException) -> None:
    """Show an exception that nobody can catch."""
    with contextlib.suppress(BaseException):
        print(f"Exception ignored {where}", file=sys.stderr)
        traceback.print_exception(type(error), error, error.__traceback__ and error.__traceback__.tb_next)


def _free_modules(source: bytes, folder: str) -> None:
    """Free what the program's modules hold, as finalize_modules does."""
    if b"signal" in source:
        _forget_handlers()
    _collect()
    for name in _SPECIAL:
        if hasattr(sys, name):
            setattr(sys, name, None)
    sys.stdin, sys.stdout, sys.stderr = sys.__stdin__, sys.__stdout__, sys.__stderr__
    namespace = vars(sys.modules["__main__"])
    namespace["__loader__"] = _Sign()
    shown = weakref.ref(namespace["__loader__"])
    del namespace
    left = [_drop(name) for name, module in [*sys.modules.items()] if _file_of(module).startswith(folder)]
    if b"typing" in source:
        for forget in typing._cleanups:  # type: ignore[attr-defined]  # caches that have the program's classes
            forget()
    _collect()
    if (last := shown()) is not None:  # something that stays has the namespace
        for one in gc.get_referrers(last):
            if type(one) is dict:
                _clear(one)
        one = last = None
    for reference in left:
        if (module := reference()) is not None:
            _clear(vars(module))
            module = None
    _collect()


def _file_of(module: types.ModuleType) -> str:
    file = getattr(module, "__file__", None)
    return file if isinstance(file, str) else ""


def _drop(name: str) -> Callable[[], Any]:
    """Drop a module. Return a function that returns it while something else has it."""
    module = sys.modules.pop(name)
    return weakref.ref(module) if isinstance(module, types.ModuleType) else lambda: None


def _forget_handlers() -> None:
    """Forget the program's signal handlers."""
    for number in signal.valid_signals() - {FLUSH, signal.SIGINT}:
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)


def _clear(namespace: dict[str, Any]) -> None:
    """Clear a module's namespace: names with one underscore first (_PyModule_ClearDict)."""
    for private in (True, False):
        for name in [*namespace]:
            if (name[:1] == "_" and name[1:2] != "_") is private and name != "__builtins__":
                namespace[name] = None
