"""What a forked child does: read its job, load the puzzle, call, report. Runs inside the jail, once a process.

The report is a claim by a process that has run hostile code: the supervisor checks an answer's bytes, and believes nothing that
would help the one who claims it. So nothing here is a defence, only an honest reading of honest code.
"""

from __future__ import annotations

import marshal
import os
import random
import signal
import struct
import sys
import time
import types
import typing
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any, NoReturn

from selftaught.sandbox import codec, wire
from selftaught.sandbox.jail import rlimits
from selftaught.sandbox.wire import Phase
from selftaught.sandbox.worker.inside import annotation, program

REPORT_FD, JOB_FD, GO_FD = 3, 4, 5
_SOL, _RUN, _LOAD, _COMPILE, _COMPILED = (
    int(one) for one in (Phase.SOL, Phase.RUN, Phase.LOAD, Phase.COMPILE, Phase.COMPILED)
)
_NAMES = {name: getattr(typing, name) for name in ("Any", "Dict", "List", "Optional", "Set", "Tuple", "Union")}
_PUZZLES, _SOLUTIONS = ("sat", "f"), ("sol", "g")
"""What their functions may be called."""
_PUZZLE = "__puzzle__"
_FILES = {"<puzzle>": "puzzle", "<solution>": "solution"}
_STATEMENTS = ("def ", "import ", "from ", "class ", "@")
"""No expression begins like this."""
_MISSING = object()
_ready: dict[str, Any] | None = None
"""A namespace for the one puzzle that this process, or its next child, will load."""
_LARGE = 1 << 16
_ENTRY, _MAX_NANOSECONDS, _clock = struct.Struct("<II"), (1 << 32) - 1, time.perf_counter_ns
_MARSHALLED_TYPES = (int, str, float, bool, complex, bytes, types.NoneType, types.EllipsisType)

# Task code may replace anything in `builtins`, `os` or `sys`; what runs after it is bound here.
_write, _exit, _pause, _len, _flush = os.write, os._exit, signal.pause, len, sys.stdout.flush
_memoryview, _encode, _decode, _pack = memoryview, codec.encode, codec.decode, wire.REPORT.pack
_utf8, _slice, _type_name = str.encode, str.__getitem__, type.__dict__["__name__"].__get__
_unpack, _head_size = wire.PHASE.unpack_from, wire.PHASE.size
_true, _type, _loads, _bytes = True, type, marshal.loads, bytes
_exceptions_of = BaseExceptionGroup.__dict__["exceptions"].__get__
_NO_MEMORY = MemoryError, SystemError
"""What a lack of memory may come out as: the interpreter also fails to say why where there is none for a frame."""
_NO_MEMORY_REPORT = _pack(b"n", _len(b"MemoryError")) + b"MemoryError"


class _LoadError(Exception):
    """Loading failed: the code of the report and its text."""


def run(check_in: Callable[[bool], object]) -> NoReturn:
    """Serve the one job that waits in the job pipe, and end the process. `check_in` tells the supervisor, and may show it what is open here."""
    try:
        head = _read(wire.PHASE.size)
        which, space, cpu, *_, sat_size, payload_size = wire.PHASE.unpack(head)
        job = head + _read(sat_size + payload_size)
        os.close(JOB_FD)
        os.close(GO_FD)
        rlimits.restrict_phase(space, cpu)
        check_in(which == _RUN)  # its standard input is a file
        perform(job, reports_loaded=True)
    finally:
        _exit(1)


def perform(job: bytes | memoryview, reports_loaded: bool = False) -> NoReturn:
    """Run a phase and report; ends the process."""
    try:
        _send_report(*_report(job, reports_loaded))
    except _NO_MEMORY:  # even to report with, whatever holds it: from here on nothing is allocated
        _write(REPORT_FD, _NO_MEMORY_REPORT)
        _pause()
    _exit(1)


