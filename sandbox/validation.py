"""Validate input: return a task or program whose fields have exactly their declared types, or the answer `invalid`.

Every entry point (a call, a stream, a client) validates here and nowhere else. Later code relies on it: fields can be
hashed, compared, encoded and sent. A caller may pass anything: fields of any type, subclasses that override inherited
methods, attributes that raise.
"""

from __future__ import annotations

from typing import Any, TypeVar

from selftaught.sandbox.program import Ending, Program, Run
from selftaught.sandbox.task import MOST_BYTES, MOST_SECONDS, AnyTask, FunctionTask, Limits, StdioTask, Task
from selftaught.sandbox.verdict import Status, Verdict, printable

MOST_CHARACTERS = 1 << 26
"""The most characters of the two sources of a task together."""

MOST_PROGRAM_CHARACTERS = 1 << 28
"""The most characters of a program and its standard input: in UTF-8 they always fit into one frame."""

_MESSAGE_CHARACTERS = 500
_UNREADABLE = "its fields can't be read"
_TASK, _PROGRAM = ("id", "sat", "sol"), ("id", "code", "stdin")
_LIMITS = ("cpu_seconds", "wall_seconds", "memory_bytes", "answer_bytes", "output_bytes")
_NUMBERS = frozenset({int, float})
T = TypeVar("T", Task, Program)


def check_task(item: object, verifier: str = "") -> AnyTask | Verdict:
    """Return the task, or an equal one of plain types, or else a verdict with status ``invalid``.

    Args:
        item: What a caller passed as a task.
        verifier: Program, version and interpreter, for the verdict.
    """
    if type(item) is Task:
        try:
            limits = item.limits
            if (
                type(item.id) is type(item.sat) is type(item.sol) is str
                and (limits is None or (type(limits) is Limits and _is_plain(limits)))
                and len(item.sat) + len(item.sol) <= MOST_CHARACTERS
            ):
                return item
        except AttributeError:  # created without its constructor
            pass
    try:
        if issubclass(type(item), FunctionTask):
            return _plain_function_task(item)
        if issubclass(type(item), StdioTask):
            return _plain_stdio_task(item)
        return _plain(item, Task, _TASK, MOST_CHARACTERS)
    except Exception as error:  # the code of the caller's classes may raise anything
        return Verdict(_id_of(item), Status.INVALID, message=_explanation(error), verifier=verifier)


def check_program(item: object, verifier: str = "") -> Program | Run:
    """Return an equal program of plain types, or else a run with ending ``invalid``.

    Args:
        item: What a caller passed as a program.
        verifier: Program, version and interpreter, for the run.
    """
    try:
        return _plain(item, Program, _PROGRAM, MOST_PROGRAM_CHARACTERS)
    except Exception as error:  # as above
        return Run(_id_of(item), Ending.INVALID, message=_explanation(error), verifier=verifier)


def check_repeat(repeat: object) -> None:
    """Raise ValueError if this is not a number of repeats: an integer of at least 1."""
    if isinstance(repeat, bool) or not isinstance(repeat, int) or repeat < 1:
        raise ValueError(f"repeat must be at least 1, not {repeat!r}")


class _Malformed(Exception):
    """The input can't be judged or run; the message says why."""


def _plain(item: object, kind: type[T], names: tuple[str, ...], most: int) -> T:
    """Return a copy with fields of exactly their types. Raises _Malformed, or what the item's own code raises."""
    if not issubclass(type(item), kind):  # not isinstance, which trusts the object's __class__
        raise _Malformed(f"not a {kind.__name__} but {type(item).__name__}")
    fields: dict[str, Any] = {}
    for name in names:
        value = getattr(item, name)
        if not issubclass(type(value), str):
            raise _Malformed(f"{name} must be a string, not {type(value).__name__}")
        fields[name] = str.__str__(value)
    if sum(len(fields[name]) for name in names[1:]) > most:
        raise _Malformed(f"the sources are longer than {most >> 20} Mi characters")
    return kind(**fields, limits=_plain_limits(item.limits))  # type: ignore[attr-defined]


