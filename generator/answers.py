"""Types of answers, and the trivial answers by which a puzzle must not be solved."""

from __future__ import annotations

import ast
import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from selftaught.generator import puzzle as puzzles
from selftaught.generator.puzzle import Puzzle

_SCALARS = {"int": int, "float": float, "str": str, "bool": bool}
_BOXES = {"List": list, "Set": set, "Tuple": tuple, "Dict": dict, "Optional": None}
_WORDS = (
    "",
    "a",
    "b",
    "ab",
    "aa",
    "A",
    "hello",
    "foo",
    "bar",
    "hello world",
    "test",
    " ",
    "0",
    "1",
    "abc",
    "cat",
    "dog",
)
_FLOATS = (0.0, 1.0, -1.0, 0.5, -0.5, 0.1, 2.0, -2.0, 3.0, 10.0, 100.0, 1.5, 0.01, 1e-6)
_MANY = 400
"""Maximum number of answers that are tried on a puzzle."""
_LITERAL = 2_000
"""Maximum length of all constants of a source together, in characters of their `repr`."""


@dataclass(frozen=True, slots=True)
class Type:
    """The type of an answer: a name as in P3 (``List``), and the types of its elements."""

    name: str
    inner: tuple[Type, ...] = ()

    def leaves(self) -> Iterator[str]:
        """Yield the names of the scalar types in it."""
        if not self.inner:
            yield self.name
        for one in self.inner:
            yield from one.leaves()

    def nested_lists_only(self) -> bool:
        """Return True for a scalar, and for lists (of lists ...) of one."""
        return self.name in _SCALARS if not self.inner else self.name == "List" and self.inner[0].nested_lists_only()


