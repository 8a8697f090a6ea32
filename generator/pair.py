"""Pairs of puzzle and solution to train on, from any file that has them with their verdicts."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from selftaught.generator import example, puzzle
from selftaught.generator.puzzle import NotAPuzzle
from selftaught.sandbox import records
from selftaught.sandbox.records import Unreadable
from selftaught.sandbox.records.omissions import Omissions

_ACCEPTED = "accepted"
UNVERIFIED = "it has no verdict: judge it first with `selftaught verify FILE -o VERDICTS`, and train on VERDICTS"


@dataclass(frozen=True, slots=True)
class Pair:
    """A verified pair.

    Attributes:
        id: Digest of puzzle and solution with names normalised.
        puzzle: ``def f(...)``.
        solution: ``def g(...)``.
        weight: Weight in training.
    """

    id: str
    puzzle: str
    solution: str
    weight: float = 1.0


def read(sources: Iterable[str], omissions: Omissions, *, unverified: bool = False) -> list[Pair]:
    """Return the accepted pairs of files, each once.

    A record has ``sat`` and ``sol``, or ``puzzle`` and ``solution``, and its verdict: ``status``, as `selftaught
    verify` writes it, or ``judgement``, as `selftaught generate` does.

    Args:
        sources: Files, see `selftaught.sandbox.records.rows`.
        omissions: Where records are noted that are no accepted pairs.
        unverified: Take pairs with any verdict or none: for controls.

    Raises:
        Unreadable: A file can't be read to its end, or none of them has an accepted pair.
    """
    names = list(sources)
    for name in names:
        records.check(name)
    found: dict[str, Pair] = {}
    for name in names:
        for row in records.rows(name):
            if row.problem:
                omissions.add("it is no record", row.problem)
                continue
            status = _status(row.fields)
            if status != _ACCEPTED and not unverified:
                reason = UNVERIFIED if status is None else f"it was not accepted, but {status}"
                omissions.add(reason, row.place)
                continue
            try:
                pair = _pair(row.fields)
            except ValueError as error:
                omissions.add("it has no pair of puzzle and solution", f"{row.place}: {error}")
                continue
            if pair.id in found:
                omissions.add("the same pair was there before", row.place)
            found.setdefault(pair.id, pair)
    if not found:
        raise Unreadable("\n".join([f"there is no accepted pair in {', '.join(names)}", *omissions.lines()]))
    return list(found.values())


def _status(fields: Mapping[str, Any]) -> str | None:
    """Return the status of the record's verdict, or ``None`` if it has none."""
    judgement = fields.get("judgement")
    status = fields.get("status", judgement.get("status") if isinstance(judgement, dict) else None)
    return status if isinstance(status, str) else None


def _pair(fields: Mapping[str, Any]) -> Pair:
    """Return the pair in a record, with the names of the paper's format. Raises ValueError."""
    sat, sol = puzzle.rename(records.text(fields, "sat"), {"sat": "f"}), _solution(records.text(fields, "sol"))
    weight = fields.get("weight")
    number = float(weight) if isinstance(weight, int | float) and not isinstance(weight, bool) else 1.0
    return Pair(example.pair_id(sat, sol), sat, sol, number)


def _solution(source: str) -> str:
    """Return a solution as the function ``g``: it may be ``sol``, or an expression. Raises NotAPuzzle."""
    renamed = puzzle.rename(source.strip(), {"sol": "g"})
    body = puzzle.tree(renamed).body
    if len(body) == 1 and isinstance(body[0], ast.Expr):
        return f"def g():\n    return {renamed}"
    if not any(isinstance(node, ast.FunctionDef) and node.name == "g" for node in body):
        raise NotAPuzzle("parses", "the solution has no function sol or g")
    return renamed
