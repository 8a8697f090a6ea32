"""What is read off the sources of a dataset: which names tests call, and which a reference defines.

Only sources of the dataset are parsed here, never a sample: parsing hostile source can exhaust the process that does
it. (`selftaught.sandbox.completion` parses what models wrote, up to a length.)
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable

from selftaught.sandbox.formats.literals import without_warnings
from selftaught.sandbox.formats.problem import Malformed

_BUILTINS = frozenset(dir(builtins))


def tree(source: str, what: str) -> ast.Module:
    """Return the syntax tree of a source.

    Args:
        source: The source.
        what: Names it in the message.

    Raises:
        Malformed: It can't be parsed.
    """
    try:
        with without_warnings():
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise Malformed(f"{what} can't be parsed: {type(error).__name__}: {error}") from None


def defined(module: ast.Module) -> set[str]:
    """Return the names that a module binds at any depth of its statements, but not inside functions and classes."""
    found: set[str] = set()
    rest: list[ast.AST] = list(module.body)
    while rest:
        node = rest.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.alias):
            found.add((node.asname or node.name).partition(".")[0])
        if not isinstance(node, ast.Lambda):
            rest.extend(ast.iter_child_nodes(node))
    return found


def free_names(module: ast.Module) -> set[str]:
    """Return the names that a module reads and that neither it nor Python defines."""
    nodes = list(ast.walk(module))
    read = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    bound = {node.id for node in nodes if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
    bound |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    return read - bound - defined(module) - _BUILTINS


def entry_point(tests: ast.Module, preferred: Iterable[str] = ()) -> str | None:
    """Return the name of the function that tests are about, or ``None`` if they call none.

    It is the first name called, in order of lines and from the outside in, which is among those preferred; else the
    first that neither the tests nor Python define.
    """
    calls = [node for node in ast.walk(tests) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    calls.sort(key=lambda call: (call.lineno, call.col_offset))
    names = [call.func.id for call in calls if isinstance(call.func, ast.Name)]
    wanted = set(preferred)
    known = defined(tests) | _BUILTINS
    return next((name for name in names if name in wanted), None) or next(
        (name for name in names if name not in known), None
    )


def without_call_of_check(tests: str, what: str) -> tuple[str, str | None]:
    """Return tests without a ``check(...)`` at their end, and the entry point that it was given.

    The entry point is ``name``, or ``Class.method`` for ``Class().method``; ``None`` if there is no such call.
    """
    if "check(" not in tests:
        return tests, None
    body = tree(tests, what).body
    last = body[-1] if body else None
    if not (isinstance(last, ast.Expr) and isinstance(last.value, ast.Call) and len(last.value.args) == 1):
        return tests, None
    call = last.value
    name = _named(call.args[0])
    if not (isinstance(call.func, ast.Name) and call.func.id == "check") or name is None:
        return tests, None
    lines = tests.splitlines(keepends=True)
    return "".join(lines[: last.lineno - 1]), name


def tests_and_entry_point(tests: str, what: str) -> tuple[str, str]:
    """Return tests that have a case, and the function that they are about.

    Args:
        tests: Their source: assert statements, functions, or a script; or ``check``, and a call of it at the end.
        what: Names it in the message.

    Raises:
        Malformed: They can't be parsed, have no case, or call no function of the solution.
    """
    found, name = without_call_of_check(tests, what)
    if name is None:
        found = with_cases(found, what)
        name = entry_point(tree(found, what))
    if name is None:
        raise Malformed(f"{what} calls no function of the solution")
    return found, name


def _named(node: ast.expr) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Name):
        return f"{node.value.func.id}.{node.attr}"
    return None


def with_cases(tests: str, what: str) -> str:
    """Return tests that have a case, where the given ones may be bare statements such as a loop over inputs.

    What is no case (`selftaught.sandbox.task.FunctionTask.tests`) is never judged. If there are only statements, those
    from the first that is neither a definition nor an assignment on become ``check``.
    """
    module = tree(tests, what)
    if any(_is_case(node) for node in module.body):
        return tests
    passive = ast.FunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom | ast.Assign | ast.AnnAssign
    start = next((number for number, node in enumerate(module.body) if not isinstance(node, passive)), None)
    if start is None:
        raise Malformed(f"{what} has no tests")
    active = module.body[start:]
    stored = sorted(defined(ast.Module(active, [])))
    shared = [ast.Global(stored)] if stored else []
    check = ast.parse("def check(candidate): pass").body[0]
    assert isinstance(check, ast.FunctionDef)
    check.body = [*shared, *active]
    lines = tests.splitlines(keepends=True)
    before = "".join(lines[: active[0].lineno - 1])
    return f"{before}\n{ast.unparse(ast.fix_missing_locations(check))}\n"


def _is_case(node: ast.stmt) -> bool:
    if isinstance(node, ast.FunctionDef):
        return node.name == "check" or node.name.startswith("test")
    return isinstance(node, ast.Assert) or (isinstance(node, ast.ClassDef) and node.name.startswith("Test"))


def without_imports_of(module: str, tests: str, what: str) -> tuple[str, list[str]]:
    """Return tests that find the solution's names without importing them, and these names in order.

    ``from solution import f as g`` becomes ``g = f``, and ``import solution`` an object with what is read off it.
    Lines keep their numbers.
    """
    if module not in tests:
        return tests, []
    parsed = tree(tests, what)
    lines, names = tests.split("\n"), []
    for node in ast.walk(parsed):
        replacement = None
        if isinstance(node, ast.ImportFrom) and node.module == module and not node.level:
            names += [alias.name for alias in node.names if alias.name != "*"]
            renamed = [f"{alias.asname} = {alias.name}" for alias in node.names if alias.asname]
            replacement = "; ".join(renamed) or "pass"
        elif isinstance(node, ast.Import) and [alias.name for alias in node.names] == [module]:
            alias = node.names[0].asname or module
            read = dict.fromkeys(
                one.attr
                for one in ast.walk(parsed)
                if isinstance(one, ast.Attribute) and isinstance(one.value, ast.Name) and one.value.id == alias
            )
            names += read
            fields = ", ".join(f"{name}={name}" for name in read)
            replacement = f"import types; {alias} = types.SimpleNamespace({fields})"
        if replacement is not None and isinstance(node, ast.stmt):
            first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
            rest = lines[last].encode()[node.end_col_offset or 0 :].decode()
            lines[first] = (
                lines[first].encode()[: node.col_offset].decode() + replacement + (rest if first == last else "")
            )
            lines[first + 1 : last + 1] = [""] * (last - first)
    return "\n".join(lines), names
