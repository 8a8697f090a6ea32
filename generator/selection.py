"""Which verified solutions are kept, how they are weighted, and how a solution is adapted to another puzzle."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Sequence

from selftaught.generator import puzzle as puzzles
from selftaught.generator.puzzle import Puzzle, canonical, exact


def choose(solutions: Iterable[str], keep: int, diverse: bool) -> list[str]:
    """Return distinct solutions, shortest first.

    Args:
        solutions: Solutions that parse (see `selftaught.generator.prompts.read_solution`). Two are distinct if they
            differ in more than names.
        keep: Maximum number.
        diverse: Return one of each canonical form before a second one of any form.
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
    """Return the weight of a puzzle's pairs, ``4 p (1 - p)``.

    The pass rate p is estimated by Laplace's rule. The weight is 1 for a puzzle that is solved half the time and
    approaches 0 for one that is always or never solved.
    """
    rate = (passes + 1) / (attempts + 2)
    return 4 * rate * (1 - rate)


def transplant(body: str, written_for: Puzzle, puzzle: Puzzle) -> str | None:
    """Return the body of a solution of another puzzle as a solution of this one; ``None`` if it doesn't parse.

    Arguments that both puzzles have take this puzzle's values. Those of the other puzzle only are assigned first if the
    body reads them.

    Args:
        body: What follows the signature of the other solution.
        written_for: The other puzzle.
        puzzle: This puzzle.
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
    """Return `some` indices spread evenly over `total`."""
    return range(total) if total <= some else [place * total // some for place in range(some)]
