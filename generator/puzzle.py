"""A puzzle's parts, and the canonical form by which two puzzles are the same.

Sources are parsed, never compiled or run.
"""

from __future__ import annotations

import ast
import builtins
import re
import symtable
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from selftaught.generator.normalization import normalize

T = TypeVar("T")

MAX_SOURCE = 20_000
"""Maximum length of a source in characters; a longer one is refused before it is parsed."""

_DEFINED = {*dir(builtins), "List", "Dict", "Set", "Tuple", "Optional", "Union", "Any"}
"""Names that every puzzle may read without defining them."""

_NEVER_TRUE = {
    "sum",
    "len",
    "sorted",
    "list",
    "tuple",
    "set",
    "dict",
    "int",
    "float",
    "str",
    "abs",
    "range",
    "print",
    "zip",
}
_DISPLAYS = (
    ast.List,
    ast.Tuple,
    ast.Set,
    ast.Dict,
    ast.ListComp,
    ast.SetComp,
    ast.DictComp,
    ast.GeneratorExp,
    ast.JoinedStr,
)

_quiet = threading.Lock()
_NAMED = {"list": "List", "dict": "Dict", "set": "Set", "tuple": "Tuple"}


class NotAPuzzle(ValueError):
    """A source is no puzzle.

    Attributes:
        rule: The filter that it fails: ``parses`` or ``signature``.
        reason: What is wrong.
        line: Where, from 1.
    """

    def __init__(self, rule: str, reason: str, line: int = 1) -> None:
        super().__init__(f"line {line}: {reason}")
        self.rule, self.reason, self.line = rule, reason, line


@dataclass(frozen=True, slots=True)
class Puzzle:
    """A puzzle, ``def sat(answer: T, ...defaults): ...``.

    Attributes:
        source: The source, without blank lines at its ends.
        name: The function's name.
        argument: The name of the answer.
        annotation: The type of the answer, as P3 writes it (``List[int]``).
        defaults: Names and default values (as source) of the other arguments.
        parameters: Those arguments verbatim, as a solution's signature repeats them.
    """

    source: str
    name: str
    argument: str
    annotation: str
    defaults: tuple[tuple[str, str], ...]
    parameters: str

    @property
    def canonical(self) -> str:
        """The canonical form (see `canonical`)."""
        return canonical(self.source)

    @property
    def uses_argument(self) -> bool:
        """True if the body reads the answer."""
        (function,) = tree(self.source).body
        assert isinstance(function, ast.FunctionDef)
        nodes = (node for statement in function.body for node in ast.walk(statement))
        return any(isinstance(node, ast.Name) and node.id == self.argument for node in nodes)

    @property
    def can_return_true(self) -> bool:
        """True unless the syntax of every `return` shows that its value can't be ``True``."""
        (function,) = tree(self.source).body
        assert isinstance(function, ast.FunctionDef)
        return any(isinstance(node, ast.Return) and node.value and _may_be_true(node.value) for node in _own(function))

    @property
    def without_docstring(self) -> Puzzle:
        """The same puzzle without its docstring; itself if the docstring shares a line with code."""
        (function,) = tree(self.source).body
        assert isinstance(function, ast.FunctionDef)
        first, *rest = function.body
        if ast.get_docstring(function, clean=False) is None or not rest:
            return self
        if first.lineno == function.lineno or rest[0].lineno <= (first.end_lineno or 0):
            return self  # the docstring shares a line with code
        lines = self.source.encode().splitlines(keepends=True)
        kept = lines[: first.lineno - 1] + lines[rest[0].lineno - 1 :]
        return parse(b"".join(kept).decode())

    @property
    def undefined_names(self) -> list[str]:
        """Names that the body reads and nothing defines: reading one raises NameError, whatever the answer."""
        tables, found = [_symbols(self.source)], set()
        while tables:
            table = tables.pop()
            tables += table.get_children()
            found |= {name.get_name() for name in table.get_symbols() if name.is_global() and name.is_referenced()}
        return sorted(found - _DEFINED - {self.name})

    def named(self, name: str) -> str:
        """Return the source with the function renamed."""
        return rename(self.source, {self.name: name})


