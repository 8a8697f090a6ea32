"""Change solutions a little: mutants, most of which are wrong."""

from __future__ import annotations

import ast
import copy
import random
import warnings
from collections.abc import Callable, Iterator
from typing import Any

_OTHER: dict[type, Callable[[], Any]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitXor,
    ast.BitXor: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
"""What stands for an operator in a mutant."""


def mutants(source: str, name: str, number: int, seed: str) -> Iterator[str]:
    """Yield so many mutants of a source, or as many as there are, always the same.

    Args:
        source: A solution.
        name: A function of it, which alone is changed; all is if there is no such function.
        number: How many.
        seed: Decides which.
    """
    changes = list(_changes(source, name))
    random.Random(seed).shuffle(changes)
    seen = {ast.unparse(_parse(source))}
    for change in changes:
        tree = _parse(source)
        change(_part(tree, name))
        mutant = ast.unparse(ast.fix_missing_locations(tree))
        if mutant not in seen and number > 0:
            number -= 1
            seen.add(mutant)
            yield mutant


def _parse(source: str) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escape sequences
        return ast.parse(source)


def _part(tree: ast.Module, name: str) -> ast.AST:
    return next((one for one in tree.body if isinstance(one, ast.FunctionDef) and one.name == name), tree)


def _changes(source: str, name: str) -> Iterator[Callable[[ast.AST], None]]:
    """Yield functions each of which changes one node of a copy of the tree."""
    for index, node in enumerate(ast.walk(_part(_parse(source), name))):
        for variant in range(len(list(_variants(node)))):

            def change(part: ast.AST, index: int = index, variant: int = variant) -> None:
                node = list(ast.walk(part))[index]
                list(_variants(node))[variant]()

            yield change


def _variants(node: Any) -> Iterator[Callable[[], None]]:
    """Yield functions each of which changes this node in place."""

    def put(field: str, value: Any) -> Callable[[], None]:
        return lambda: setattr(node, field, value)

    if isinstance(node, (ast.BinOp, ast.BoolOp, ast.AugAssign)) and type(node.op) in _OTHER:
        yield put("op", _OTHER[type(node.op)]())
    elif isinstance(node, ast.Compare) and type(node.ops[0]) in _OTHER:
        yield put("ops", [_OTHER[type(node.ops[0])](), *node.ops[1:]])
    elif isinstance(node, ast.Constant):
        yield from (put("value", value) for value in _constants(node.value))
    elif isinstance(node, (ast.If, ast.While, ast.IfExp)):
        yield put("test", ast.UnaryOp(ast.Not(), node.test))
    elif isinstance(node, ast.Return) and node.value is not None:
        yield put("value", ast.Constant(None))
        yield put("value", ast.List([copy.deepcopy(node.value)], ast.Load()))
    elif isinstance(node, ast.Call) and len(node.args) > 1:
        yield put("args", node.args[::-1])
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range":
        yield put("args", [ast.BinOp(node.args[0], ast.Sub(), ast.Constant(1))])
    for field in ("body", "orelse"):
        block = getattr(node, field, None)
        if isinstance(block, list):
            for index, statement in enumerate(block):
                if not isinstance(statement, (ast.FunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)):
                    yield put(field, [*block[:index], ast.Pass(), *block[index + 1 :]])


def _constants(value: Any) -> list[Any]:
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, value - 1]
    if isinstance(value, float):
        return [value + 0.5]
    return [value + "x", ""] if isinstance(value, str) else []
