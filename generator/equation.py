"""Puzzles of the form ``return expression == target`` (or reversed), whose target can be changed to one with a known
answer."""

from __future__ import annotations

import ast
import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from selftaught.generator import answers
from selftaught.generator import puzzle as puzzles
from selftaught.generator.answers import Type
from selftaught.generator.puzzle import NotAPuzzle, Puzzle

TARGET = 30
"""Maximum length of a new target, in characters."""
UNREADABLE = (ValueError, TypeError, SyntaxError, MemoryError, RecursionError)


@dataclass(frozen=True, slots=True)
class Equation:
    """A puzzle that compares an expression of its answer with a parameter.

    Attributes:
        puzzle: The puzzle.
        expression: The expression; it reads the answer.
        target: The parameter that it must equal; nothing else reads it.
        value: The target's value.
        others: The parameters that the expression reads, with the sources of their values.
    """

    puzzle: Puzzle
    expression: ast.expr
    target: str
    value: Any
    others: dict[str, str]

    def program(self, answer: ast.expr, before: str = "") -> str:
        """Return a program that prints the expression's value for an answer. Only the verifier may run it."""
        names = {name: ast.parse(source, mode="eval").body for name, source in self.others.items()}
        computed = substitute(self.expression, {**names, self.puzzle.argument: answer})
        return f"{before}\nprint(repr({ast.unparse(computed)}))"

    def value_program(self, solution: str) -> str:
        """Return a program that prints the expression's value for a solution's answer. Only the verifier may run it."""
        return self.program(ast.Call(ast.Name("g"), [], []), solution)

    def with_target(self, printed: str) -> str | None:
        """Return the puzzle's source with another target.

        Args:
            printed: The `repr` of the new target.

        Returns:
            The source, or ``None`` if `printed` is no short plain value of the target's type.
        """
        if not plain(printed) or kind(printed) != answers.type_of(self.value):
            return None
        parameters = ((name, printed if name == self.target else source) for name, source in self.puzzle.defaults)
        return self.puzzle.source.replace(
            self.puzzle.parameters, ", ".join(f"{name}={source}" for name, source in parameters), 1
        )


def read(puzzle: Puzzle) -> Equation | None:
    """Return the puzzle as an equation, or ``None`` if it has another form."""
    compared, defaults = returned_expression(puzzle.source), dict(puzzle.defaults)
    if not isinstance(compared, ast.Compare) or len(compared.ops) != 1 or not isinstance(compared.ops[0], ast.Eq):
        return None
    for target, expression in ((compared.left, compared.comparators[0]), (compared.comparators[0], compared.left)):
        found = names(expression)
        if isinstance(target, ast.Name) and target.id in defaults.keys() - found and puzzle.argument in found:
            try:
                value = ast.literal_eval(defaults[target.id])
            except UNREADABLE:
                return None
            others = {name: source for name, source in defaults.items() if name in found}
            return Equation(puzzle, expression, target.id, value, others)
    return None


def returned_expression(source: str) -> ast.expr | None:
    """Return the expression of a function that is a single `return`; ``None`` for any other source."""
    try:
        (function,) = puzzles.tree(source).body
    except (NotAPuzzle, ValueError):
        return None
    if isinstance(function, ast.FunctionDef) and len(function.body) == 1 and isinstance(function.body[0], ast.Return):
        return function.body[0].value
    return None


def reads(solution: str, name: str) -> bool:
    """Return True if a function's body reads a name."""
    (function,) = puzzles.tree(solution).body
    return isinstance(function, ast.FunctionDef) and any(name in names(statement) for statement in function.body)


def plain(printed: str) -> bool:
    """Return True if a text is the `repr` of a short plain value."""
    try:
        return len(printed) <= TARGET and repr(ast.literal_eval(printed)) == printed
    except UNREADABLE:
        return False


def kind(source: str) -> Type | None:
    """Return the type of a literal, or ``None`` if it has none."""
    try:
        return answers.type_of(ast.literal_eval(source))
    except UNREADABLE:
        return None


def names(node: ast.AST) -> set[str]:
    """Return the names in an expression."""
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}


class _Put(ast.NodeTransformer):
    def __init__(self, names: Mapping[str, ast.expr]) -> None:
        self._names = names

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return copy.deepcopy(self._names.get(node.id, node))


def substitute(expression: ast.expr, names: Mapping[str, ast.expr]) -> ast.expr:
    """Return a copy of the expression with names replaced by expressions."""
    made = _Put(names).visit(copy.deepcopy(expression))
    assert isinstance(made, ast.expr)
    return made
