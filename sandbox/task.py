"""What is asked: a puzzle, a solution, and the limits under which they run."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

MIB = 1 << 20
MOST_SECONDS, MOST_BYTES = 86_400, (1 << 48) - 1
"""What a limit may be at most."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one *phase* of a judgement may use; a judgement has two phases (see `Task`).

    cpu_seconds: CPU time of the phase, user plus system. This is the limit that decides.
    wall_seconds: elapsed time, a looser backstop for code that sleeps; ``None`` means
        ``10 * cpu_seconds + 1``, so that an honest solution on a machine that is eight times
        oversubscribed is still judged by its CPU time.
    memory_bytes: what the phase may allocate beyond the warm interpreter.
    answer_bytes: size of the encoded answer (see `selftaught.sandbox.codec`).
    output_bytes: what may be written to standard output and standard error together.

    Raises ValueError for a limit that is not a positive, finite number.
    """

    cpu_seconds: float = 1.0
    wall_seconds: float = None  # type: ignore[assignment]  # filled in below: readers always see a float
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
        if not (a_number and 0 < value <= most):  # which NaN is not
            raise ValueError(f"{name} must be a number {unit} above 0 and at most {most:,}, not {value!r}")

    def to_tuple(self) -> tuple[float, float, int, int, int]:
        """The limits in the order of the fields."""
        return self.cpu_seconds, self.wall_seconds, self.memory_bytes, self.answer_bytes, self.output_bytes

    def to_dict(self) -> dict[str, Any]:
        """The limits as plain data, ready for JSON."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, slots=True)
class Task:
    """A puzzle and a solution to judge.

    id: any string; it comes back in the verdict. Need not be unique.
    sat: source of the puzzle, ``def sat(answer: T, ...defaults) -> bool`` (or ``f``, as in the paper).
    sol: source of the solution, ``def sol(...defaults): ...`` (or ``g``), or a bare expression.
        It may call the puzzle, which runs before it in the same process.
    limits: for this task alone; ``None`` means the verifier's.

    Phase ``sol`` runs the solution and takes its answer; phase ``sat``, in a fresh process that
    never sees the solution, asks the puzzle about that answer. A task accepts any field values:
    what cannot be judged comes back as a verdict with status ``invalid``.
    """

    id: str
    sat: str
    sol: str
    limits: Limits | None = None

    def to_dict(self) -> dict[str, Any]:
        """The task as plain data, ready for JSON."""
        return dataclasses.asdict(self)