def _plain_function_task(item: Any) -> FunctionTask:
    """Return a copy with fields of exactly their types; values in cases are checked when they are encoded."""
    strings = _strings(item, ("id", "sol", "entry_point", "prelude", "compare", "isolation"))
    tests, cases = item.tests, item.cases
    if (tests is None) == (cases is None):
        raise _Malformed("a FunctionTask has either tests or cases")
    if strings["isolation"] not in ("process", "shared"):
        raise _Malformed(f"isolation must be 'process' or 'shared', not {strings['isolation']!r}")
    return FunctionTask(
        **strings,
        tests=None if tests is None else _string("tests", tests),
        cases=None if cases is None else [_plain_call(case) for case in cases],
        checker=None if item.checker is None else _string("checker", item.checker),
        all_cases=bool(item.all_cases),
        limits=_plain_limits(item.limits),
    )


def _plain_call(case: Any) -> tuple[Any, Any, Any]:
    args, kwargs, expected = case
    if not all(issubclass(type(name), str) for name in kwargs):
        raise _Malformed("the names of keyword arguments must be strings")
    return tuple(args), dict(kwargs), expected


def _plain_stdio_task(item: Any) -> StdioTask:
    cases = [(_string("standard input", stdin), _string("the expected output", out)) for stdin, out in item.cases]
    return StdioTask(
        **_strings(item, ("id", "sol", "compare")),
        cases=cases,
        checker=None if item.checker is None else _string("checker", item.checker),
        all_cases=bool(item.all_cases),
        limits=_plain_limits(item.limits),
    )


def _strings(item: object, names: tuple[str, ...]) -> dict[str, str]:
    return {name: _string(name, getattr(item, name)) for name in names}


def _string(name: str, value: object) -> str:
    if not issubclass(type(value), str):
        raise _Malformed(f"{name} must be a string, not {type(value).__name__}")
    return str.__str__(value)


def _plain_limits(limits: object) -> Limits | None:
    if limits is None:
        return None
    if not issubclass(type(limits), Limits):
        raise _Malformed(f"limits must be Limits or None, not {type(limits).__name__}")
    try:
        return Limits(*(_plain_number(getattr(limits, name)) for name in _LIMITS))
    except ValueError as error:
        raise _Malformed(str(error)) from error


def _plain_number(value: Any) -> Any:
    """Return a number as exactly int or float; anything else unchanged, for `Limits` to refuse."""
    if issubclass(type(value), bool):
        return value
    if issubclass(type(value), int):
        return int.__int__(value)
    return float.__float__(value) if issubclass(type(value), float) else value


def _is_plain(limits: Limits) -> bool:
    """Return True if the limits are valid. A caller can change a frozen dataclass, so the constructor is not enough."""
    return (
        type(limits.cpu_seconds) in _NUMBERS
        and type(limits.wall_seconds) in _NUMBERS
        and type(limits.memory_bytes) is type(limits.answer_bytes) is type(limits.output_bytes) is int
        and 0 < limits.cpu_seconds <= MOST_SECONDS
        and 0 < limits.wall_seconds <= MOST_SECONDS
        and 0 < limits.memory_bytes <= MOST_BYTES
        and 0 < limits.answer_bytes <= MOST_BYTES
        and 0 < limits.output_bytes <= MOST_BYTES
    )


def _id_of(item: object) -> str:
    """Return the id for the answer: the item's if it is a string, else an empty one."""
    try:
        ident = getattr(item, "id", "")
    except Exception:
        return ""
    return str.__str__(ident) if issubclass(type(ident), str) else ""


def _explanation(error: Exception) -> str:
    try:
        text = str(error) if isinstance(error, _Malformed) else f"{_UNREADABLE}: {type(error).__name__}: {error}"
        return printable(text[:_MESSAGE_CHARACTERS])
    except Exception:
        return _UNREADABLE
