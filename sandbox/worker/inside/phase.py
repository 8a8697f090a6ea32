"""Run one phase in a jailed process: read the job, load the puzzle, call, report.

The report is a claim by a process that has run hostile code. The supervisor checks an answer's bytes, and believes
nothing that would help the task. So nothing here is a defence: it only has to treat honest code correctly.
"""

from __future__ import annotations

import functools
import marshal
import os
import random
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from selftaught.sandbox import codec, wire
from selftaught.sandbox.jail import rlimits
from selftaught.sandbox.outcome import Phase
from selftaught.sandbox.wire import GO_FD, JOB_FD, REPORT_FD
from selftaught.sandbox.worker.inside import annotation, program
from selftaught.sandbox.worker.inside.failure import NO_MEMORY, LoadError, describe
from selftaught.sandbox.worker.inside.source import ENTRY, compile_all, compile_source, new_scope

_SOL, _RUN, _LOAD, _COMPILE, _COMPILED, _SERVE, _TESTS, _CHECK, _SHARED, _SENDS_CODE = (
    int(one)
    for one in (
        Phase.SOL,
        Phase.RUN,
        Phase.LOAD,
        Phase.COMPILE,
        Phase.COMPILED,
        Phase.SERVE,
        Phase.TESTS,
        Phase.CHECK,
        Phase.SHARED,
        Phase.SENDS_CODE,
    )
)
_FLAGS = _COMPILED | _SENDS_CODE
_SESSIONS = (_SERVE, _TESTS, _CHECK, _SHARED)
_WRITERS = (_RUN, _SHARED)
"""Phases that may write files: of `selftaught.sandbox.worker.fork.scratch`."""
_PUZZLES, _SOLUTIONS = ("sat", "f"), ("sol", "g")
"""Names that the functions of puzzles and solutions may have."""
_PUZZLE = "__puzzle__"
_STATEMENTS = ("def ", "import ", "from ", "class ", "@")
"""A source that begins like this is no expression."""
_ready: dict[str, Any] | None = None
"""The namespace for the next puzzle: one for this process, or for its next child."""
_LARGE = 1 << 16
seed_numpy: Callable[[int], object] | None = None
"""Seeds NumPy's global generator, where it is loaded (`packages.load`)."""
_messages: memoryview | None = None
"""Where a snapshot process finds the supervisor's messages; a child reads them from `JOB_FD`."""

# Task code may replace anything in `builtins`, `os` or `sys`: what runs after it uses these names.
_write, _exit, _pause, _len, _flush = os.write, os._exit, signal.pause, len, sys.stdout.flush
_memoryview, _encode, _decode, _pack = memoryview, codec.encode, codec.decode, wire.REPORT.pack
_utf8, _slice, _type_name = str.encode, str.__getitem__, type.__dict__["__name__"].__get__
_unpack, _head_size = wire.PHASE.unpack_from, wire.PHASE.size
_true, _type, _loads, _bytes, _from_bytes, _read_some = True, type, marshal.loads, bytes, int.from_bytes, os.read
_NO_MEMORY = b"m", b"n"
_NO_MEMORY_REPORT = _pack(b"n", _len(b"MemoryError")) + b"MemoryError"


def run(check_in: Callable[[bool], object]) -> NoReturn:
    """Run the job that waits in the job pipe, report, and end the process.

    Args:
        check_in: reports to the supervisor that the child is ready; its argument makes the child's descriptors visible
            in /proc first.
    """
    try:
        head = _read(wire.PHASE.size)
        which, space, cpu, *_, sat_size, payload_size = wire.PHASE.unpack(head)
        job = head + _read(sat_size + payload_size)
        os.close(JOB_FD)
        os.close(GO_FD)
        rlimits.restrict_phase(space, cpu, _writes_files(which))
        check_in(_writes_files(which))  # the supervisor examines the files that such a phase maps as code
        perform(job, reports_loaded=True)
    finally:
        _exit(1)


def _writes_files(which: int) -> bool:
    return which & ~_COMPILED in _WRITERS


