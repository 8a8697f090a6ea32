"""The source of tests: cut it into statements that belong to no case and those that are cases, and compile them."""

from __future__ import annotations

import ast
import itertools
import re
from types import CodeType
from typing import Any

from selftaught.sandbox.worker.inside.source import compile_source

STATEMENTS, CASE = 0, 1
Pieces = tuple[tuple[int, CodeType], ...]
"""Compiled parts of a source in order, each with what it is. Made of what marshal can write."""
FILE = "<tests>"
_DEFINES_TESTS = re.compile(r"^(?:async[ \t]+)?(?:def[ \t]+test|class[ \t])", re.MULTILINE)
_CHECK = re.compile(r"^def[ \t]+check[ \t]*\(", re.MULTILINE)
_CASES_AT_TOP = re.compile(r"^(?:assert\b|check[ \t]*\()", re.MULTILINE)
_NOT_ASSERT, _NOT_CHECK = (
    re.compile(rf"^(?!{case}|[ \t\r\n)\]}}#])[^\n]", re.MULTILINE) for case in (r"assert\b", r"check[ \t]*\(")
)
"""The beginning of another statement at the top level."""


def compile_tests(source: bytes) -> Pieces:
    """Return the pieces of a source of tests. Raises what the compiler raises.

    Cases are the ``assert`` statements at the top level or, if ``check`` is defined there, the calls of it; none if
    there are test functions or classes. Each of these is a piece.
    """
    text = source.decode("utf-8", "surrogatepass").removeprefix("\ufeff").replace("\r\n", "\n")
    if not _CASES_AT_TOP.search(text):
        return ((STATEMENTS, compile_source(source, FILE)),)
    if not _DEFINES_TESTS.search(text):
        pieces = _cut_text(text)
        if pieces:
            return pieces
    return _cut_tree(text)


def _cut_text(text: str) -> Pieces:
    """Return the pieces of a text of a usual form, without parsing it first; () if it has another.

    A cut in the middle of a statement leaves parts that don't compile.
    """
    check = _CHECK.search(text)
    first, other = ("c", _NOT_CHECK) if check else ("a", _NOT_ASSERT)
    begin = check.end() if check else 0
    starts = [match.start() for match in _CASES_AT_TOP.finditer(text, begin) if match.group()[0] == first]
    if starts and other.search(text, starts[0] + 1):
        return ()
    cuts = [0, *starts, len(text)]
    try:
        return tuple(
            (CASE if index else STATEMENTS, _compile_at(text, start, end))
            for index, (start, end) in enumerate(itertools.pairwise(cuts))
            if index or end
        )
    except SyntaxError:
        return ()


def _compile_at(text: str, start: int, end: int) -> CodeType:
    """Compile a part of a text; lines keep their numbers."""
    code: CodeType = compile("\n" * text.count("\n", 0, start) + text[start:end], FILE, "exec", dont_inherit=True)
    return code


def _cut_tree(text: str) -> Pieces:
    tree = ast.parse(text, FILE)
    is_case = _case_test(tree)
    pieces: list[tuple[int, list[ast.stmt]]] = []
    for statement in tree.body:
        if is_case(statement):
            pieces.append((CASE, [statement]))
        elif pieces and pieces[-1][0] == STATEMENTS:
            pieces[-1][1].append(statement)
        else:
            pieces.append((STATEMENTS, [statement]))
    return tuple((kind, _compile_body(body)) for kind, body in pieces)


def _compile_body(body: list[ast.stmt]) -> CodeType:
    code: CodeType = compile(ast.Module(body, []), FILE, "exec", dont_inherit=True)
    return code


def _case_test(tree: ast.Module) -> Any:
    """Return a function that says whether a statement at the top level is a case."""
    names = {one.name for one in tree.body if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef))}
    if any(name.startswith("test") for name in names) or any(map(_is_test_class, tree.body)):
        return lambda statement: False
    if "check" in names:
        return _calls_check
    return lambda statement: isinstance(statement, ast.Assert)


def _is_test_class(statement: ast.stmt) -> bool:
    if not isinstance(statement, ast.ClassDef):
        return False
    bases = [ast.unparse(base) for base in statement.bases]
    return statement.name.startswith("Test") or any(base.endswith("TestCase") for base in bases)


def _calls_check(statement: ast.stmt) -> bool:
    if not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)):
        return False
    function = statement.value.func
    return isinstance(function, ast.Name) and function.id == "check"


def names_in(pieces: Pieces) -> set[str]:
    """Return the names that the code reads, sets or imports, attributes included."""
    found: set[str] = set()
    todo = [code for _, code in pieces]
    for code in todo:
        found.update(code.co_names)
        todo += [one for one in code.co_consts if type(one) is CodeType]
    return found
