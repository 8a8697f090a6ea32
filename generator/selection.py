"""Which verified solutions of a puzzle are kept, what they weigh, and what failed ones may still be good for."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Sequence

from selftaught.generator import puzzle as puzzles
from selftaught.generator.puzzle import Puzzle, canonical, exact


def choose(solutions: Iterable[str], keep: int, diverse: bool) -> list[str]:
    """Up to `keep` distinct solutions, shortest first. diverse: one of each canonical form before a second of any.

    Distinct means not equal after renaming; every solution must parse (see `selftaught.generator.prompts.read_solution`).
    """
    ordered = sorted(set(solutions), key=lambda solution: (len(solution), solution))
    distinct = list({exact(solution): solution for solution in reversed(ordered)}.values())[::-1]
    if diverse:
        seen: dict[str, int] = {}
        rank = {}
        for solution in distinct:
            form = canonical(solution)
            rank[solution] = seen[form] = seen.get(form, -1) + 1
        distinct.sort(key=lambda solution: rank[solution])  # stable: shortest first among equals
    return distinct[:keep]


def learnability(passes: int, attempts: int) -> float:
    """The weight of a puzzle's pairs, ``4 p (1 - p)`` with the pass rate p estimated by Laplace's rule: 1 for a puzzle that is
    solved half the time, towards 0 for one that is always or never solved."""
    rate = (passes + 1) / (attempts + 2)
    return 4 * rate * (1 - rate)


def transplant(body: str, written_for: Puzzle, puzzle: Puzzle) -> str | None:
    """A solution of `puzzle` with the body of a failed solution of another; ``None`` if it doesn't parse.

    Arguments that both puzzles have take this puzzle's values; what the body uses of the other's alone is assigned first.
    """
    names = {name for name, _ in puzzle.defaults}
    try:
        used = {node.id for node in ast.walk(puzzles.tree(f"def g():{body}")) if isinstance(node, ast.Name)}
        lacking = [f"{name} = {value}" for name, value in written_for.defaults if name in used - names]
        if lacking:
            indent = re.match(r"\s*\n([ \t]+)", body)
            space = indent[1] if indent else "    "
            rest = body[indent.end() :] if indent else body.strip()
            body = "".join(f"\n{space}{line}" for line in [*lacking, rest])
        solution = f"def g({puzzle.parameters}):{body}"
        puzzles.tree(solution)
    except puzzles.NotAPuzzle:
        return None
    return solution


def evenly_spaced(total: int, some: int) -> Sequence[int]:
    """`some` places evenly spread over `total`."""
    return range(total) if total <= some else [place * total // some for place in range(some)]