def parse(source: str) -> Puzzle:
    """Return the parts of a puzzle: one function with a `return` whose first argument is annotated and alone without
    default.

    Raises:
        NotAPuzzle: The source is none.
    """
    source = source.strip("\n").rstrip()
    body = tree(source).body
    _symbols(source)
    if len(body) != 1 or not isinstance(body[0], ast.FunctionDef):
        line = body[1].lineno if len(body) > 1 else 1
        raise NotAPuzzle("parses", "a puzzle is exactly one function", line)
    function = body[0]
    if function.decorator_list:
        raise NotAPuzzle("parses", "a puzzle has no decorators", function.decorator_list[0].lineno)
    if not any(isinstance(node, ast.Return) and node.value for node in _own(function)):
        raise NotAPuzzle("parses", "a puzzle returns something", function.lineno)
    given = function.args
    if given.posonlyargs or given.vararg or given.kwonlyargs or given.kwarg:
        raise NotAPuzzle("signature", "a puzzle takes plain arguments only", function.lineno)
    if len(given.args) - len(given.defaults) != 1:
        raise NotAPuzzle("signature", "exactly one argument has no default: the answer", function.lineno)
    answer, rest = given.args[0], given.args[1:]
    if answer.annotation is None:
        raise NotAPuzzle("signature", f"the answer {answer.arg!r} has no annotation", answer.lineno)
    lines = source.encode().splitlines(keepends=True)
    pairs = zip(rest, given.defaults, strict=True)
    defaults = tuple((arg.arg, _between(lines, value, value)) for arg, value in pairs)
    parameters = _between(lines, rest[0], given.defaults[-1]) if rest else ""
    return Puzzle(source, function.name, answer.arg, _type(answer.annotation), defaults, parameters)


@lru_cache(1 << 14)
def canonical(source: str) -> str:
    """Return the canonical form: the syntax tree as text, with names and constants normalised.

    Two puzzles with the same canonical form differ at most in names, constants (a list of constants counts as one),
    comments, docstrings and layout. It is used for deduplication and to exclude held-out puzzles.

    Raises:
        NotAPuzzle: The source can't be parsed or normalised.
    """
    return _written(source, constants=False)


@lru_cache(1 << 14)
def exact(source: str) -> str:
    """Return the text of the syntax tree with names normalised and constants kept. Raises NotAPuzzle."""
    return _written(source, constants=True)


def _written(source: str, constants: bool) -> str:
    parsed = tree(source)
    try:
        return normalize(parsed, constants=constants)
    except (ValueError, RecursionError) as error:
        raise NotAPuzzle("parses", f"can't be normalised: {type(error).__name__}") from None


def rename(source: str, names: dict[str, str]) -> str:
    """Return the source with functions and references to them renamed. Raises NotAPuzzle if it doesn't parse."""
    names, parsed = {old: new for old, new in names.items() if old != new}, tree(source)
    if not names:
        return source
    places = []
    for node in ast.walk(parsed):
        if isinstance(node, ast.Name) and node.id in names:
            places.append((node.lineno, node.col_offset, node.id))
        elif isinstance(node, ast.FunctionDef) and node.name in names:
            line = source.encode().splitlines()[node.lineno - 1]
            found = re.compile(rb"def\s+" + node.name.encode()).search(line, node.col_offset)
            if found:
                places.append((node.lineno, found.end() - len(node.name.encode()), node.name))
    lines = source.encode().splitlines(keepends=True)
    for row, column, name in sorted(places, reverse=True):
        text = lines[row - 1]
        lines[row - 1] = text[:column] + names[name].encode() + text[column + len(name.encode()) :]
    return b"".join(lines).decode()


def annotated(solution: str, name: str, puzzle: Puzzle) -> str:
    """Return a solution with the type of its answer in the signature, such as ``def g(n=3) -> List[int]:``.

    Args:
        solution: A solution as `selftaught generate` keeps it: a function with the puzzle's parameters verbatim. One
            that begins otherwise is returned as it is.
        name: The function's name.
        puzzle: The puzzle.
    """
    head = f"def {name}({puzzle.parameters})"
    return f"{head} -> {puzzle.annotation}{solution[len(head) :]}" if solution.startswith(head + ":") else solution


