"""What is asked: a puzzle, a solution, and the limits under which they run."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """What one *phase* of a judgement may use; a judgement has two phases (see `Task`).

    cpu_seconds: CPU time of the phase, user plus system. This is the limit that decides.
    wall_seconds: elapsed time, a looser backstop for code that sleeps; ``None`` means
        ``10 * cpu_seconds + 1``, so that an honest solution on a machine that is eight times
        oversubscribed is still judged by its CPU time.
    memory_bytes: what the phase may allocate beyond the warm interpreter.
    answer_bytes: size of the encoded answer (see `sandbox.codec`).
    output_bytes: what may be written to standard output and standard error together.

    Raises ValueError for a limit that is not a positive, finite number.
    """

    cpu_seconds: float = 1.0
    wall_seconds: float = None  # type: ignore[assignment]  # filled in below: readers always see a float
    memory_bytes: int = 512 * MIB
    answer_bytes: int = 32 * MIB
    output_bytes: int = 1 * MIB

    def __post_init__(self) -> None:
        if self.wall_seconds is None:
            object.__setattr__(self, "wall_seconds", 10 * self.cpu_seconds + 1)
        for name in ("cpu_seconds", "wall_seconds"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise ValueError(f"{name} must be a number of seconds, not {value!r}")
            if not (math.isfinite(value) and 0 < value <= 86_400):
                raise ValueError(f"{name} must be above 0 and at most a day, not {value!r}")
        for name in ("memory_bytes", "answer_bytes", "output_bytes"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 1 << 48:
                raise ValueError(f"{name} must be a positive number of bytes, not {value!r}")

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


def problem_with(task: object) -> str:
    """Why this can't be judged, or nothing."""
    if not isinstance(task, Task):
        return f"not a Task but {type(task).__name__}"
    for name in ("id", "sat", "sol"):
        if not isinstance(getattr(task, name), str):
            return f"{name} must be a string, not {type(getattr(task, name)).__name__}"
    if task.limits is not None and not isinstance(task.limits, Limits):
        return f"limits must be Limits or None, not {type(task.limits).__name__}"
    if len(task.sat) + len(task.sol) > 1 << 26:
        return "the sources are longer than 64 Mi characters"
    return ""
