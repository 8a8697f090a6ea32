"""Tasks -> jobs: what judges a solution becomes bytes, which the supervisor takes apart but never interprets as values.

What `Job.sat` has, by `Kind`:

* ``PUZZLE``: the source of the puzzle.
* ``TESTS``, ``SHARED``: the encoding (`selftaught.sandbox.codec`) of ``(entry_point, prelude, tests, all_cases)``.
* ``CASES``: frames (`wire.frame`): the encoding of ``(entry_point, prelude, compare, checker, all_cases)``, then for
  each case the encoding of ``(args, kwargs)`` and that of what is expected.
* ``STDIO``: frames: the encoding of ``(compare, checker, all_cases)``, then for each case standard input and the
  expected output in UTF-8.

A task other than a puzzle is packed once, when it is validated. Its bytes then identify it in a stream, and are sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from selftaught.sandbox import codec, wire
from selftaught.sandbox.job import Job, Kind
from selftaught.sandbox.task import AnyTask, FunctionTask, Limits, StdioTask, Task

_TUPLE = 0xC0  # the tag of a short tuple, less its length: see `selftaught.sandbox.codec`
MOST_BYTES = 1 << 29
"""The largest size of what judges a task, once packed."""

MOST_CASES = 1 << 16
"""The most cases of a task."""

MOST_RESUMED = 100
"""After so many tests that ended at a limit or in a crash, the rest of a task's tests are not run (`all_cases`)."""

PUZZLE_PHASES = 2
"""The phases of a puzzle's judgement: `sol` and `sat`."""


class NotPackable(ValueError):
    """A case can't be packed; the message names it, and says why."""


class EncodedCase(NamedTuple):
    """A case of a function whose values are encoded already (`selftaught.sandbox.json_cases`).

    Attributes:
        arguments: The encoding of ``(args, kwargs)``.
        expected: The encoding of what is expected.
    """

    arguments: bytes
    expected: bytes


@dataclass(frozen=True, slots=True)
class PackedTask:
    """A validated task that is not a puzzle.

    Attributes:
        id: The task's id.
        kind: What it judges.
        judge: What `Job.sat` has.
        sol: The source of the solution.
        phases: Upper bound on the phases of its judgement, each as long as `Limits.wall_seconds`.
        limits: The task's own limits.
    """

    id: str
    kind: Kind
    judge: bytes
    sol: bytes
    phases: int
    limits: Limits | None = None


Checked: TypeAlias = Task | PackedTask
"""What validation returns for a task, and a verifier takes too."""


def pack(task: AnyTask | PackedTask, limits: Limits, seed: int = 0) -> Job:
    """Return the job of a validated task.

    Args:
        task: The task.
        limits: Its limits.
        seed: Seed of the `random` module.

    Raises:
        NotPackable: A case is not plain data, or all cases together are too large.
    """
    if isinstance(task, Task):
        return Job(wire.to_bytes(task.sat), wire.to_bytes(task.sol), limits, seed)
    packed = task if isinstance(task, PackedTask) else prepare(task)
    return Job(packed.judge, packed.sol, limits, seed, packed.kind)


def prepare(task: FunctionTask | StdioTask) -> PackedTask:
    """Pack a task whose fields are plain. Raises NotPackable."""
    if isinstance(task, StdioTask):
        kind, judge = Kind.STDIO, _pack_stdio(task)
    elif task.tests is None:
        kind, judge = Kind.CASES, _pack_cases(task)
    else:
        kind = Kind.SHARED if task.isolation == "shared" else Kind.TESTS
        judge = encode((task.entry_point, task.prelude, task.tests, task.all_cases))
    sol = wire.to_bytes(task.sol)
    return PackedTask(task.id, kind, judge, sol, _phases(task), task.limits)


def _phases(task: FunctionTask | StdioTask) -> int:
    """Return an upper bound on the phases.

    For each case: load the solution and call it, load the checker and call it. For tests: compile them, the solution's
    process, and theirs; the last two again after each test that ends one of them.
    """
    if task.cases is not None:
        return 4 * len(task.cases)
    assert isinstance(task, FunctionTask)
    return 3 + (2 * MOST_RESUMED if task.all_cases else 0)


def _pack_cases(task: FunctionTask) -> bytes:
    head = (task.entry_point, task.prelude, task.compare, task.checker or "", task.all_cases)
    parts, room = [wire.frame(encode(head))], MOST_BYTES
    cases: Sequence[Any] = task.cases or ()
    for number, case in enumerate(cases):
        try:
            arguments, expected = case if type(case) is EncodedCase else encode_case(case[0], case[1], case[2], room)
        except (codec.NotPlain, codec.TooLarge) as error:
            raise NotPackable(f"cases[{number}]: {_reason(error)}") from error
        parts += [wire.frame(arguments), wire.frame(expected)]
        room -= len(arguments) + len(expected)
        _check_room(number, room)
    return b"".join(parts)


