"""The input of a judgement: a solution, what judges it (a puzzle, tests, cases), and the limits of their processes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

MIB = 1 << 20
MOST_SECONDS, MOST_BYTES = 86_400, (1 << 48) - 1
"""Upper bounds on any limit."""

ISOLATIONS = ("process", "shared")
"""The values of `FunctionTask.isolation`, the stronger first."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one *phase* of a judgement; a judgement has two phases (see `Task`).

    Attributes:
        cpu_seconds: CPU time, user plus system. This is the limit that normally decides.
        wall_seconds: Elapsed time, a looser backstop for code that sleeps. ``None`` means ``10 * cpu_seconds + 1``, so
            that an honest solution on a machine that is eight times oversubscribed is still judged by its CPU time.
        memory_bytes: What the phase may allocate beyond the warm interpreter.
        answer_bytes: Size of the encoded answer (see `selftaught.sandbox.codec`).
        output_bytes: What may be written to standard output and standard error together.

    Raises:
        ValueError: A limit is not a positive, finite number, or is above `MOST_SECONDS` or `MOST_BYTES`.
    """

    cpu_seconds: float = 1.0
    wall_seconds: float = None  # type: ignore[assignment]  # set below: readers always see a float
    memory_bytes: int = 512 * MIB
    answer_bytes: int = 32 * MIB
    output_bytes: int = 1 * MIB

    def __post_init__(self) -> None:
        self._check("cpu_seconds", (int, float), MOST_SECONDS, "of seconds")
        if self.wall_seconds is None:
            object.__setattr__(self, "wall_seconds", 10 * self.cpu_seconds + 1)
        self._check("wall_seconds", (int, float), MOST_SECONDS, "of seconds")
        for name in ("memory_bytes", "answer_bytes", "output_bytes"):
            self._check(name, (int,), MOST_BYTES, "of whole bytes")

    def _check(self, name: str, kinds: tuple[type, ...], most: int, unit: str) -> None:
        value: Any = getattr(self, name)
        a_number = isinstance(value, kinds) and not isinstance(value, bool)
        if not (a_number and 0 < value <= most):  # false for NaN
            raise ValueError(f"{name} must be a number {unit} above 0 and at most {most:,}, not {value!r}")

    def to_tuple(self) -> tuple[float, float, int, int, int]:
        """Return the limits in the order of the fields."""
        return self.cpu_seconds, self.wall_seconds, self.memory_bytes, self.answer_bytes, self.output_bytes

    def to_dict(self) -> dict[str, Any]:
        """Return the limits as plain data, ready for JSON."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, slots=True)
class Task:
    """A puzzle and a solution to judge.

    Phase ``sol`` runs the solution and returns its answer. Phase ``sat``, in a fresh process that never sees the
    solution, calls the puzzle with that answer. A task accepts any field values: what can't be judged gets a verdict
    with status ``invalid``.

    Attributes:
        id: Any string; the verdict has it too. Need not be unique.
        sat: Source of the puzzle, ``def sat(answer: T, ...defaults) -> bool`` (or ``f``, as in the paper).
        sol: Source of the solution, ``def sol(...defaults): ...`` (or ``g``), or a bare expression. It may call the
            puzzle, which is loaded before it in the same process.
        limits: For this task alone; ``None`` means the verifier's.
    """

    id: str
    sat: str
    sol: str
    limits: Limits | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the task as plain data, ready for JSON."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, slots=True)
class FunctionTask:
    """A function to judge, by tests or by cases.

    The solution is loaded in a jailed process that sees the arguments of calls and nothing else. Tests run in a second
    jailed process, where stand-ins relay each call; cases are compared outside of both. Exactly one of `tests` and
    `cases` is given.

    Attributes:
        id: Any string; the verdict has it too. Need not be unique.
        sol: Source of the solution.
        entry_point: What is tested: the name of a function, or ``Class.method`` of an instance ``Class()``.
        tests: Source of tests: ``def check(candidate)``, functions ``test_...`` as pytest has them, or assert
            statements that call the function by its name.
        cases: Arguments, keyword arguments and expected result of each call. Values are plain data
            (`selftaught.sandbox.codec`).
        prelude: Source that is loaded before the solution and before the tests, such as imports and classes that both
            use. Instances of its classes cross between them as their attributes.
        compare: How results of `cases` are compared with what is expected (`selftaught.sandbox.comparison`).
        checker: Source of ``check(input, output, expected) -> bool | float``, which judges each case of `cases` in
            place of `compare`, in a process of its own; ``input`` is the pair of arguments and keyword arguments.
        isolation: ``"process"``, or ``"shared"`` for tests that need the solution's very objects: both run in one
            process then, and a solution can cheat.
        all_cases: Judge every case, also after one has failed.
        limits: For this task alone; ``None`` means the verifier's. With `cases`, CPU time and elapsed time are those of
            each case; with `tests`, those of all calls together, and again of the tests.
    """

    id: str
    sol: str
    entry_point: str
    tests: str | None = None
    cases: Sequence[tuple[Sequence[Any], Mapping[str, Any], Any]] | None = None
    prelude: str = ""
    compare: str = "exact"
    checker: str | None = None
    isolation: str = "process"
    all_cases: bool = False
    limits: Limits | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the task as plain data."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, slots=True)
class StdioTask:
    """A program to judge by what it writes to standard output.

    Each case runs in a process as good as new. What is expected never enters that process.

    Attributes:
        id: Any string; the verdict has it too. Need not be unique.
        sol: Source of the program, which runs as ``__main__``.
        cases: Standard input and expected standard output of each case.
        compare: How output is compared with what is expected (`selftaught.sandbox.comparison`).
        checker: Source of ``check(input, output, expected) -> bool | float``, which judges each case in place of
            `compare`, in a process of its own. All three are strings.
        all_cases: Judge every case, also after one has failed.
        limits: Of each case, for this task alone; ``None`` means the verifier's.
    """

    id: str
    sol: str
    cases: Sequence[tuple[str, str]]
    compare: str = "lines"
    checker: str | None = None
    all_cases: bool = False
    limits: Limits | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the task as plain data."""
        return dataclasses.asdict(self)


AnyTask: TypeAlias = Task | FunctionTask | StdioTask
"""What a verifier judges."""