def perform(job: bytes | memoryview, reports_loaded: bool = False) -> NoReturn:
    """Run a phase, report, and end the process.

    Args:
        job: header (`wire.PHASE`), puzzle and payload.
        reports_loaded: report first that the puzzle has loaded, before the solution runs.
    """
    try:
        _send_report(*_report(job, reports_loaded))
    except NO_MEMORY:  # not even to report with: allocate nothing from here on
        _write(REPORT_FD, _NO_MEMORY_REPORT)
        _pause()
    _exit(1)


def _report(job: bytes | memoryview, reports_loaded: bool) -> tuple[bytes, bytes]:
    """Run a job. Return the code and text of its report."""
    which, _, _, answer_bytes, seed, sat_size, _ = _unpack(job)
    sat, payload = _bytes(job[_head_size : _head_size + sat_size]), _bytes(job[_head_size + sat_size :])
    if which == _COMPILE:
        return b"C", compile_all(sat, program.compile_main if payload else _compile_puzzle)
    if seed:
        random.seed(seed)
        if seed_numpy:
            seed_numpy(seed)
    is_compiled, sends_code, which = which & _COMPILED, which & _SENDS_CODE, which & ~_FLAGS
    if which == _RUN:
        if reports_loaded:
            os.close(REPORT_FD)
        sys.modules.pop(_PUZZLE, None)
        program.run(payload, _loads(sat)) if is_compiled else program.run(sat)
    if which in _SESSIONS:
        return _run_session(which, _loads(sat) if is_compiled else sat, payload, answer_bytes, sends_code)
    return _run_phase(which, is_compiled, sat, payload, answer_bytes, reports_loaded)


def _run_session(which: int, source: Any, payload: bytes, answer_bytes: int, sends_code: int) -> tuple[bytes, bytes]:
    """Run a phase of tests or cases. Return the code and text of its report.

    The modules are imported here so that they come after this one in memory: else a puzzle would use names that lie
    among theirs, and write to more pages.
    """
    from selftaught.sandbox.worker.inside import checking, serving, sharing, testing

    if which == _SERVE:
        return serving.serve(source, payload, answer_bytes, exchange)
    if which == _TESTS:
        return testing.run_tests(source, payload, exchange, answer_bytes if sends_code else None)
    if which == _CHECK:
        return checking.check(source, payload, exchange)
    return sharing.run_shared(source, payload, exchange)


_compile_puzzle = functools.partial(compile_source, file="<puzzle>")


def set_messages(buffer: memoryview) -> None:
    """Set where the supervisor's messages appear, with their size in front, in a snapshot process."""
    global _messages
    _messages = buffer


def exchange(message: bytes) -> bytes:
    """Send the supervisor a message, and return its answer."""
    _write_all(_pack(b"M", _len(message)), message)
    if _messages is None:
        return _read(_from_bytes(_read(4), "little"))
    size = _from_bytes(_messages[:8], "little")
    return _bytes(_messages[8 : 8 + size])


def _write_all(head: bytes, payload: bytes) -> None:
    """Write a report. There may be no memory to join a large payload and its header."""
    for part in (head + payload,) if _len(payload) < _LARGE else (head, payload):
        sent = _write(REPORT_FD, part)
        while sent < _len(part):
            sent += _write(REPORT_FD, _memoryview(part)[sent:])


def _run_phase(
    which: int, is_compiled: int, sat: bytes, payload: bytes, answer_bytes: int, reports_loaded: bool
) -> tuple[bytes, bytes]:
    """Run a phase of a puzzle. Return the code and text of its report."""
    try:
        scope, check = _load_puzzle(sat, is_compiled)
    except BaseException as error:
        return describe(b"p", error)
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
        part = _read_some(JOB_FD, size if size < 1 << 20 else 1 << 20)
        if not part:
            _exit(1)
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _load_puzzle(sat: bytes, is_compiled: int = 0) -> tuple[dict[str, Any], Callable[..., Any]]:
    """Load the puzzle. Return its namespace and its function. Raises whatever its code raises."""
    scope = new_scope(_PUZZLE) if _ready is None else _ready
    exec(_loads(sat) if is_compiled else compile_source(sat, "<puzzle>"), scope)
    return scope, _find(scope, _PUZZLES, "the puzzle", {})