def _report(job: bytes | memoryview, reports_loaded: bool) -> tuple[bytes, bytes]:
    """Do a job: what to report."""
    which, _, _, answer_bytes, seed, sat_size, _ = _unpack(job)
    sat, payload = _bytes(job[_head_size : _head_size + sat_size]), _bytes(job[_head_size + sat_size :])
    if which == _COMPILE:
        return b"C", _compile_all(sat)
    if seed:
        random.seed(seed)
    if which == _RUN:
        os.close(REPORT_FD)
        sys.modules.pop(_PUZZLE, None)
        program.run(sat)
    return _run_phase(which, sat, payload, answer_bytes, reports_loaded)


def _run_phase(which: int, sat: bytes, payload: bytes, answer_bytes: int, reports_loaded: bool) -> tuple[bytes, bytes]:
    """Run a phase: what to report."""
    is_compiled, which = which & _COMPILED, which & ~_COMPILED
    try:
        scope, check = _load_puzzle(sat, is_compiled)
    except BaseException as error:
        return _failure(b"p", error)
    if which == _LOAD:
        return b"T", b""
    if which == _SOL:
        if reports_loaded:
            _report_loaded()
        return _run_sol(scope, payload, answer_bytes)
    return _run_sat(check, payload)


def _read(size: int) -> bytes:
    parts = []
    while size:
        part = os.read(JOB_FD, min(size, 1 << 20))
        if not part:
            os._exit(1)
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _load_puzzle(sat: bytes, is_compiled: int = 0) -> tuple[dict[str, Any], Callable[..., Any]]:
    """The puzzle's namespace and function. Raises whatever its code does."""
    scope = _new_scope() if _ready is None else _ready
    exec(_loads(sat) if is_compiled else _compile(sat, "<puzzle>"), scope)
    return scope, _find(scope, _PUZZLES, "the puzzle", {})


def _run_sol(scope: dict[str, Any], sol: bytes, answer_bytes: int) -> tuple[bytes, bytes]:
    """Phase ``sol``, the puzzle loaded: what to report."""
    try:
        answer = _solution(sol, scope)()
        return b"A", _encode(answer, answer_bytes)
    except codec.NotPlain as error:
        return b"w", b"the answer is not plain data: " + _utf8(error.args[0], "utf-8", "replace")
    except codec.TooLarge as error:
        return b"L", b"%d" % error.size
    except BaseException as error:
        return _failure(b"s", error)


def _run_sat(check: Callable[..., Any], answer: bytes) -> tuple[bytes, bytes]:
    """Phase ``sat``, the puzzle loaded: what to report."""
    try:
        value = _decode(answer)
        if mismatch := _mismatch(check, value):
            return b"w", mismatch.replace("typing.", "").encode("utf-8", "replace")
    except codec.Malformed as error:
        return b"w", str(error).encode()
    except BaseException as error:
        return _failure(b"p", error)
    return _call_puzzle(check, value)


def _call_puzzle(check: Callable[..., Any], value: object) -> tuple[bytes, bytes]:
    """Ask the puzzle about an answer: what to report."""
    try:
        result = check(value)
    except BaseException as error:
        return _failure(b"a" if _type(error) is AssertionError else b"p", error)
    if result is _true:
        return b"T", b""
    return b"F", f"sat returned {_shortened(result)}".encode("utf-8", "replace")


def _mismatch(check: Callable[..., Any], value: object) -> str:
    """How the answer differs from the puzzle's annotation, if it does. Raises whatever evaluating that does."""
    expected = _declared(check)
    if expected is _MISSING or _type(value) is expected or annotation.matches(value, expected):
        return ""
    wanted = getattr(expected, "__name__", "") if isinstance(expected, type) else repr(expected)
    return f"the answer is {annotation.describe(value)}, not {wanted}"


