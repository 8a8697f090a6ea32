"""Validate input: return a task or program whose fields have exactly their declared types, or the answer `invalid`.

A puzzle comes back as a `Task`. Any other task comes back packed (`selftaught.sandbox.judging`): to find whether the
values of its cases are plain data is to encode them, and then no caller can change them any more.

Every entry point (a call, a stream, a client) validates here and nowhere else. Later code relies on it: fields can be
hashed, compared, encoded and sent. A caller may pass anything: fields of any type, subclasses that override inherited
methods, attributes that raise.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from selftaught.sandbox import comparison, judging
from selftaught.sandbox.job import Kind
from selftaught.sandbox.judging import MOST_CASES, Checked, EncodedCase, PackedTask
from selftaught.sandbox.program import Ending, Program, Run
from selftaught.sandbox.task import ISOLATIONS, MOST_BYTES, MOST_SECONDS, FunctionTask, Limits, StdioTask, Task
from selftaught.sandbox.verdict import Status, Verdict, printable

MOST_CHARACTERS = 1 << 26
"""The most characters of the sources of a task together."""

MOST_PROGRAM_CHARACTERS = 1 << 28
"""The most characters of a program and its standard input: in UTF-8 they always fit into one frame."""

_MESSAGE_CHARACTERS = 500
_UNREADABLE, _TOO_LONG = "its fields can't be read", "the sources are longer than {} Mi characters"
_TASK, _PROGRAM = ("id", "sat", "sol"), ("id", "code", "stdin")
MOST_FILE_BYTES, MOST_FILES, MOST_PATH_BYTES = 48 << 20, 500, 1000
"""The size of a program's files together, in whole pages; how many files and folders; and the longest path."""
_PAGE, _MOST_NAME_BYTES, _MAIN = 4096, 255, "main.py"
_LIMITS = ("cpu_seconds", "wall_seconds", "memory_bytes", "answer_bytes", "output_bytes")
_NUMBERS = frozenset({int, float})
T = TypeVar("T", Task, Program)

ENTRY_POINT = r"^[A-Za-z_][A-Za-z0-9_]*((\(\))?\.[A-Za-z_][A-Za-z0-9_]*)?$"
"""What `FunctionTask.entry_point` must look like: ``name``, ``Class.method`` or ``Class().method``."""

_ENTRY_POINT = re.compile(ENTRY_POINT)
_NOT_SHARED = (
    "isolation='shared' lets a solution cheat, and this verifier requires isolation='process' (require_isolation): "
    "judge the function by tests that need none of its objects, or by cases"
)


