"""What is kept: a verified pair of puzzle and solution, with everything about how it came to be. JSONL in and out."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import orjson

from selftaught.generator.puzzle import canonical, exact
from selftaught.sandbox import Verdict


class Unreadable(ValueError):
    """A file of examples can't be read; the message says where and why."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a text was drawn from a model.

    model, model_digest: its name, and what changes with its weights. prompt_sha256: of the whole prompt. seed: of the call;
    attempt: which of the call's samples for this prompt, from 0. parents: ids of the puzzles that stood in the prompt.

    No model wrote a derived puzzle (see `selftaught.generator.derivation`): `model` is empty, and the parents are one puzzle, of which it is a copy
    with another target, or two that it chains.
    """

    model: str
    model_digest: str
    prompt_sha256: str
    temperature: float
    top_p: float
    max_new_tokens: int
    seed: int
    attempt: int
    parents: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a filter said of a puzzle. outcome: ``passed``, ``exempt`` (let through by lot) or ``off``. score: where it
    has one (a similarity, a share), else 0. detail: in words."""

    filter: str
    outcome: str
    score: float = 0.0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict on a pair, and what it cost; `verifier` is program, version, interpreter and engine."""

    status: str
    level: str
    verifier: str
    cpu_seconds: float
    wall_seconds: float
    peak_memory_bytes: int
    answer_sha256: str
    repeats: int = 1

    @classmethod
    def from_verdict(cls, verdict: Verdict, repeats: int = 1) -> Judgement:
        """The part of a verdict that is kept."""
        usage = verdict.usage
        return cls(
            str(verdict.status),
            verdict.level,
            verdict.verifier,
            usage.cpu_seconds,
            usage.wall_seconds,
            usage.peak_memory_bytes,
            verdict.answer_sha256 or "",
            repeats,
        )


@dataclass(frozen=True, slots=True)
class Example:
    """A verified pair.

    id: digest of puzzle and solution with names normalised. puzzle: ``def f(...)``. solution: ``def g(...)``. answer_type:
    as in P3. puzzle_id: the puzzle's own id; template: digest of its canonical form; cluster: of near-duplicates it
    belongs to. attempts, passes: of this puzzle in this run. weight: for training, from the pass rate (see
    `selftaught.generator.selection`). borrowed_from: id of the puzzle that the solution was written for (hindsight), or empty.
    """

    id: str
    puzzle: str
    solution: str
    answer_type: str
    puzzle_id: str
    template: str
    cluster: str
    attempts: int
    passes: int
    weight: float
    borrowed_from: str
    recipe: str
    iteration: int
    puzzle_sampling: Sampling
    solution_sampling: Sampling
    filters: list[Outcome]
    judgement: Judgement

    @property
    def text(self) -> str:
        """What a model is trained on: puzzle, blank line, solution, and the assertion that it is right."""
        return training_text(self.puzzle, self.solution)

    def to_dict(self) -> dict[str, Any]:
        """The example as plain data, with its `text`; every field has one type, so that `datasets` can load it."""
        return {**dataclasses.asdict(self), "text": self.text}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Example:
        """The opposite of `to_dict`. Raises KeyError, TypeError or ValueError for anything else."""
        known = {name: value for name, value in fields.items() if name != "text"}
        known["puzzle_sampling"] = Sampling(**known["puzzle_sampling"])
        known["solution_sampling"] = Sampling(**known["solution_sampling"])
        known["filters"] = [Outcome(**outcome) for outcome in known["filters"]]
        known["judgement"] = Judgement(**known["judgement"])
        return cls(**known)


def training_text(puzzle: str, solution: str) -> str:
    """The paper's format of a pair."""
    return f"{puzzle}\n\n{solution}\n\nassert f(g())"


def digest(*parts: str) -> str:
    """A short stable name for texts: 16 hexadecimal digits."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def puzzle_id(puzzle: str) -> str:
    """The same for the same puzzle with other names. Raises NotAPuzzle."""
    return digest(exact(puzzle))


def pair_id(puzzle: str, solution: str) -> str:
    """The same for the same pair with other names. Raises NotAPuzzle."""
    return digest(exact(puzzle), exact(solution))


def template(puzzle: str) -> str:
    """The same for puzzles that differ in names and constants at most. Raises NotAPuzzle."""
    return digest(canonical(puzzle))


def write(example: Example, out: IO[bytes]) -> None:
    """Append an example as one line, and flush it."""
    out.write(orjson.dumps(example.to_dict()) + b"\n")
    out.flush()


def read(path: Path) -> Iterator[Example]:
    """The examples of a file. Raises Unreadable."""
    with open(path, "rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield Example.from_dict(orjson.loads(line))
            except (ValueError, KeyError, TypeError) as error:
                raise Unreadable(f"{path}:{number}: no example: {error}") from error
