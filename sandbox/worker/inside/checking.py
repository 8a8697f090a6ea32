"""Judge outputs in a process that never runs a solution (`Phase.CHECK`): by a comparison, or by a task's own checker.

A checker is loaded once and judges all cases of a task: what it keeps in its module lasts from case to case, and no
longer. It is the task's code and trusted by it; each case gets new objects, so it may change what it is given.
"""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Callable
from typing import Any, TypeAlias

from selftaught.sandbox import codec, comparison, wire
from selftaught.sandbox.worker.inside import annotation
from selftaught.sandbox.worker.inside.difference import abbreviated, difference
from selftaught.sandbox.worker.inside.failure import LoadError, describe
from selftaught.sandbox.worker.inside.source import compile_source, new_scope

Judgement: TypeAlias = tuple[bytes, float, str]
"""T (accepted), F (rejected) or p (the checker failed); a score from 0 to 1; and why."""
_READY, _REPLY = b"K", struct.Struct("<ccd")
MODULE = "__checker__"
_PUZZLES = "sat", "f"
_FILE = "<checker>"


def check(checker: bytes, payload: bytes, exchange: Callable[[bytes], bytes]) -> tuple[bytes, bytes]:
    """Judge one output after another, until the process is ended from outside.

    Args:
        checker: source of ``check(input, output, expected)``, or of a puzzle; empty for a comparison.
        payload: encoding of the tuple of the comparison's name.
        exchange: sends a message and returns the next one: ready, or a judgement; and the next case, which is the
            encoding of (input, output, expected).

    Returns:
        Code and text of the report that the checker can't be loaded.
    """
    with contextlib.redirect_stdout(_Nowhere()), contextlib.redirect_stderr(_Nowhere()):
        try:
            judge = _loaded(checker) if checker else _comparing(payload)
        except BaseException as error:
            return describe(b"p", error)
        request = exchange(_READY)
        while True:
            code, score, why = judge(*_decoded(request))
            text = why.encode("utf-8", "backslashreplace")[: wire.TEXT_BYTES]
            request = exchange(_REPLY.pack(_READY, code, score) + text)


def _decoded(request: bytes) -> tuple[Any, Any, Any]:
    case: Any = codec.decode(request)
    return case  # type: ignore[no-any-return]


class _Nowhere(io.TextIOBase):
    """A text stream that drops what is written: a checker may print, and nobody reads it."""

    def write(self, text: str, /) -> int:
        return len(text)

    def writable(self) -> bool:
        return True


def _comparing(payload: bytes) -> Callable[[Any, Any, Any], Judgement]:
    """Return a judge that compares by name. Data that it can't compare is refused: identical data is no such data."""
    settings: Any = codec.decode(payload)
    compare = comparison.named(settings[0])

    def judge(input: Any, output: Any, expected: Any) -> Judgement:
        printed = isinstance(input, str)
        try:
            if compare(output, expected, printed):
                return b"T", 1.0, ""
            return b"F", 0.0, difference(output, expected, printed, compare)
        except Exception as error:  # an output that takes more memory than there is
            return b"F", 0.0, f"the output can't be compared: {type(error).__name__}"

    return judge


def _loaded(checker: bytes) -> Callable[[Any, Any, Any], Judgement]:
    """Load a checker and return a judge that asks it. Raises whatever its code raises."""
    scope = new_scope(MODULE)
    exec(compile_source(checker, _FILE), scope)
    ask = scope.get("check")
    if callable(ask):
        return lambda input, output, expected: _asked(output, lambda: ask(input, output, expected), _scored)
    puzzle = next((scope[name] for name in _PUZZLES if callable(scope.get(name))), None)
    if puzzle is None:
        raise LoadError("the checker defines no function check")
    return lambda input, output, expected: _asked(output, lambda: _solved(puzzle, output), _exactly_true)


def _solved(puzzle: Callable[[Any], Any], answer: Any) -> Any:
    """Return what a puzzle says of an answer, which is of the annotated type."""
    if mismatch := annotation.mismatch(puzzle, answer):
        raise AssertionError(mismatch.replace("typing.", ""))
    return puzzle(answer)


def _asked(output: Any, ask: Callable[[], Any], read: Callable[[Any, Any], Judgement]) -> Judgement:
    """Call a checker and read what it returns. What an output provokes in it counts against the output, as in tests."""
    try:
        return read(ask(), output)
    except Exception as error:
        return b"F", 0.0, describe(b"p", error)[1].decode("utf-8", "replace")
    except BaseException as error:  # an exit
        return b"p", 0.0, describe(b"p", error)[1].decode("utf-8", "replace")


def _exactly_true(result: Any, output: Any) -> Judgement:
    if result is True:
        return b"T", 1.0, ""
    return b"F", 0.0, f"the checker returned {abbreviated(result)} for {abbreviated(output)}"


def _scored(result: Any, output: Any) -> Judgement:
    if result is True or result is False:
        return _exactly_true(result, output)
    if not isinstance(result, (int, float)) or result != result:
        return b"p", 0.0, f"the checker returned {abbreviated(result)}, which is neither a bool nor a number"
    score = float(min(max(result, 0), 1))
    if score == 1:
        return b"T", 1.0, ""
    return b"F", score, f"the checker gave {score:g} for {abbreviated(output)}"