def check_task(item: object, verifier: str = "", require_isolation: str | None = None) -> Checked | Verdict:
    """Return the task, an equal one of plain types, or its packed form, or else a verdict with status ``invalid``.

    Args:
        item: What a caller passed as a task; one that was checked already is only compared with `require_isolation`.
        verifier: Program, version and interpreter, for the verdict.
        require_isolation: ``"process"`` to refuse tasks with ``isolation="shared"``.
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
        if type(item) is PackedTask:
            packed = item
        elif issubclass(type(item), FunctionTask):
            packed = judging.prepare(_plain_function_task(item))
        elif issubclass(type(item), StdioTask):
            packed = judging.prepare(_plain_stdio_task(item))
        else:
            return _plain(item, Task, _TASK, MOST_CHARACTERS)
        if packed.kind is Kind.SHARED and require_isolation == "process":
            raise _Malformed(_NOT_SHARED)
        return packed
    except Exception as error:  # the code of the caller's classes may raise anything
        return Verdict(_id_of(item), Status.INVALID, message=_explanation(error), verifier=verifier)


def check_program(item: object, verifier: str = "") -> Program | Run:
    """Return an equal program of plain types, or else a run with ending ``invalid``.

    Args:
        item: What a caller passed as a program.
        verifier: Program, version and interpreter, for the run.
    """
    try:
        program = _plain(item, Program, _PROGRAM, MOST_PROGRAM_CHARACTERS)
        files, fetch = item.files, item.fetch  # type: ignore[attr-defined]
        return replace(program, files=_plain_files(files), fetch=_plain_paths(fetch)) if files or fetch else program
    except Exception as error:  # as above
        return Run(_id_of(item), Ending.INVALID, message=_explanation(error), verifier=verifier)


def _plain_files(files: Any) -> dict[str, bytes]:
    """Return files with paths and contents of exactly their types, if they fit into the folder."""
    if not issubclass(type(files), Mapping):
        raise _Malformed(f"files must map paths to bytes, and is of type {type(files).__name__}")
    plain = {_path("files", path): _content(path, content) for path, content in dict(files).items()}
    folders = {parent for path in plain for parent in _parents(path)}
    if clash := folders & {*plain, _MAIN}:
        raise _Malformed(f"files: {min(clash)!r} is a file and a folder")
    if _MAIN in plain:
        raise _Malformed(f"files: {_MAIN!r} is the program itself: give the file another name")
    if len(plain) + len(folders) > MOST_FILES:
        raise _Malformed(f"files: there may be {MOST_FILES} files and folders, not {len(plain) + len(folders):,}")
    size = sum(-(-len(content) // _PAGE) * _PAGE for content in plain.values())
    if size > MOST_FILE_BYTES:
        raise _Malformed(f"files: they may take {MOST_FILE_BYTES >> 20} MiB together, not {size / (1 << 20):.1f}")
    return plain


def _content(path: object, content: object) -> bytes:
    if not issubclass(type(content), (bytes, bytearray)):
        raise _Malformed(f"files[{str(path)[:60]!r}] must be bytes, not {type(content).__name__}: encode a text")
    return bytes(content)  # type: ignore[call-overload,no-any-return]


def _plain_paths(fetch: Any) -> tuple[str, ...]:
    if not issubclass(type(fetch), (list, tuple)):
        raise _Malformed(f"fetch must be a list or tuple of paths, not {type(fetch).__name__}")
    if len(paths := [*fetch]) > MOST_FILES:
        raise _Malformed(f"fetch: there may be {MOST_FILES} paths, not {len(paths):,}")
    return tuple(dict.fromkeys(_path("fetch", path) for path in paths))


def _path(where: str, path: object) -> str:
    """Return a path that stays in the folder. Raises _Malformed."""
    text = _string(f"{where}: a path", path)
    shown = f"{where}: {text[:60]!r}"
    if text.startswith("/"):
        raise _Malformed(f"{shown} must be relative to the program's folder")
    names = text.split("/")
    if any(name in ("", ".", "..") for name in names):
        raise _Malformed(f"{shown} must have no empty part, '.' or '..'")
    try:
        sizes = [len(name.encode()) for name in names]
    except UnicodeEncodeError:
        raise _Malformed(f"{shown} is no valid text") from None
    if "\0" in text or max(sizes) > _MOST_NAME_BYTES or sum(sizes) + len(sizes) > MOST_PATH_BYTES:
        raise _Malformed(f"{shown} is too long, or has a zero byte")
    return text


def _parents(path: str) -> Iterator[str]:
    """Yield the folders that a path names."""
    while folder := path.rpartition("/")[0]:
        yield folder
        path = folder


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
    fields = _strings(item, names)
    if sum(len(fields[name]) for name in names[1:]) > most:
        raise _Malformed(_TOO_LONG.format(most >> 20))
    return kind(**fields, limits=_plain_limits(item.limits))  # type: ignore[attr-defined]


def _plain_function_task(item: Any) -> FunctionTask:
    """Return a copy with fields of exactly their types; values in cases are checked when they are packed."""
    fields = _strings(item, ("id", "sol", "entry_point", "prelude", "compare", "isolation"))
    tests, cases = item.tests, item.cases
    fields["checker"], fields["all_cases"] = _checker(item.checker), _flag(item.all_cases)
    if not _ENTRY_POINT.fullmatch(fields["entry_point"]):
        raise _Malformed(
            f"entry_point must be the name of a function, or Class.method, in ASCII, not {fields['entry_point'][:60]!r}"
        )
    fields["entry_point"] = fields["entry_point"].replace("()", "")
    if fields["isolation"] not in ISOLATIONS:
        raise _Malformed(f"isolation must be 'process' or 'shared', not {fields['isolation'][:60]!r}")
    if (tests is None) == (cases is None):
        raise _Malformed(
            f"a FunctionTask has either tests or cases, and this one {'neither' if tests is None else 'both'}"
        )
    if tests is None:
        fields["cases"] = [_plain_call(number, case) for number, case in enumerate(_case_list(cases))]
        if fields["isolation"] == "shared":
            raise _Malformed("isolation='shared' is for tests: cases need no object of the solution")
        _check_comparison(fields["compare"])
    else:
        fields["tests"] = _string("tests", tests)
        if fields["checker"] is not None or fields["compare"] != "exact":
            raise _Malformed("compare and checker are for cases: tests compare themselves")
    _check_size(fields, ("sol", "entry_point", "prelude", "tests", "checker"))
    return FunctionTask(**fields, limits=_plain_limits(item.limits))


def _plain_stdio_task(item: Any) -> StdioTask:
    """Return a copy with fields of exactly their types."""
    fields = _strings(item, ("id", "sol", "compare"))
    fields["checker"], fields["all_cases"] = _checker(item.checker), _flag(item.all_cases)
    _check_comparison(fields["compare"])
    fields["cases"] = [_plain_pair(number, case) for number, case in enumerate(_case_list(item.cases))]
    _check_size(fields, ("sol", "checker"))
    return StdioTask(**fields, limits=_plain_limits(item.limits))


def _case_list(cases: Any) -> list[Any]:
    """Return the cases. Raises _Malformed if they are no list or tuple, or too few or too many."""
    if not issubclass(type(cases), (list, tuple)):
        raise _Malformed(f"cases must be a list or tuple, not {type(cases).__name__}")
    found = [*cases]
    if not 0 < len(found) <= MOST_CASES:
        raise _Malformed(f"there must be from 1 to {MOST_CASES:,} cases, not {len(found):,}")
    return found


def _plain_call(number: int, case: Any) -> Any:
    """Return a case of a function, whose values may be anything."""
    if type(case) is EncodedCase:
        return case
    args, kwargs, expected = _parts(number, case, "(args, kwargs, expected)", 3)
    if not issubclass(type(args), (list, tuple)):
        raise _Malformed(f"cases[{number}]: args must be a list or tuple, not {type(args).__name__}")
    if not issubclass(type(kwargs), dict):
        raise _Malformed(f"cases[{number}]: kwargs must be a dict, not {type(kwargs).__name__}")
    names = f"cases[{number}]: the name of a keyword argument"
    return tuple(args), {_string(names, name): value for name, value in kwargs.items()}, expected


def _plain_pair(number: int, case: Any) -> tuple[str, str]:
    stdin, expected = _parts(number, case, "(standard input, expected output)", 2)
    return (
        _string(f"cases[{number}]: standard input", stdin),
        _string(f"cases[{number}]: the expected output", expected),
    )


def _parts(number: int, case: Any, shape: str, length: int) -> list[Any]:
    if not issubclass(type(case), (list, tuple)):
        raise _Malformed(f"cases[{number}] must be {shape}, not {type(case).__name__}")
    parts = [*case]
    if len(parts) != length:
        raise _Malformed(f"cases[{number}] must be {shape}, and has {len(parts)} items")
    return parts


def _checker(source: Any) -> str | None:
    if source is None:
        return None
    checker = _string("checker", source)
    if not checker:
        raise _Malformed("checker is empty: without one it is None")
    return checker


def _flag(value: object) -> bool:
    if type(value) is not bool:
        raise _Malformed(f"all_cases must be True or False, not {type(value).__name__}")
    return value


def _check_comparison(name: str) -> None:
    try:
        comparison.validate(name)
    except ValueError as error:
        raise _Malformed(str(error)) from error


def _check_size(fields: dict[str, Any], sources: tuple[str, ...]) -> None:
    """Raise _Malformed if the sources are too long together."""
    if sum(len(fields.get(name) or "") for name in sources) > MOST_CHARACTERS:
        raise _Malformed(_TOO_LONG.format(MOST_CHARACTERS >> 20))


def _strings(item: object, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: _string(name, getattr(item, name)) for name in names}


def _string(name: str, value: object) -> str:
    if not issubclass(type(value), str):
        raise _Malformed(f"{name} must be a string, not {type(value).__name__}")
    return str.__str__(value)


def _plain_limits(limits: object) -> Limits | None:
    if limits is None or (type(limits) is Limits and _is_plain(limits)):
        return limits
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
        text = (
            str(error)
            if isinstance(error, (_Malformed, judging.NotPackable))
            else f"{_UNREADABLE}: {type(error).__name__}: {error}"
        )
        return printable(text[:_MESSAGE_CHARACTERS])
    except Exception:
        return _UNREADABLE