def _run_sol(scope: dict[str, Any], sol: bytes, answer_bytes: int) -> tuple[bytes, bytes]:
    """Run the solution in the puzzle's namespace. Return the code and text of the report."""
    try:
        answer = _solution(sol, scope)()
        return b"A", _encode(answer, answer_bytes)
    except codec.NotPlain as error:
        return b"w", b"the answer is not plain data: " + _utf8(error.args[0], "utf-8", "replace")
    except codec.TooLarge as error:
        return b"L", b"%d" % error.size
    except BaseException as error:
        return describe(b"s", error)


def _run_sat(check: Callable[..., Any], answer: bytes) -> tuple[bytes, bytes]:
    """Decode the answer and call the puzzle with it. Return the code and text of the report."""
    try:
        value = _decode(answer, False)  # strict: an answer over 1 MiB may not have been checked before
        if mismatch := annotation.mismatch(check, value):
            return b"w", mismatch.replace("typing.", "").encode("utf-8", "replace")
    except codec.Malformed as error:
        return b"w", str(error).encode()
    except BaseException as error:
        return describe(b"p", error)
    return _call_puzzle(check, value)


def _call_puzzle(check: Callable[..., Any], value: object) -> tuple[bytes, bytes]:
    """Call the puzzle with an answer. Return the code and text of the report."""
    try:
        result = check(value)
    except BaseException as error:
        return describe(b"a" if _type(error) is AssertionError else b"p", error)
    if result is _true:
        return b"T", b""
    return b"F", f"sat returned {_shortened(result)}".encode("utf-8", "replace")


def warm_up(rounds: int) -> None:
    """Run both phases on samples, which fills the interpreter's caches: a child then writes to fewer pages.

    Args:
        rounds: how often each sample runs.
    """
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
            compiled = compile_all(wire.frame(sat), _compile_puzzle)[ENTRY.size :]
            _load_puzzle(sat)
            code, answer = _run_sol(_load_puzzle(compiled, _COMPILED)[0], sol, 1 << 20)
            if code == b"A":
                _run_sat(_load_puzzle(compiled, _COMPILED)[1], answer)
    _ready = new_scope(_PUZZLE)


def _solution(source: bytes, scope: dict[str, Any]) -> Callable[[], object]:
    """Return the solution's function, or one that evaluates the source if it is an expression."""
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
    exec(compile_source(source, "<solution>"), scope)
    return _find(scope, _SOLUTIONS, "the solution", before)


def _find(scope: dict[str, Any], names: tuple[str, ...], whose: str, old: dict[str, Any]) -> Callable[..., Any]:
    """Return the function by one of these names that this source has defined.

    Raises:
        LoadError: there is none, or only the one in `old`.
    """
    for name in names:
        found: Callable[..., Any] | None = scope.get(name)
        if callable(found) and found is not old.get(name):
            return found
    raise LoadError(f"{whose} defines no function {' or '.join(names)}")


def _report_loaded() -> None:
    """Report that the puzzle has loaded: a later error is not its fault.

    The snapshot process does not report it: the engine runs the puzzle alone when a report blames it.
    """
    _write(REPORT_FD, b"P")


def _shortened(value: object) -> str:
    kind = type(value)
    if value is None or value is False or kind is int or kind is float or kind is str:
        text = repr(value)
        return text if len(text) <= 60 else text[:57] + "..."
    return "an instance of " + repr(_slice(_type_name(kind), slice(60)))[1:-1]


def _send_report(code: bytes, payload: bytes) -> NoReturn:
    """Write the report and end the process. After a lack of memory it waits, so that its size can be read.

    Raises:
        MemoryError: there is no memory to build the report.
    """
    try:
        _flush()
    except BaseException:  # the task has closed or replaced it
        pass
    _write_all(_pack(code, _len(payload)), payload)
    if code in _NO_MEMORY or (code == b"E" and payload[8:9] in _NO_MEMORY):
        _pause()
    _exit(0)
