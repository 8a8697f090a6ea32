"""What a piece of text defines and reads, if it is Python. It is parsed, never compiled or run.

Callers silence warnings (`selftaught.sandbox.formats.literals.without_warnings`).
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property

from selftaught.sandbox.formats import sources

MOST = 20_000
"""Maximum length of a source that is parsed, in characters: hostile source can exhaust the process that parses it."""

_INPUT = re.compile(r"\binput\s*\(|\bstdin\b|\bopen\s*\(\s*0\b")
_STRINGS = re.compile(r"""#.*|\"\"\"|'''|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'""")
_ENDS = {quotes: re.compile(rf"(?:[^\\]|\\.)*?{quotes}", re.S) for quotes in ('"""', "'''")}


def parse(text: str) -> ast.Module | None:
    """Return the syntax tree; None if there is none, or the text is too long to be parsed."""
    if len(text) > MOST:
        return None
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


@dataclass(frozen=True)
class Source:
    """A piece of text that may be the source of an answer.

    Attributes:
        text: The text.
        marked: Its block says that it is Python.
        fenced: It stood in a block.
        body: It continues a function: it is indented.
    """

    text: str
    marked: bool = False
    fenced: bool = False
    body: bool = False

    @cached_property
    def tree(self) -> ast.Module | None:
        """The syntax tree; None if it can't be parsed or is too long."""
        return _body(self.text) if self.body else parse(self.text)

    @property
    def complete(self) -> bool:
        """It can be parsed, as far as is known."""
        return self.tree is not None or len(self.text) > MOST

    @cached_property
    def defined(self) -> set[str]:
        """Names that it binds at its top level; empty if that is unknown."""
        return sources.defined(self.tree) if self.tree and not self.body else set()

    @cached_property
    def missing(self) -> set[str]:
        """Names that it reads and that neither it nor Python defines."""
        return sources.free_names(self.tree) if self.tree else set()

    @property
    def is_code(self) -> bool:
        """A statement of it does something: it is no prose that happens to be Python, such as ``Done``."""
        return self.tree is not None and any(map(_acts, self.tree.body))

    @property
    def returns(self) -> bool:
        """It has a ``return`` outside of functions."""
        return self.tree is not None and _returns(self.tree)

    @property
    def is_definition(self) -> bool:
        """It begins with a function, a class or an import."""
        return self.tree is not None and isinstance(self.tree.body[0], _DEFINING[:5])

    @property
    def reads_input(self) -> bool:
        """It reads standard input."""
        return _INPUT.search(self.text) is not None

    def defines(self, names: Collection[str]) -> bool:
        """Return True if it defines one of the names, also if it can't be parsed."""
        if self.tree:
            return not self.defined.isdisjoint(names)
        return not self.body and any(_definition(name).search(self.text) for name in names)

    def stub(self, names: Collection[str]) -> bool:
        """Return True if its last definition of the names has no body of its own: ``...``, ``pass``, a docstring."""
        found = [node for node in self.tree.body if _name(node) in names] if self.tree else []
        return bool(found) and all(map(_is_empty, getattr(found[-1], "body", [found[-1]])))

    def statements(self) -> Iterator[tuple[set[str], str]]:
        """Yield the names that each statement of it defines, and its source, for those that only define."""
        lines = self.text.split("\n")
        for node in self.tree.body if self.tree and not self.body else ():
            if isinstance(node, _DEFINING):
                first = min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", ()))])
                yield sources.defined(ast.Module([node], [])), "\n".join(lines[first - 1 : node.end_lineno])


_DEFINING = (
    ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign,
)  # fmt: skip
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.expr)
"""What no ``return`` of the code around it is in."""


def continued(prompt: str, text: str) -> str:
    """Return a prompt with the text that continues it (see `selftaught.sandbox.completion.continued`)."""
    line = prompt if prompt.endswith("\n") else prompt + "\n"
    for joined in (prompt + text, line + text, line + textwrap.indent(textwrap.dedent(text), "    ")):
        found = Source(joined)
        if found.tree and not found.returns:
            return joined
    return prompt + text


def open_string(text: str) -> bool:
    """Return True if a triple-quoted string of the text is not closed in it."""
    quotes = ""
    for line in text.split("\n"):
        quotes = quotes_after(line, quotes)
    return bool(quotes)


def quotes_after(line: str, quotes: str) -> str:
    """Return the quotes of the triple-quoted string that is open after a line; empty if none is.

    Args:
        line: The line.
        quotes: Those that are open before it.
    """
    place = 0
    while True:
        if quotes:
            end = _ENDS[quotes].match(line, place)
            if not end:
                return quotes
            place, quotes = end.end(), ""
        found = _STRINGS.search(line, place)
        if not found:
            return ""
        place, quotes = found.end(), found[0] if found[0] in _ENDS else ""


def _body(text: str) -> ast.Module | None:
    """Return the statements of a function's body as a module; None if it is none."""
    for head in ("def _():\n", "def _():"):
        tree = parse(head + text)
        if tree and len(tree.body) == 1 and isinstance(tree.body[0], ast.FunctionDef):
            return ast.Module(tree.body[0].body, [])
    return None


def _definition(name: str) -> re.Pattern[str]:
    return re.compile(rf"^(?:(?:async[ \t]+)?def|class)[ \t]+{re.escape(name)}\b|^{re.escape(name)}[ \t]*[:=]", re.M)


def _name(node: ast.stmt) -> str:
    return node.name if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) else ""


def _returns(tree: ast.Module) -> bool:
    """Return True if there is a ``return`` outside of functions, in loops and conditions too."""
    nodes: list[ast.AST] = [tree]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Return):
            return True
        if not isinstance(node, _SCOPES):
            nodes += ast.iter_child_nodes(node)
    return False


def _is_empty(node: ast.stmt) -> bool:
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    if isinstance(node, ast.Raise):
        return "NotImplemented" in ast.dump(node)
    return isinstance(node, ast.Pass)


def _acts(node: ast.stmt) -> bool:
    if isinstance(node, ast.Expr):
        calls = isinstance(node.value, ast.Call | ast.Await | ast.Yield | ast.YieldFrom)
        return calls and (not isinstance(node.value, ast.Call) or _prints(node.value))
    if isinstance(node, ast.AnnAssign):
        return node.value is not None  # "Note: x" is prose
    return not isinstance(node, ast.Pass | ast.Global | ast.Nonlocal)


def _prints(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) or (isinstance(call.func, ast.Name) and call.func.id == "print")
