"""Uncaught exceptions of a program, as the interpreter shows them (PyErr_PrintEx, Python/pythonrun.c)."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from types import TracebackType

INTERRUPTED = -signal.SIGINT
"""The status of a program that an uncaught KeyboardInterrupt ends: it sends itself the signal."""
_SUGGESTED = NameError, AttributeError, ImportError
_READS_FILES = sys.version_info < (3, 13)
"""The interpreter has its own code to show exceptions, which reads source lines from files and so shows none of a
program that is in no file. But only it suggests names, for these exceptions, and knows `sys.tracebacklimit`. From 3.13
on it calls `traceback`.
"""
_show_size = os.getpid
"""The supervisor answers this call, and looks how large the process has been."""


def show(error: BaseException, trace: TracebackType | None) -> int:
    """Show an exception on standard error, or do what a SystemExit asks for. Return the exit status.

    Args:
        error: the exception.
        trace: its traceback without frames of ours.
    """
    if isinstance(error, SystemExit):
        return _exit_status(error)
    error.__traceback__ = trace
    sys.last_type, sys.last_value, sys.last_traceback = type(error), error, trace
    if sys.version_info >= (3, 12):
        sys.last_exc = error
    if isinstance(error, MemoryError):
        _show_size()
    hook = getattr(sys, "excepthook", None)
    if hook is None:
        _write("sys.excepthook is missing\n")
    if hook is None or hook is sys.__excepthook__:
        _print(error, trace)
    else:
        try:
            hook(type(error), error, trace)
        except SystemExit as stop:
            return _exit_status(stop)
        except BaseException as second:
            _write("Error in sys.excepthook:\n")
            second.__context__ = None if second.__context__ is error else second.__context__
            _print(second, second.__traceback__ and second.__traceback__.tb_next)
            _write("\nOriginal exception was:\n")
            _print(error, trace)
    return INTERRUPTED if isinstance(error, KeyboardInterrupt) else 1


def _exit_status(stop: SystemExit) -> int:
    """Return the status that a SystemExit asks for; print what is none."""
    code = stop.code
    if code is None:
        return 0
    if isinstance(code, int):
        return int(code) & 0xFF if -(1 << 63) <= code < 1 << 63 else 0xFF
    try:
        _write(f"{code}\n")
    except BaseException:  # of its own __str__
        pass
    return 1


def _print(error: BaseException, trace: TracebackType | None) -> None:
    try:
        by_itself = isinstance(error, _SUGGESTED) or hasattr(sys, "tracebacklimit")
        if trace is None or not _READS_FILES or by_itself:
            error.__traceback__ = trace
            sys.__excepthook__(type(error), error, trace)
        else:
            traceback.print_exception(type(error), error, trace)
    except BaseException:  # there is no memory, or the program has replaced what this needs
        _write(f"{type(error).__name__}\n")


def _write(text: str) -> None:
    """Write to standard error, if there is one."""
    try:
        if sys.stderr is not None:
            sys.stderr.write(text)
            sys.stderr.flush()
    except Exception:
        pass
