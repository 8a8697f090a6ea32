"""The source of tests: cut it into statements that belong to no case and those that are cases, and compile them."""

from __future__ import annotations

import ast
import dis
import itertools
import re
from collections.abc import Callable
from types import CodeType
from typing import TypeGuard

from selftaught.sandbox.worker.inside.source import compile_source

STATEMENTS, CASE = 0, 1
Pieces = tuple[tuple[int, CodeType], ...]
"""Compiled parts of a source in order, each with what it is. Made of what marshal can write."""
FILE = "<tests>"
_DEFINES_TESTS = re.compile(r"^(?:async[ \t]+)?(?:def[ \t]+test|class[ \t])", re.MULTILINE)
_CHECK = re.compile(r"^def[ \t]+check[ \t]*\(", re.MULTILINE)
_CASES_AT_TOP = re.compile(r"^(?:assert\b|check[ \t]*\()", re.MULTILINE)
_MAIN_GUARD = re.compile(r"^if\b[^\n]*__main__", re.MULTILINE)
_NOT_ASSERT, _NOT_CHECK = (
    re.compile(rf"^(?!{case}|[ \t\r\n)\]}}#])[^\n]", re.MULTILINE) for case in (r"assert\b", r"check[ \t]*\(")
)
"""The beginning of another statement at the top level."""


def compile_tests(source: bytes) -> Pieces:
    """Return the pieces of a source of tests. Raises what the compiler raises.

    Cases are the ``assert`` statements at the top level or, if ``check`` is defined there, the calls of it; none if
    there are test functions or classes. Each of these is a piece. Where there are none, the tests are a script: what
    they do if they are ``__main__`` belongs to the top level.
    """
    text = source.decode("utf-8", "surrogatepass").removeprefix("\ufeff").replace("\r\n", "\n")
    if _MAIN_GUARD.search(text):
        return _cut_tree(text)
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
    body = tree.body
    if not _defines_tests(tree):
        body = [one for statement in body for one in (statement.body if _is_main_guard(statement) else [statement])]
    pieces: list[tuple[int, list[ast.stmt]]] = []
    for statement in body:
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


def _case_test(tree: ast.Module) -> Callable[[ast.stmt], bool]:
    """Return a function that says whether a statement at the top level is a case."""
    if _defines_tests(tree):
        return lambda statement: False
    if "check" in _functions_of(tree):
        return _calls_check
    return lambda statement: isinstance(statement, ast.Assert)


def _defines_tests(tree: ast.Module) -> bool:
    return any(name.startswith("test") for name in _functions_of(tree)) or any(map(_is_test_class, tree.body))


def _functions_of(tree: ast.Module) -> set[str]:
    return {one.name for one in tree.body if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef))}


def _is_main_guard(statement: ast.stmt) -> TypeGuard[ast.If]:
    """Return True for ``if __name__ == "__main__":``."""
    if not (isinstance(statement, ast.If) and isinstance(statement.test, ast.Compare)):
        return False
    sides = {ast.unparse(one) for one in (statement.test.left, *statement.test.comparators)}
    return sides == {"__name__", "'__main__'"} and isinstance(statement.test.ops[0], ast.Eq)


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
        todo += _codes_in(code)
    return found


def names_read(pieces: Pieces) -> set[str]:
    """Return the names that the code reads, without that of functions which it never names."""
    found: set[str] = set()
    todo, unread = [code for _, code in pieces], list[CodeType]()
    while todo:
        for code in todo:
            read = [one.argval for one in dis.get_instructions(code) if one.opname.startswith("LOAD_")]
            found.update(name for name in read if isinstance(name, str))
            unread += _codes_in(code)
        # Lambdas and comprehensions have names in brackets; the body of a class is run, and reads this name first.
        todo = [
            code for code in unread if code.co_name in found or code.co_name[0] == "<" or "__module__" in code.co_names
        ]
        unread = [code for code in unread if code not in todo]
    return found


def _codes_in(code: CodeType) -> list[CodeType]:
    return [one for one in code.co_consts if type(one) is CodeType]
