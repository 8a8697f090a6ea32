"""Harder puzzles out of solved ones: two are chained, so that what one asks for is what the other starts from.

``return E(x) == a`` is solved by ``A(a)``, ``return F(y) == b`` by ``B(b)``; then ``return F(E(x)) == c`` may be solved by ``A(B(c))``, where
c is what F makes of a. That is a guess, made on syntax trees and no more: the verifier runs F, and says whether the solution is right, and
the puzzle meets the same filters as a written one.
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
"""Share of chained puzzles whose target stands on the left."""


@dataclass(frozen=True, slots=True)
class Link:
    """A solved puzzle that can be part of a chain. form: digest of its types and expression. answer: what the solution
    returns. size: nodes of expression and answer."""

    asked: Equation
    form: str
    answer: ast.expr
    size: int

    @property
    def argument(self) -> str:
        """The name of its answer."""
        return self.asked.puzzle.argument


@dataclass(frozen=True, slots=True)
class Chain:
    """Two links, whose target is not known before `program` has printed it."""

    inner: Link
    outer: Link

    @property
    def parents(self) -> list[str]:
        """The ids of both puzzles, the inner first."""
        return [example.puzzle_id(link.asked.puzzle.source) for link in (self.inner, self.outer)]

    @property
    def program(self) -> str:
        """Prints the target; for the verifier to run."""
        return self.outer.asked.program(ast.parse(repr(self.inner.asked.value), mode="eval").body)


class Links:
    """The links found so far, and how their puzzles call parameters."""

    def __init__(self) -> None:
        self._by_form: dict[str, list[Link]] = defaultdict(list)
        self._names: dict[Type, Counter[str]] = defaultdict(Counter)

    def add(self, puzzle: Puzzle, solutions: Sequence[str]) -> None:
        """Take a solved puzzle, with the shortest of its solutions, if it can be a link."""
        found = _link(puzzle, min(solutions, key=lambda solution: (len(solution), solution)))
        if found is None:
            return
        self._by_form[found.form].append(found)
        for name, source in puzzle.defaults:
            if kind := equation.kind(source):
                self._names[kind][name] += 1

    def chains(self, most: int, rng: random.Random) -> Iterator[Chain]:
        """Up to `most` chains, spread evenly over the pairs of forms whose types fit, simple pairs before others."""
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
        """The chained puzzle ``f`` with its target, and the guess at its solution ``g``; None if what was printed is no short
        plain value, or if nobody knows how to call a parameter."""
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
        """For each parameter the most usual name of its type that is still free."""
        named = [argument]
        for source in sources:
            kind = equation.kind(source)
            free = [name for name, _ in self._names[kind].most_common() if name not in named] if kind else []
            if not free:
                return None
            named.append(free[0])
        return named[1:]


def _link(puzzle: Puzzle, solution: str) -> Link | None:
    """A solved puzzle as a link; None if puzzle or solution has another shape."""
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