@lru_cache(1 << 14)
def returning(source: str, annotation: str) -> str:
    """Return a function with another annotation of what it returns, or with none (an empty one).

    A source whose signature is not on one line, or is written in an unusual way, is returned as it is. Raises
    NotAPuzzle if it doesn't parse.
    """
    function = tree(source).body[0]
    if not isinstance(function, ast.FunctionDef):
        return source
    lines = source.encode().splitlines(keepends=True)
    line = lines[function.lineno - 1]
    nodes: list[ast.arg | ast.expr] = [*function.args.args, *function.args.defaults]
    start = max((node.end_col_offset or 0 for node in nodes if node.end_lineno == function.lineno), default=0)
    end = function.returns.end_col_offset if function.returns else None
    close = line.find(b")", start)
    head = line[: close + 1] + (f" -> {annotation}" if annotation else "").encode()
    changed = head + line[end if end is not None else close + 1 :]
    made = b"".join([*lines[: function.lineno - 1], changed, *lines[function.lineno :]]).decode("utf-8", "replace")
    try:
        wanted, found = tree(source), tree(made)
    except NotAPuzzle:
        return source
    for one in (*wanted.body[:1], *found.body[:1]):
        one.returns = None  # type: ignore[attr-defined]  # the rest must be the same
    return made if ast.dump(wanted) == ast.dump(found) else source


def tree(source: str) -> ast.Module:
    """Return the syntax tree of a source that may be hostile. Raises NotAPuzzle."""
    return _read(source, ast.parse)


def _symbols(source: str) -> symtable.SymbolTable:
    """Return the symbol table of a source. Raises NotAPuzzle, also for what the compiler's symbol pass refuses."""
    return _read(source, lambda text: symtable.symtable(text, "<puzzle>", "exec"))


def _read(source: str, reader: Callable[[str], T]) -> T:
    if len(source) > MAX_SOURCE:
        raise NotAPuzzle("parses", f"longer than {MAX_SOURCE:,} characters")
    try:
        with _quiet, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes such as \d in what a model wrote
            digits = sys.get_int_max_str_digits()
            sys.set_int_max_str_digits(MAX_SOURCE)  # puzzles may contain integers that are longer than the default
            try:
                return reader(source)
            finally:
                sys.set_int_max_str_digits(digits)
    except SyntaxError as error:
        raise NotAPuzzle("parses", error.msg, error.lineno or 1) from None
    except (ValueError, RecursionError, MemoryError) as error:  # NUL, lone surrogates, nesting
        raise NotAPuzzle("parses", f"can't be parsed: {type(error).__name__}") from None


def _own(function: ast.FunctionDef) -> Iterator[ast.AST]:
    """Yield the nodes of a function without those of functions and classes inside it."""
    nodes: list[ast.AST] = list(function.body)
    while nodes:
        node = nodes.pop()
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
            nodes.extend(ast.iter_child_nodes(node))


def _may_be_true(value: ast.expr) -> bool:
    """Return True unless an expression's value surely isn't ``True``."""
    nodes = [value]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.BoolOp):
            nodes += node.values
        elif isinstance(node, ast.IfExp):
            nodes += [node.body, node.orelse]
        elif not _surely_not_true(node):
            return True
    return False


def _surely_not_true(node: ast.expr) -> bool:
    if isinstance(node, ast.Constant):
        return node.value is not True
    if isinstance(node, ast.UnaryOp):
        return not isinstance(node.op, ast.Not)
    if isinstance(node, ast.BinOp):
        return not isinstance(node.op, (ast.BitAnd, ast.BitOr, ast.BitXor))
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in _NEVER_TRUE
    return isinstance(node, _DISPLAYS)


def _type(annotation: ast.expr) -> str:
    """Return the annotation as P3 writes it: ``list[int]``, ``typing.List[int]`` and ``"List[int]"`` are
    ``List[int]``."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        text = annotation.value
    else:
        try:
            text = ast.unparse(annotation)
        except (ValueError, RecursionError):
            raise NotAPuzzle("signature", "the annotation is no type", annotation.lineno) from None
    return re.sub(r"\b(?:typing\.)?(\w+)\[", lambda match: _NAMED.get(match[1], match[1]) + "[", text)


def _between(lines: list[bytes], first: ast.arg | ast.expr, last: ast.expr) -> str:
    """Return the source from one node's start to another's end; columns count bytes."""
    assert last.end_lineno is not None
    text = b"".join(lines[first.lineno - 1 : last.end_lineno])
    tail = len(lines[last.end_lineno - 1]) - (last.end_col_offset or 0)
    return text[first.col_offset : len(text) - tail].decode()
