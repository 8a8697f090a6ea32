"""Run a program (`Phase.RUN`). It makes no report: the end of the process is the outcome."""

from __future__ import annotations

import atexit
import io
import os
import sys
import types
from collections.abc import Callable
from typing import Any, NoReturn, TextIO

_exit = os._exit  # a program may replace it


_stdin: list[TextIO] = []
"""The stream for standard input, made before the jail closes: a snapshot process can't open one."""


def prepare() -> None:
    """Make the stream for standard input, on whatever descriptor 0 is when a program runs."""
    raw: Any = io.FileIO(0, closefd=False)
    raw.name = "<stdin>"
    stream: Any = io.TextIOWrapper(io.BufferedReader(raw), encoding="utf-8", errors="surrogateescape")
    stream.mode = "r"  # as the interpreter's own has it
    _stdin[:] = [stream]


def run(source: bytes, code: types.CodeType | None = None) -> NoReturn:
    """Run the program as ``python main.py`` would, and end the process.

    Args:
        source: source of the program.
        code: its code, if it has been compiled already.
    """
    name = "main.py"
    sys.argv[:] = [name]
    (sys.stdin,) = (sys.__stdin__,) = _stdin  # type: ignore[misc, assignment]
    module = sys.modules["__main__"] = types.ModuleType("__main__")
    module.__dict__.update(__file__=name, __builtins__=sys.modules["builtins"])
    status = 0
    try:
        exec(code or compile(source, name, "exec", dont_inherit=True), module.__dict__)
    except SystemExit as stop:
        status = _exit_status(stop.code)
    except BaseException as error:
        status = 1
        _print_traceback(error, name, source)
    run_exit_handlers: Callable[[], object] = atexit._run_exitfuncs
    for last in (run_exit_handlers, lambda: sys.stdout.flush(), lambda: sys.stderr.flush()):
        try:
            last()
        except BaseException:  # the program has replaced or closed it
            pass
    _exit(status)


def _exit_status(code: object) -> int:
    if code is None or isinstance(code, int):
        return int(code or 0) & 0xFF
    print(code, file=sys.stderr)
    return 1


def _print_traceback(error: BaseException, name: str, source: bytes) -> None:
    """Print a traceback as the interpreter does, with lines of the program, which is in no file."""
    import linecache
    import traceback

    lines = source.decode("utf-8", "replace").splitlines(keepends=True)
    linecache.cache[name] = (len(source), None, lines, name)
    trace = error.__traceback__.tb_next if error.__traceback__ else None
    try:
        if sys.excepthook is sys.__excepthook__:
            traceback.print_exception(type(error), error, trace)
        else:
            sys.excepthook(type(error), error, trace)
    except BaseException:
        sys.stderr.write(f"{type(error).__name__}\n")
