"""A verified pair of puzzle and solution with its provenance, and its JSON Lines format."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import IO, Any

import orjson

from selftaught.generator import puzzle as puzzles
from selftaught.generator.puzzle import canonical, exact
from selftaught.sandbox import Verdict, records
from selftaught.sandbox.records import Unreadable


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a text was sampled from a model.

    A derived puzzle (see `selftaught.generator.derivation`) has no model: `model` is empty, and `parents` is one puzzle
    (the same with another target) or two (chained).

    Attributes:
        model: The model's name.
        model_digest: Digest of its weights.
        prompt_sha256: SHA-256 of the whole prompt.
        temperature: Sampling temperature.
        top_p: Nucleus sampling threshold.
        max_new_tokens: Maximum number of tokens.
        seed: Random seed of the call.
        attempt: Index of the sample among those of its prompt, from 0.
        parents: Ids of the puzzles in the prompt.
        top_k: Number of likeliest tokens that were sampled from (0: all).
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
    top_k: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one filter.

    Attributes:
        filter: One of `selftaught.generator.candidate.STAGES`.
        outcome: ``passed``, ``refused`` or ``exempt`` (failed, but chosen at random to stay).
        score: A similarity or share if the filter computes one, else 0.
        detail: An explanation, or empty.
    """

    filter: str
    outcome: str
    score: float = 0.0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict on a pair, with its cost. `verifier` names program, version, interpreter and engine."""

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
        """Return the fields of a verdict that are recorded."""
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

    Attributes:
        id: Digest of puzzle and solution with names normalised.
        puzzle: ``def f(...)``.
        solution: ``def g(...)``.
        answer_type: The annotation of the answer as in P3 (``List[int]``).
        puzzle_id: Digest of the puzzle with names normalised.
        template: Digest of the puzzle's canonical form.
        cluster: The cluster of near-duplicates that the puzzle belongs to.
        attempts: Attempts at this puzzle in this run.
        passes: Accepted ones among them.
        weight: Weight in training (see `selftaught.generator.selection.learnability`).
        borrowed_from: Id of the puzzle that the solution was written for, if that is another one; else empty.
        recipe: Name of the recipe.
        iteration: Iteration of the loop, from 1 (0: no loop).
        puzzle_sampling: How the puzzle was sampled.
        solution_sampling: How the solution was sampled.
        filters: The outcome of every filter.
        judgement: The verdict.
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
        """The training text: puzzle, blank line, solution, and the assertion that it is right."""
        return training_text(self.puzzle, self.solution)

    def to_dict(self) -> dict[str, Any]:
        """Return the example as plain data, with its `text`; every field has one type, so that `datasets` can load
        it."""
        return {**dataclasses.asdict(self), "text": self.text}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Example:
        """Return the example of such a dict; other fields are ignored.

        Raises:
            KeyError, TypeError, ValueError: The dict is no example.
        """
        known = {one.name: fields[one.name] for one in dataclasses.fields(cls)}
        known["puzzle_sampling"] = Sampling(**known["puzzle_sampling"])
        known["solution_sampling"] = Sampling(**known["solution_sampling"])
        known["filters"] = [Outcome(**outcome) for outcome in known["filters"]]
        known["judgement"] = Judgement(**known["judgement"])
        return cls(**known)


def training_text(puzzle: str, solution: str, annotated: bool = False) -> str:
    """Return a pair in the paper's format; with what both functions return in their signatures if `annotated`."""
    if annotated:
        solution = puzzles.annotated(solution, "g", puzzles.parse(puzzle))
    return f"{text_of_puzzle(puzzle, annotated)}\n\n{solution}\n\nassert f(g())"


def text_of_puzzle(puzzle: str, annotated: bool = False) -> str:
    """Return the puzzle's part of a training text."""
    return puzzles.returning(puzzle, "bool") if annotated else puzzle


def digest(*parts: str) -> str:
    """Return the first 16 hexadecimal digits of a SHA-256 of texts."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def puzzle_id(puzzle: str) -> str:
    """Return a digest that is equal for puzzles that differ in names only. Raises NotAPuzzle."""
    return digest(exact(puzzle))


def pair_id(puzzle: str, solution: str) -> str:
    """Return a digest that is equal for pairs that differ in names only. Raises NotAPuzzle."""
    return digest(exact(puzzle), exact(solution))


def template(puzzle: str) -> str:
    """Return a digest that is equal for puzzles that differ in names and constants only. Raises NotAPuzzle."""
    return digest(canonical(puzzle))


def write(example: Example, out: IO[bytes]) -> None:
    """Append an example as one line, and flush it."""
    # orjson writes dataclasses itself, much faster than `to_dict` copies them
    fields = {one.name: getattr(example, one.name) for one in dataclasses.fields(example)}
    out.write(orjson.dumps({**fields, "text": example.text}) + b"\n")
    out.flush()


def read(path: Path) -> Iterator[Example]:
    """Yield the examples of a file that `write` wrote. Raises Unreadable, with the line that is none."""
    for row in records.rows(str(path), may_be_empty=True):
        if row.problem:
            raise Unreadable(row.problem)
        try:
            yield Example.from_dict(row.fields)
        except (ValueError, KeyError, TypeError) as error:
            raise Unreadable(f"{row.place}: no example: {error}") from error


def distinct(paths: Iterable[Path]) -> Iterator[Example]:
    """Yield the examples of several files (see `read`), each id once: the first that has it."""
    seen: set[str] = set()
    for one in chain.from_iterable(map(read, paths)):
        if one.id not in seen:
            seen.add(one.id)
            yield one
