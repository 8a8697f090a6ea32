"""Run a program (`Phase.RUN`) as ``python main.py`` does. It makes no report: the end of the process is the outcome.

A program costs a snapshot process by the pages that it writes. So what it finds is made before the jail closes
(`prepare`), and `run` only puts it in place.
"""

from __future__ import annotations

import functools
import io
import linecache
import os
import sys
import types
import warnings
from collections.abc import Sequence
from importlib.machinery import SourceFileLoader
from typing import Any, NoReturn, TextIO, cast

from selftaught.sandbox.worker.inside import ending, stream_files, uncaught

NAME = "main.py"
RECURSION_LIMIT = 1000
"""The interpreter's own. Puzzles have a higher one."""
_HOME = "/tmp"
_exit = os._exit  # a program may replace it


_source: list[bytes] = [b""]


class _Loader(SourceFileLoader):
    """The loader of ``__main__``: has the source, also where no file has it."""

    def get_data(self, path: str) -> bytes:
        return _source[0] if path == self.path else super().get_data(path)


class _Lines(Sequence[str]):
    """The lines of the program, for tracebacks. They are split when one is asked for."""

    @functools.cached_property
    def _lines(self) -> list[str]:
        return _source[0].decode("utf-8", "replace").removeprefix("\ufeff").splitlines(keepends=True)

    def __len__(self) -> int:
        return len(self._lines)

    def __getitem__(self, place: Any) -> Any:
        return self._lines[place]


for _name in ("__name__", "__qualname__", "__module__"):
    setattr(_Loader, _name, getattr(SourceFileLoader, _name))
_LATE_EFFECTS = tuple(b"__del__ weakref yield async open IO Writer thread atexit signal ctypes".split())
"""A program without these words, and without modules of its own, only has to be flushed at its end."""
_names: dict[str, Any] = {}
"""What the interpreter puts into the namespace of ``__main__``."""
_folder: str
"""Where a program's file is: the working directory."""
_modules: int
"""How many modules there are that a program has not imported."""
_stdin: TextIO
_stdout: TextIO
"""Standard streams of a program: a snapshot process can't open them."""
_new_module = types.ModuleType


compile_main = functools.partial(compile, mode="exec", dont_inherit=True)
"""Compiles a program. No function of Python: its frame would be in the traceback of a SyntaxError."""


def prepare() -> None:
    """Make what a program finds, before the jail closes."""
    global _stdin, _stdout, _modules, _folder
    _folder = os.getcwd()
    file = f"{_folder}/{NAME}"
    compile_main.keywords["filename"] = file
    _stdin, _stdout = (_text_stream(number, name) for number, name in enumerate(("<stdin>", "<stdout>")))
    sys.path.insert(0, _folder)
    _names["__loader__"] = _Loader("__main__", file)
    if sys.version_info < (3, 14):  # before they were evaluated lazily
        _names["__annotations__"] = None
    _names.update(__builtins__=sys.modules["builtins"], __file__=file, __cached__=None)
    linecache.cache[file] = (0, None, _Lines(), file)  # type: ignore[assignment]  # no time: stays
    _modules = len(sys.modules) - 1  # that of puzzles is gone when a program runs
    ending.handle_signals(_stdout)


def _text_stream(descriptor: int, name: str) -> TextIO:
    """Return a stream as the interpreter has it where its input or output is no terminal."""
    raw: Any = io.FileIO(descriptor, "w" if descriptor else "r", closefd=False)
    raw.name = name
    buffer = io.BufferedWriter(raw) if descriptor else io.BufferedReader(raw)
    stream: Any = io.TextIOWrapper(buffer, encoding="utf-8", errors="surrogateescape")
    stream.mode = "w" if descriptor else "r"
    return cast("TextIO", stream)


def run(source: bytes, code: types.CodeType | None = None) -> NoReturn:
    """Run the program as ``python main.py`` would, and end the process.

    Args:
        source: source of the program.
        code: its code, if it has been compiled already.
    """
    _source[0] = source
    sys.argv[:] = [NAME]
    sys.stdin = sys.__stdin__ = _stdin  # type: ignore[misc, assignment]
    sys.stdout = sys.__stdout__ = _stdout  # type: ignore[misc, assignment]
    sys.modules["__main__"] = module = _new_module("__main__")
    namespace = module.__dict__
    namespace.update(_names)
    if "__annotations__" in namespace:
        namespace["__annotations__"] = {}
    del warnings.filters[0]  # type: ignore[attr-defined]  # that ignores all in puzzles
    sys.setrecursionlimit(RECURSION_LIMIT)
    if _folder != _HOME:
        os.environ.update(HOME=_folder, PWD=_folder)
    if b"/dev" in source or b"/proc" in source:
        stream_files.install()
    status = 0
    try:
        if code is None:
            code = compile_main(source)
        exec(code, namespace)
    except BaseException as error:
        status = uncaught.show(error, error.__traceback__ and error.__traceback__.tb_next)
    del module, namespace
    for word in _LATE_EFFECTS:
        if word in source:
            break
    else:
        if len(sys.modules) <= _modules and sys.stdout is _stdout and status >= 0:
            try:
                _stdout.flush()
                sys.stderr.flush()
                _exit(status)
            except BaseException:
                pass
    ending.run(source, status, _stdout, _folder)