def warm_up(rounds: int) -> None:
    """Run both phases on samples, so that a child finds the interpreter's caches filled and writes to fewer pages."""
    samples = (
        (b"def sat(x: int, a=17, b=42):\n    return x + a == b", b"def sol(a=17, b=42):\n    return b - a"),
        (
            b"def sat(li: List[int], n=3):\n    assert len(li) == n\n    return sorted(li) == [i for i in range(n)]",
            b"def sol(n=3):\n    return [int(c) for c in ''.join(str(i) for i in range(n))]",
        ),
        (b"def sat(s: str):\n    return s.count('a') > 2", b"'a' * 3"),
        (b"def sat(x: float): return x == 1", b"def sol(): return 1"),
        (b"def sat(d: Dict[str, int]): return d['a']", b"def sol(): return 1 / 0"),
    )
    global _ready
    _ready = None
    for _ in range(rounds):
        for sat, sol in samples:
            compiled = _compile_all(wire.frame(sat))[_ENTRY.size :]
            _load_puzzle(sat)
            code, answer = _run_sol(_load_puzzle(compiled, _COMPILED)[0], sol, 1 << 20)
            if code == b"A":
                _run_sat(_load_puzzle(compiled, _COMPILED)[1], answer)
    _ready = _new_scope()


def _new_scope() -> dict[str, Any]:
    """A module's namespace; the module can be found by its name, as `dataclasses` and others expect."""
    module = sys.modules[_PUZZLE] = types.ModuleType(_PUZZLE)
    scope = module.__dict__
    scope.update(_NAMES)
    return scope


def _compile(source: bytes, file: str) -> types.CodeType:
    text = source.decode("utf-8", "surrogatepass").removeprefix("\ufeff")
    code: types.CodeType = compile(text, file, "exec", dont_inherit=True)
    return code


def _compile_all(sources: bytes) -> bytes:
    """Of each of the puzzles in these frames its code, with its length and the nanoseconds that it took in front (precompile.c).

    There is none of what makes an error or a warning, which the phases make known, and none of what marshal does not keep as it is.
    """
    parts = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for source in wire.cut(sources):
            began = _clock()
            try:
                code = _compile(source, "<puzzle>")
                made = marshal.dumps(code) if _survives_marshal(code) else b""
            except BaseException:
                made = b""
            parts += [_ENTRY.pack(len(made), min(_clock() - began, _MAX_NANOSECONDS)), made]
    return b"".join(parts)


def _survives_marshal(code: types.CodeType) -> bool:
    """Whether its constants are the same after marshal. A frozenset is not: its elements come back in another order, and so are iterated over in another."""
    todo: list[Any] = [code.co_consts]
    for constants in todo:
        for one in constants:
            kind = type(one)
            if kind is tuple:
                todo.append(one)
            elif kind is types.CodeType:
                todo.append(one.co_consts)
            elif kind not in _MARSHALLED_TYPES:
                return False
    return True


def _load(source: bytes, file: str, scope: dict[str, Any]) -> None:
    exec(_compile(source, file), scope)


def _solution(source: bytes, scope: dict[str, Any]) -> Callable[[], object]:
    """The solution's function, or one that evaluates it if it is a bare expression."""
    text = source.decode("utf-8", "surrogatepass").removeprefix("\ufeff").strip()
    if text.startswith(_STATEMENTS):
        return _defined(source, scope)
    try:
        expression = compile(text, "<solution>", "eval", dont_inherit=True)
    except SyntaxError:
        return _defined(source, scope)
    return lambda: eval(expression, scope)


def _defined(source: bytes, scope: dict[str, Any]) -> Callable[[], object]:
    before = {name: scope.get(name) for name in _SOLUTIONS}
    _load(source, "<solution>", scope)
    return _find(scope, _SOLUTIONS, "the solution", before)


def _find(scope: dict[str, Any], names: tuple[str, ...], whose: str, old: dict[str, Any]) -> Callable[..., Any]:
    """The function by one of these names that this source has defined (and not one that was there before)."""
    for name in names:
        found: Callable[..., Any] | None = scope.get(name)
        if callable(found) and found is not old.get(name):
            return found
    raise _LoadError(f"{whose} defines no function {' or '.join(names)}")


