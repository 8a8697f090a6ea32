"""Compose two solved equations into a harder one.

``return E(x) == a`` is solved by ``A(a)``, and ``return F(y) == b`` by ``B(b)``. Then ``return F(E(x)) == c`` may be
solved by ``A(B(c))``, where c is F of a. Both are built from syntax trees only, so the solution is a guess. The
verifier runs F to compute c, the solution is verified like any other, and the puzzle passes through the same filters as
one that a model wrote.
"""

from __future__ import annotations

import ast
import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from selftaught.generator import answers, equation, example
from selftaught.generator.answers import Type
from selftaught.generator.equation import Equation, substitute
from selftaught.generator.puzzle import NotAPuzzle, Puzzle

_REVERSED = 0.15
"""Share of chained puzzles whose target is on the left of ``==``."""


@dataclass(frozen=True, slots=True)
class Link:
    """A solved equation that can be part of a chain.

    Attributes:
        asked: The equation.
        form: Digest of its types and its expression.
        answer: The expression that the solution returns.
        size: Number of syntax tree nodes of expression and answer.
    """

    asked: Equation
    form: str
    answer: ast.expr
    size: int

    @property
    def argument(self) -> str:
        """The name of the answer's argument."""
        return self.asked.puzzle.argument


@dataclass(frozen=True, slots=True)
class Chain:
    """Two links. The target of the chained puzzle is what `program` prints."""

    inner: Link
    outer: Link

    @property
    def parents(self) -> list[str]:
        """The ids of both puzzles, the inner one first."""
        return [example.puzzle_id(link.asked.puzzle.source) for link in (self.inner, self.outer)]

    @property
    def program(self) -> str:
        """A program that prints the target. Only the verifier may run it."""
        return self.outer.asked.program(ast.parse(repr(self.inner.asked.value), mode="eval").body)


class Links:
    """The links found so far, and the parameter names that their puzzles use."""

    def __init__(self) -> None:
        self._by_form: dict[str, list[Link]] = defaultdict(list)
        self._names: dict[Type, Counter[str]] = defaultdict(Counter)

    def add(self, puzzle: Puzzle, solutions: Sequence[str]) -> None:
        """Add a solved puzzle with the shortest of its solutions, if both have the shape of a link."""
        found = _link(puzzle, min(solutions, key=lambda solution: (len(solution), solution)))
        if found is None:
            return
        self._by_form[found.form].append(found)
        for name, source in puzzle.defaults:
            if kind := equation.kind(source):
                self._names[kind][name] += 1

    def chains(self, most: int, rng: random.Random) -> Iterator[Chain]:
        """Yield chains, spread evenly over the pairs of forms whose types fit, small forms first.

        Args:
            most: Maximum number of chains.
            rng: Source of randomness.
        """
        fitting = []
        for inner in self._by_form.values():
            for outer in self._by_form.values():
                kind = answers.read_type(outer[0].asked.puzzle.annotation)
                if kind and answers.fits(inner[0].asked.value, kind):
                    size = min(one.size for one in inner) + min(one.size for one in outer)
                    fitting.append((size, rng.random(), inner, outer))
        fitting.sort(key=lambda pair: pair[:2])
        for number in range(most if fitting else 0):
            _, _, inner, outer = fitting[number % len(fitting)]
            yield Chain(rng.choice(inner), rng.choice(outer))

    def complete_chain(self, chain: Chain, printed: str, rng: random.Random) -> tuple[str, str] | None:
        """Return the chained puzzle ``f`` and the guess at its solution ``g``.

        Args:
            chain: The chain.
            printed: What `Chain.program` printed: the target.
            rng: Source of randomness.

        Returns:
            Puzzle and solution, or ``None`` if the target is no short plain value or no name is left for a parameter.
        """
        inner, outer = chain.inner, chain.outer
        if not equation.plain(printed):
            return None
        sources = {(0, name): source for name, source in inner.asked.others.items()}
        sources |= {(1, name): source for name, source in outer.asked.others.items()} | {
            (1, outer.asked.target): printed
        }
        order = list(sources)
        rng.shuffle(order)
        named = self._named([sources[key] for key in order], inner.argument)
        if named is None:
            return None
        head = ", ".join(f"{name}={sources[key]}" for key, name in zip(order, named, strict=True))
        new: tuple[dict[str, ast.expr], dict[str, ast.expr]] = ({}, {})
        for (part, name), other in zip(order, named, strict=True):
            new[part][name] = ast.Name(other)
        inside = substitute(inner.asked.expression, new[0])
        sides = [substitute(outer.asked.expression, {**new[1], outer.argument: inside}), new[1][outer.asked.target]]
        if rng.random() < _REVERSED:
            sides.reverse()
        asked = ast.unparse(ast.Compare(sides[0], [ast.Eq()], [sides[1]]))
        answer = ast.unparse(substitute(inner.answer, {**new[0], inner.asked.target: substitute(outer.answer, new[1])}))
        puzzle = f"def f({inner.argument}: {inner.asked.puzzle.annotation}, {head}):\n    return {asked}"
        return puzzle, f"def g({head}):\n    return {answer}"

    def _named(self, sources: Sequence[str], argument: str) -> list[str] | None:
        """Return the most frequent unused name of its type for each parameter, or ``None`` if one has none."""
        named = [argument]
        for source in sources:
            kind = equation.kind(source)
            free = [name for name, _ in self._names[kind].most_common() if name not in named] if kind else []
            if not free:
                return None
            named.append(free[0])
        return named[1:]


def _link(puzzle: Puzzle, solution: str) -> Link | None:
    """Return a solved puzzle as a link, or ``None`` if puzzle or solution has another shape."""
    asked, answer = equation.read(puzzle), equation.returned_expression(solution)
    if asked is None or answer is None:
        return None
    used = equation.names(answer)
    if asked.target not in used or used & (dict(puzzle.defaults).keys() - asked.others.keys() - {asked.target}):
        return None
    head = ", ".join([puzzle.argument, *asked.others, "_"])
    try:
        form = example.template(f"def f({head}):\n    return {ast.unparse(asked.expression)}")
    except NotAPuzzle:
        return None
    size = sum(1 for part in (asked.expression, answer) for _ in ast.walk(part))
    return Link(asked, f"{puzzle.annotation} {answers.type_of(asked.value)} {form}", answer, size)
