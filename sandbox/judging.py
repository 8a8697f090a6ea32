"""Tasks -> jobs: what judges a solution becomes bytes, which the supervisor takes apart but never interprets as values.

What `wire.Job.sat` has, by `wire.Kind`:

* ``PUZZLE``: the source of the puzzle.
* ``TESTS``, ``SHARED``: the encoding (`selftaught.sandbox.codec`) of ``(entry_point, prelude, tests, all_cases)``.
* ``CASES``: frames (`wire.frame`): the encoding of ``(entry_point, prelude, compare, checker, all_cases)``, then for
  each case the encoding of ``(args, kwargs)`` and that of what is expected.
* ``STDIO``: frames: the encoding of ``(compare, checker, all_cases)``, then for each case standard input and the
  expected output in UTF-8.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from selftaught.sandbox import codec, wire
from selftaught.sandbox.task import AnyTask, FunctionTask, Limits, StdioTask, Task
from selftaught.sandbox.wire import Job, Kind

_TUPLE = 0xC0  # the tag of a short tuple, less its length: see `selftaught.sandbox.codec`
MOST_BYTES = 1 << 29
"""The largest encoding of a value in a task."""


def pack(task: AnyTask, limits: Limits, seed: int = 0) -> Job:
    """Return the job of a validated task.

    Args:
        task: The task.
        limits: Its limits.
        seed: Seed of the `random` module.

    Raises:
        codec.NotPlain: A value in its cases is not plain data.
        codec.TooLarge: A value is larger than `MOST_BYTES`.
    """
    sol = wire.to_bytes(task.sol)
    if isinstance(task, Task):
        return Job(wire.to_bytes(task.sat), sol, limits, seed)
    if isinstance(task, StdioTask):
        return Job(_pack_stdio(task), sol, limits, seed, Kind.STDIO)
    if task.tests is None:
        return Job(_pack_cases(task), sol, limits, seed, Kind.CASES)
    kind = Kind.SHARED if task.isolation == "shared" else Kind.TESTS
    return Job(encode((task.entry_point, task.prelude, task.tests, task.all_cases)), sol, limits, seed, kind)


def _pack_cases(task: FunctionTask) -> bytes:
    parts = [wire.frame(encode((task.entry_point, task.prelude, task.compare, task.checker or "", task.all_cases)))]
    for args, kwargs, expected in task.cases or ():
        parts += [wire.frame(encode((tuple(args), dict(kwargs)))), wire.frame(encode(expected))]
    return b"".join(parts)


def _pack_stdio(task: StdioTask) -> bytes:
    parts = [wire.frame(encode((task.compare, task.checker or "", task.all_cases)))]
    for stdin, expected in task.cases:
        parts += [wire.frame(wire.to_bytes(stdin)), wire.frame(wire.to_bytes(expected))]
    return b"".join(parts)


def encode(value: object) -> bytes:
    """Return the encoding of a value that belongs to a task.

    Raises:
        codec.NotPlain: It is not plain data.
        codec.TooLarge: It is larger than `MOST_BYTES`.
    """
    return codec.encode(value, MOST_BYTES)


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


def unpack_cases(job: Job) -> Cases:
    """Return the cases of a job."""
    head, *frames = wire.cut(job.sat)
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