def encode_case(args: Sequence[Any], kwargs: dict[str, Any], expected: object, most: int = MOST_BYTES) -> EncodedCase:
    """Encode the values of a case.

    Args:
        args: Arguments.
        kwargs: Keyword arguments.
        expected: The expected result.
        most: The largest size of each encoding in bytes.

    Raises:
        codec.NotPlain: A value is not plain data.
        codec.TooLarge: A value is larger.
    """
    try:
        arguments = encode((tuple(args), kwargs), most)
    except codec.NotPlain as error:
        raise codec.NotPlain(f"an argument: {error}") from error
    try:
        return EncodedCase(arguments, encode(expected, most))
    except codec.NotPlain as error:
        raise codec.NotPlain(f"the expected result: {error}") from error


def encode_arguments(args: list[bytes], kwargs: dict[str, bytes]) -> bytes:
    """Return the encoding of ``(args, kwargs)`` from the valid encodings of their values. Raises codec.Malformed."""
    names = [encode(name) for name in kwargs]
    nothing = encode((None,) * len(args)), encode(dict.fromkeys(kwargs))
    sizes = len(args), sum(map(len, names)) + len(names)
    heads = [each[: len(each) - size] for each, size in zip(nothing, sizes, strict=True)]  # without what they contain
    items = [part for pair in zip(names, kwargs.values(), strict=True) for part in pair]
    whole = encode_parts(heads[0] + b"".join(args), heads[1] + b"".join(items))
    check_encoding(whole)
    return whole


def encode(value: object, most: int = MOST_BYTES) -> bytes:
    """Encode a value that belongs to a task. Raises codec.NotPlain, or codec.TooLarge for more than `most` bytes."""
    return codec.encode(value, most, extended=True)


def check_encoding(data: bytes) -> None:
    """Raise codec.Malformed if this is not the encoding of a value that a task may contain."""
    codec.check(data, MOST_BYTES, extended=True)


def _pack_stdio(task: StdioTask) -> bytes:
    head = (task.compare, task.checker or "", task.all_cases)
    parts, room = [wire.frame(encode(head))], MOST_BYTES
    for number, (stdin, expected) in enumerate(task.cases):
        given, wanted = wire.to_bytes(stdin), wire.to_bytes(expected)
        parts += [wire.frame(given), wire.frame(wanted)]
        room -= len(given) + len(wanted)
        _check_room(number, room)
    return b"".join(parts)


def _check_room(number: int, room: int) -> None:
    if room < 0:
        raise NotPackable(f"cases[{number}]: {_TOO_LARGE}")


_TOO_LARGE = f"the cases are larger than {MOST_BYTES >> 20} MiB together"


def _reason(error: codec.NotPlain | codec.TooLarge) -> str:
    return _TOO_LARGE if isinstance(error, codec.TooLarge) else str(error)


@dataclass(slots=True)
class Tests:
    """What judges a job of kind `Kind.TESTS` or `Kind.SHARED`."""

    entry_point: str
    prelude: str
    tests: str
    all_cases: bool


@dataclass(slots=True)
class Cases:
    """What judges a job of kind `Kind.CASES` or `Kind.STDIO`.

    Attributes:
        entry_point, prelude: empty for a program.
        compare, checker: see `selftaught.sandbox.task`; an empty checker is none.
        all_cases: go on after a failure.
        cases: input and expected output of each; encodings, or text in UTF-8 for a program.
    """

    entry_point: str
    prelude: str
    compare: str
    checker: str
    all_cases: bool
    cases: list[tuple[bytes, bytes]]


def unpack_tests(sat: bytes) -> Tests:
    """Return the tests of a job."""
    return Tests(*_strings_of(sat))


def unpack_cases(sat: bytes) -> Cases:
    """Return the cases of a job."""
    head, *frames = wire.cut(sat)
    *before, compare, checker, all_cases = _strings_of(head)
    entry_point, prelude = before or ("", "")
    cases = list(zip(frames[::2], frames[1::2], strict=True))
    return Cases(entry_point, prelude, compare, checker, all_cases, cases)


def _strings_of(encoding: bytes) -> tuple[Any, ...]:
    strings: Any = codec.decode(encoding)
    return tuple(strings)


def encode_parts(*encodings: bytes) -> bytes:
    """Return the encoding of a tuple of values, at most 13, from theirs."""
    return bytes((_TUPLE + len(encodings),)) + b"".join(encodings)