def _declared(check: Callable[..., Any]) -> Any:
    """The annotation of the first parameter, with what stands in it as text evaluated."""
    code = getattr(check, "__code__", None)
    if code is None or not code.co_argcount:
        return _MISSING
    name = code.co_varnames[0]
    found = check.__annotations__.get(name, _MISSING)
    if _type(found) is not _type and (
        isinstance(found, str) or "'" in repr(found)
    ):  # a text, or one within: List["int"]
        return typing.get_type_hints(check)[name]
    return found


def _report_loaded() -> None:
    """To the supervisor: the puzzle is not to blame from here on. A runner needn't: what blames the puzzle then is not believed it."""
    _write(REPORT_FD, b"P")


# In a function that calls this while it handles the exception, that has to be among the first 256 instructions: for one after that the interpreter
# allocates a number if the call fails, and tries again for ever if it can't (ceval.c, exception_unwind).
def _failure(code: bytes, error: BaseException) -> tuple[bytes, bytes]:
    """What to report of an exception. What may be a lack of memory has codes of its own: the supervisor looks whether the kernel bears it out."""
    if isinstance(error, MemoryError):
        trace = error.__traceback__
        error.__traceback__ = None  # lets go of the frames, and of what fills the memory
        del trace
    if _may_lack_memory(error):
        code = b"n" if code == b"p" else b"m"
    try:
        text = _explain(error)
    except BaseException:
        text = "an exception that can't be described"
    return code, text.encode("utf-8", "backslashreplace")[: wire.TEXT_BYTES]


def _may_lack_memory(error: BaseException) -> bool:
    """Whether this is such an exception, or a group that has one in it."""
    if isinstance(error, _NO_MEMORY):
        return True
    groups = [error] if isinstance(error, BaseExceptionGroup) else []
    while groups:
        for one in _exceptions_of(groups.pop()):
            if isinstance(one, _NO_MEMORY):
                return True
            if isinstance(one, BaseExceptionGroup):
                groups.append(one)
    return False


def _explain(error: BaseException) -> str:
    if isinstance(error, _LoadError):
        return str(error.args[0])
    text = f"{type(error).__name__}: {str(error)[:500]}".removesuffix(": ")
    place = _place(error.__traceback__)
    if isinstance(error, SyntaxError) and error.filename in _FILES:
        text = f"{type(error).__name__}: {str(error.msg)[:500]}"
        place = f" (line {error.lineno} of the {_FILES[error.filename]})"
    return text + place


def _place(trace: TracebackType | None) -> str:
    """Where in the task's own sources an exception came from."""
    place = ""
    while trace is not None:
        name = _FILES.get(trace.tb_frame.f_code.co_filename)
        if name:
            place = f" (line {trace.tb_lineno} of the {name})"
        trace = trace.tb_next
    return place


def _shortened(value: object) -> str:
    kind = type(value)
    if value is None or value is False or kind is int or kind is float or kind is str:
        text = repr(value)
        return text if len(text) <= 60 else text[:57] + "..."
    return "an instance of " + repr(_slice(_type_name(kind), slice(60)))[1:-1]


def _send_report(code: bytes, payload: bytes) -> NoReturn:
    """The last act: deliver, then end. A phase that ran out of memory waits, so that its size can be read. Raises MemoryError."""
    try:
        _flush()
    except BaseException:  # closed or replaced by the task: its own business
        pass
    head = _pack(code, _len(payload))
    for part in (head + payload,) if _len(payload) < _LARGE else (head, payload):  # there may be no memory for a copy
        sent = _write(REPORT_FD, part)
        while sent < _len(part):
            sent += _write(REPORT_FD, _memoryview(part)[sent:])
    if code in (b"m", b"n"):
        _pause()
    _exit(0)
