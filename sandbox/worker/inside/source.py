"""Compile sources of tasks, in a jailed process, and make the namespaces in which they run."""

from __future__ import annotations

import marshal
import struct
import sys
import time
import types
import typing
import warnings
from collections.abc import Callable
from typing import Any

from selftaught.sandbox import wire

_NAMES = {name: getattr(typing, name) for name in ("Any", "Dict", "List", "Optional", "Set", "Tuple", "Union")}
ENTRY = struct.Struct("<II")
_MAX_NANOSECONDS, _clock = (1 << 32) - 1, time.perf_counter_ns
_MARSHALLED_TYPES = (int, str, float, bool, complex, bytes, types.NoneType, types.EllipsisType)


def new_scope(name: str) -> dict[str, Any]:
    """Return the namespace of a new module, registered under its name as `dataclasses` and others expect."""
    module = sys.modules[name] = types.ModuleType(name)
    scope = module.__dict__
    scope.update(_NAMES)
    return scope


def compile_source(source: bytes, file: str) -> types.CodeType:
    """Compile a source in UTF-8 under this name of a file. Raises what the compiler raises."""
    text = source.decode("utf-8", "surrogatepass").removeprefix("\ufeff")
    code: types.CodeType = compile(text, file, "exec", dont_inherit=True)
    return code


def compile_all(sources: bytes, compile_one: Callable[[bytes], Any]) -> bytes:
    """Compile the sources in these frames. Return for each a header and its code (precompile.c).

    The header (`ENTRY`): length of the code, and nanoseconds that compiling took. The code is empty if compiling gives
    an error or a warning, which the phases are to report, or a constant that marshal does not keep as it is.

    Args:
        sources: the sources.
        compile_one: returns the code of a source, or a tuple with code in it.
    """
    parts = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for source in wire.cut(sources):
            began = _clock()
            _, made = _marshalled(source, compile_one)
            parts += [ENTRY.pack(len(made), min(_clock() - began, _MAX_NANOSECONDS)), made]
    return b"".join(parts)


def compile_and_marshal(source: bytes, compile_one: Callable[[bytes], Any]) -> tuple[Any, bytes]:
    """Do the same for one source. Return what `compile_one` returns, None if it gives an error or a warning; and its
    code, which may be empty.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return _marshalled(source, compile_one)


def _marshalled(source: bytes, compile_one: Callable[[bytes], Any]) -> tuple[Any, bytes]:
    try:
        code = compile_one(source)
        return code, marshal.dumps(code) if _survives_marshal(code) else b""
    except BaseException:
        return None, b""


def _survives_marshal(code: object) -> bool:
    """Return True if all constants are the same after marshal.

    A frozenset is not: its elements are in another order then, and so is an iteration over it.
    """
    todo: list[Any] = [(code,)]
    for constants in todo:
        for one in constants:
            kind = type(one)
            if kind is tuple:
                todo.append(one)
            elif kind is slice:  # a constant since Python 3.14
                todo.append((one.start, one.stop, one.step))
            elif kind is types.CodeType:
                todo.append(one.co_consts)
            elif kind not in _MARSHALLED_TYPES:
                return False
    return True