def read_type(annotation: str) -> Type | None:
    """Return the type that an annotation names, or ``None`` if it is not one of plain data."""
    try:
        return _read(ast.parse(annotation, mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _read(node: ast.expr) -> Type | None:
    if isinstance(node, ast.Name):
        return Type(node.id) if node.id in _SCALARS else None
    if not isinstance(node, ast.Subscript) or not isinstance(node.value, ast.Name) or node.value.id not in _BOXES:
        return None
    parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    name = node.value.id
    if name == "Tuple" and len(parts) == 2 and isinstance(parts[1], ast.Constant) and parts[1].value is ...:
        parts, name = parts[:1], "Tuple*"
    inner = [_read(part) for part in parts]
    wanted = {"Dict": 2, "Tuple": len(parts)}.get(name, 1)
    if len(parts) != wanted or None in inner:
        return None
    return Type(name, tuple(one for one in inner if one))


def type_of(value: Any) -> Type | None:
    """Return the type of a scalar or of lists of one type; ``None`` for anything else and for an empty list."""
    if type(value) in _SCALARS.values():
        return Type(type(value).__name__)
    if type(value) is not list:
        return None
    inner = {type_of(one) for one in value}
    only = inner.pop() if len(inner) == 1 else None
    return Type("List", (only,)) if only else None


def allowed(kind: Type | None, answer_types: str) -> bool:
    """Return True if a recipe accepts puzzles with answers of this type.

    Args:
        kind: The type; ``None`` is never accepted, nor is bool alone.
        answer_types: See `selftaught.generator.recipe.Recipe.answer_types`.
    """
    if kind is None or kind.name == "bool" or (kind.name == "Optional" and "bool" in kind.leaves()):
        return False
    return answer_types == "plain" or kind.nested_lists_only()


def paper_answers(kind: Type) -> list[Any]:
    """Return the trivial answers of a type that the paper's code tries (`get_trivial_tests` in ICLR2023/src/gen.py of
    microsoft/PythonProgrammingPuzzles); of types that it refuses, `small_answers`.

    A list of lists has its answers inside lists of one element.
    """
    if kind.name in _PAPER:
        return list(_PAPER[kind.name])
    if not kind.nested_lists_only():
        return small_answers(kind)
    leaf, depth = kind.inner[0], 1
    while leaf.inner:
        leaf, depth = leaf.inner[0], depth + 1
    made: list[Any] = [list(one) for size in range(3) for one in itertools.product(_PAPER_BASE[leaf.name], repeat=size)]
    for _ in range(depth - 1):
        made = [[one] for one in made]
    return made if [] in made else [*made, []]


_PAPER: dict[str, Iterable[Any]] = {
    "int": range(-10, 101),
    "str": ("cat", "dog", "aa", "ab", "foo", "bar", "baz", ""),
    "float": (-100.0, -10.0, -2.0, -1.0, -0.5, -0.1, 0.0, 0.1, 0.5, 1.0, 2.0, 10.0, 100.0),
    "bool": (True, False),
}
_PAPER_BASE: dict[str, tuple[Any, ...]] = {
    "int": (-3, -2, -1, 0, 1, 2, 3),
    "str": ("a", "b", "foo", "bar", "baz"),
    "bool": (True, False),
    "float": (-1.0, -0.1, 0.0, 0.1, 0.5, 1.0, 2.0),
}


def small_answers(kind: Type) -> list[Any]:
    """Return small answers of a type.

    These are ints from -10 to 100, short words, small floats, and lists of up to two elements of a small base.
    """
    if kind.name == "int":
        return list(range(-10, 101))
    if kind.name == "float":
        return list(_FLOATS)
    if kind.name == "str":
        return list(_WORDS)
    return list(itertools.islice(_built(kind, _BASE), _MANY))


_BASE: dict[str, list[Any]] = {
    "int": [0, 1, 2, -1, 3, 5, 10],
    "float": [0.0, 1.0, -1.0, 0.5],
    "str": ["", "a", "b", "hello", "foo"],
    "bool": [True, False],
}


def suggested_answers(puzzle: Puzzle, kind: Type) -> list[Any]:
    """Return trivial answers of a type, those that the puzzle itself suggests first.

    These are the puzzle's constants and defaults, values near them, parts and small collections of them, and
    `small_answers`.
    """
    lifted = list(_constants(puzzle.source))
    whole = [value for value in lifted if fits(value, kind)]
    changed = [other for value in whole for other in _near(value) if fits(other, kind)]
    base = {name: _unique([value for value in _scalars(lifted) if type(value) is _SCALARS[name]]) for name in _SCALARS}
    small = {name: [*base[name][:6], *_BASE[name][:3]] for name in _SCALARS}
    built = _built(kind, small) if kind.inner else iter(())
    leaves = [other for value in base.get(kind.name, []) for other in [value, *_near(value)]]
    return _unique([*whole, *changed, *leaves, *itertools.islice(built, _MANY // 2), *small_answers(kind)])[:_MANY]


def _built(kind: Type, base: dict[str, list[Any]]) -> Iterator[Any]:
    """Yield values of a type with up to two elements."""
    if kind.name in _SCALARS:
        yield from base[kind.name]
    elif kind.name == "Optional":
        yield None
        yield from _built(kind.inner[0], base)
    elif kind.name == "Tuple":
        columns = [list(itertools.islice(_built(one, base), 6)) for one in kind.inner]
        yield from itertools.islice(itertools.product(*columns), _MANY)
    elif kind.name == "Dict":
        keys, values = (list(itertools.islice(_built(one, base), 6)) for one in kind.inner)
        yield {}
        yield from ({key: value} for key in keys for value in values)
    else:
        box = {"List": list, "Set": set, "Tuple*": tuple}[kind.name]
        elements = list(itertools.islice(_built(kind.inner[0], base), 9))
        for length in range(3):
            for chosen in itertools.product(elements, repeat=length):
                if box is not set or all(_hashable(one) for one in chosen):
                    yield box(chosen)


def _near(value: Any) -> list[Any]:
    """Return values one simple operation away from a value."""
    if type(value) is int:
        return [value + 1, value - 1, -value, 2 * value, value // 2] if value.bit_length() < 4_000 else []
    if type(value) is float:
        return [value + 1, value - 1, -value, value / 2, 2 * value] if math.isfinite(value) else []
    if type(value) is str:
        return [value[::-1], value[:-1], value[1:], value.upper(), value.lower(), value * 2]
    if type(value) in (list, tuple):
        ends = [value[::-1], value[:-1], value[1:], value[:1]]
        return (
            [*ends, type(value)(sorted(value))] if len({type(one) for one in value} & {int, float, str}) == 1 else ends
        )
    return []


def _constants(source: str) -> Iterator[Any]:
    """Yield the literals of a source; a display comes before its elements."""
    left = _LITERAL
    for node in ast.walk(puzzles.tree(source)):
        if isinstance(node, (ast.Constant, ast.List, ast.Tuple, ast.Set, ast.Dict, ast.UnaryOp)):
            try:
                value = ast.literal_eval(node)
                left -= len(repr(value))
            except (ValueError, TypeError, RecursionError):
                continue
            if left >= 0:
                yield value


def _scalars(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        if type(value) is dict:
            yield from _scalars([*value, *value.values()])
        elif type(value) in (list, tuple, set):
            yield from _scalars(sorted(value, key=repr) if type(value) is set else value)
        elif type(value) in _SCALARS.values():
            yield value


def fits(value: Any, kind: Type) -> bool:
    """Return True if a value is exactly of a type."""
    if kind.name in _SCALARS:
        return type(value) is _SCALARS[kind.name]
    if kind.name == "Optional":
        return value is None or fits(value, kind.inner[0])
    if type(value) is not _BOXES["Tuple" if kind.name == "Tuple*" else kind.name]:
        return False
    if type(value) is dict:
        return all(fits(key, kind.inner[0]) and fits(one, kind.inner[1]) for key, one in value.items())
    if kind.name == "Tuple":
        return len(value) == len(kind.inner) and all(map(fits, value, kind.inner))
    return all(fits(one, kind.inner[0]) for one in value)


def _hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _unique(values: Iterable[Any]) -> list[Any]:
    """Return the values without repetitions; 1, 1.0 and True differ."""
    return list({repr(value): value for value in values}.values())
