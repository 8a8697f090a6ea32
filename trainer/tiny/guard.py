"""Keeps held-out puzzles out of what the model writes and is trained on.

Two rules on syntax trees in which names do not matter:

* constants: a puzzle with the *template* of a held-out one (its form with all constants and parameters abstracted) must
not share a
  constant of two or more digits or characters with it;
* compositions: no part of a puzzle may be a held-out composition of operations.

A puzzle that equals a held-out one up to names breaks one of the two.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from selftaught.generator.novelty import HeldOut
from selftaught.trainer import heldout


class _Shape(ast.NodeTransformer):
    """Renames the answer to `x`, and parameters and constants to `v`; names of functions stay."""

    def __init__(self, answer: str, parameters: set[str]) -> None:
        self._names = {answer: "x"} | dict.fromkeys(parameters - {answer}, "v")

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Name(self._names.get(node.id, node.id), ast.Load())

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        return ast.Name("v", ast.Load())

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        if isinstance(node.operand, ast.Constant):
            return ast.Name("v", ast.Load())
        return ast.UnaryOp(node.op, self.visit(node.operand))

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        """Sort both sides of `==`."""
        sides = [self.visit(side) for side in (node.left, *node.comparators)]
        if len(sides) == 2 and isinstance(node.ops[0], ast.Eq):
            sides.sort(key=ast.dump)
        return ast.Compare(sides[0], node.ops, sides[1:])


class Form:
    """The parts of a puzzle that the rules compare. Raises SyntaxError or ValueError for what is no puzzle."""

    def __init__(self, sat: str) -> None:
        function = ast.parse(sat).body[0]
        if not isinstance(function, ast.FunctionDef) or not function.args.args:
            raise ValueError("a puzzle is a function with an answer")
        answer, *parameters = function.args.args
        kind = ast.unparse(answer.annotation) if answer.annotation else ""
        shape = _Shape(answer.arg, {parameter.arg for parameter in parameters})
        self.constants = frozenset(_constants([*function.args.defaults, *function.body]))
        statements = [shape.visit(statement) for statement in function.body]
        self.template = f"{kind}: {' '.join(ast.dump(statement) for statement in statements)}"
        self.parts = frozenset(
            f"{kind}: {ast.dump(node)}" for statement in statements for node in ast.walk(statement) if _composed(node)
        )


def _constants(nodes: Iterable[ast.AST]) -> Iterable[str]:
    """Yield constants of two or more digits or characters, without signs; a list of constants is one."""
    for node in nodes:
        if isinstance(node, ast.Constant):
            if len(str(node.value)) > 1:
                yield repr(node.value)
        elif isinstance(node, (ast.List, ast.Tuple)) and all(
            isinstance(item, (ast.Constant, ast.UnaryOp)) for item in node.elts
        ):
            yield ast.unparse(node)
        else:
            yield from _constants(ast.iter_child_nodes(node))


def _composed(node: ast.AST) -> bool:
    """Return True for an expression that contains the answer and is more than the answer."""
    if not isinstance(node, ast.expr) or isinstance(node, (ast.Name, ast.Compare, ast.BoolOp)):
        return False
    return any(isinstance(part, ast.Name) and part.id == "x" for part in ast.walk(node))


@lru_cache(1 << 16)
def form(sat: str) -> Form | None:
    """Return the form of a puzzle, or ``None`` for what is no puzzle."""
    try:
        return Form(sat)
    except (SyntaxError, ValueError, RecursionError):
        return None


class Guard:
    """Checks puzzles against a held-out set.

    Args:
        heldout: Records with `sat` and `half` (see `selftaught.trainer.heldout`).
    """

    def __init__(self, heldout: Iterable[dict[str, Any]]) -> None:
        self._constants: dict[str, set[str]] = defaultdict(set)
        self._compositions: set[str] = set()
        for record in heldout:
            form = Form(record["sat"])
            if record["half"] == "compositions":
                self._compositions.add(max(form.parts, key=len))
            else:
                self._constants[form.template] |= form.constants

    def breaks(self, sat: str) -> str | None:
        """Return the rule that a puzzle breaks, or ``None``.

        Returns:
            ``constants``, ``compositions``, or ``unreadable`` for what can't be parsed; ``None`` for a puzzle that may
            be used.
        """
        looked = form(sat)
        if looked is None:
            return "unreadable"
        if looked.parts & self._compositions:
            return "compositions"
        return "constants" if looked.constants & self._constants.get(looked.template, set()) else None

    def allows(self, sat: str) -> bool:
        """Return True if the puzzle breaks no rule."""
        return self.breaks(sat) is None


class TinyHeldOut(HeldOut):
    """The bundled held-out set with this module's rules; the canonical form alone would refuse every template of the
    corpus."""

    def __init__(self) -> None:
        records = heldout.records("machine")
        super().__init__(record["sat"] for record in records)
        self._guard = Guard(records)

    def reason(self, source: str) -> str:
        """Return the rule that the puzzle breaks; empty if it breaks none."""
        return self._guard.breaks(source) or ""


class MachineHeldOut(HeldOut):
    """The bundled held-out set for models that were not made from the corpus, which may write parts of a composition:
    what is held out are the canonical forms of the compositions, and the templates with their constants."""

    def __init__(self) -> None:
        records = heldout.records("machine")
        super().__init__(record["sat"] for record in records if record["half"] == "compositions")
        self._all = HeldOut(record["sat"] for record in records)
        self._constants = Guard(record for record in records if record["half"] != "compositions")

    @property
    def digest(self) -> str:
        """Digest of the set."""
        return self._all.digest

    def reason(self, source: str) -> str:
        """Return why a puzzle is held out; empty if it is not. What this module can't read is compared by canonical
        form. Raises NotAPuzzle."""
        broken = self._constants.breaks(source)
        if broken == "unreadable":
            return self._all.reason(source)
        return super().reason(source) or ("it is a held-out puzzle, names aside" if broken else "")


def machine(name: str) -> HeldOut:
    """Return the set for the generator: the entry point ``machine`` of the group ``selftaught.held_out``."""
    return MachineHeldOut()
