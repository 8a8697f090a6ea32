"""Normalised text of syntax trees: programs that differ in names or layout only have the same text.

It does not use `ast.dump`, because the text is hashed into ids that are kept in files, and must not change with
Python's version.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

_TYPES = {"List": "list", "Dict": "dict", "Set": "set", "Tuple": "tuple"}
_DISPLAYS = (ast.List, ast.Tuple, ast.Set)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_SCOPES = (*_FUNCTIONS, *_COMPREHENSIONS, ast.Lambda, ast.ClassDef)


def normalize(tree: ast.Module, *, constants: bool) -> str:
    """Return the tree as text in which bound names are numbered in order of appearance, scope by scope.

    Free names and attributes stay. Docstrings, comments, layout, and annotations of all but a function's first argument
    are dropped.

    Args:
        tree: The tree of a source.
        constants: Keep constants; else write their types only, and treat a display of constants as one constant.
    """
    return _Writer(constants).block(tree.body)


class _Writer:
    def __init__(self, constants: bool) -> None:
        self.constants = constants
        self.names: dict[str, str] = {}
        self.count = 0

    def block(self, body: list[ast.stmt], top: bool = True) -> str:
        if top:
            self._bind(name for statement in body for name in _bound(statement))
        return " ".join(self.node(statement) for statement in body)

    def node(self, node: ast.AST) -> str:
        """Return the text of a node and all nodes below it."""
        if isinstance(node, ast.Name):
            return self.names.get(node.id, node.id)
        if not self.constants and (kind := _kind(node)):
            return kind
        if isinstance(node, ast.Constant):
            value = f"{node.value:x}" if type(node.value) is int else repr(node.value)  # hex has no limit on digits
            return f"{_type(node)}:{value}"
        if isinstance(node, _FUNCTIONS):
            return self._function(node)
        if isinstance(node, (*_COMPREHENSIONS, ast.Lambda, ast.ClassDef)):
            return self._scope(node)
        if isinstance(node, ast.alias):
            return f"(alias {node.name} {self.names.get(_alias(node), '*')})"
        if isinstance(node, ast.ExceptHandler):
            return f"(except {self._field(node.type)} {self._field(node.body)})"
        if isinstance(node, (ast.Global, ast.Nonlocal)):
            return f"({type(node).__name__} {' '.join(self.names.get(name, name) for name in node.names)})"
        if isinstance(node, ast.AnnAssign):
            return f"(Assign {self.node(node.target)} {self._field(node.value)})"
        return self._plain(node)

    def _plain(self, node: ast.AST) -> str:
        fields = (value for name, value in ast.iter_fields(node) if name not in ("ctx", "type_comment", "kind"))
        return f"({' '.join([type(node).__name__, *map(self._field, fields)])})"

    def _field(self, value: object) -> str:
        if isinstance(value, ast.AST):
            return self.node(value)
        if isinstance(value, list):
            return f"[{' '.join(map(self._field, value))}]"
        return "-" if value is None else str(value)

    def _function(self, function: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
        name = self.names.get(function.name, function.name)
        decorators = self._field(function.decorator_list)
        args = function.args
        defaults = self._field([*args.defaults, *args.kw_defaults])
        first = [*args.posonlyargs, *args.args][:1]
        kind = _annotation(first[0].annotation) if first and first[0].annotation else "-"
        outer, count = dict(self.names), self.count
        self._bind(arg.arg for arg in _arguments(args))
        body = _without_docstring(function.body)
        self._bind(name for statement in body for name in _bound(statement))
        shape = (
            f"{len(args.posonlyargs)},{len(args.args)},{len(args.kwonlyargs)},{bool(args.vararg)},{bool(args.kwarg)}"
        )
        text = f"(def {name} {decorators} {shape} {kind} {defaults} [{self.block(body, top=False)}])"
        self.names, self.count = outer, count
        return text

    def _scope(self, node: ast.AST) -> str:
        """Return the text of a comprehension, lambda or class; the names that it binds are numbered within it only."""
        outer, count = dict(self.names), self.count
        if isinstance(node, ast.Lambda):
            defaults = self._field([*node.args.defaults, *node.args.kw_defaults])
            self._bind(arg.arg for arg in _arguments(node.args))
            text = f"(lambda {len(list(_arguments(node.args)))} {defaults} {self.node(node.body)})"
        elif isinstance(node, ast.ClassDef):
            head = f"{self.names.get(node.name, node.name)} {self._field(node.bases)}"
            self._bind(name for statement in node.body for name in _bound(statement))
            text = f"(class {head} [{self.block(_without_docstring(node.body), top=False)}])"
        else:
            assert isinstance(node, _COMPREHENSIONS)
            first = self.node(node.generators[0].iter)  # evaluated in the enclosing scope
            self._bind(name for part in node.generators for name in _targets(part.target))
            parts = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
            rest = [[part.target, part.ifs, part.is_async, part.iter] for part in node.generators]
            rest[0].pop()
            text = f"({type(node).__name__} {first} {self._field(rest)} {self._field(parts)})"
        self.names, self.count = outer, count
        return text

    def _bind(self, names: Iterator[str]) -> None:
        for name in dict.fromkeys(names):
            self.names[name] = f"v{self.count}"
            self.count += 1


def _kind(node: ast.AST) -> str:
    """Return the placeholder of a constant or of a display of constants; empty for anything else."""
    if isinstance(node, ast.Constant):
        return f"<{_type(node)}>" if isinstance(node.value, (str, bytes)) or _number(node) else repr(node.value)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)) and _number(node.operand):
        return _kind(node.operand)
    if isinstance(node, _DISPLAYS):
        return _display(type(node).__name__.lower(), [list(node.elts)])
    if isinstance(node, ast.Dict):
        return _display("dict", [[key for key in node.keys if key], node.values]) if all(node.keys) else ""
    return ""


def _display(name: str, columns: list[list[ast.expr]]) -> str:
    kinds = [
        [_kind(node).replace("True", "<bool>").replace("False", "<bool>") for node in column] for column in columns
    ]
    if not all(map(all, kinds)):
        return ""
    return f"<{name} {' '.join('|'.join(sorted(set(column))) for column in kinds)}>"


def _type(node: ast.Constant) -> str:
    return type(node.value).__name__


def _number(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) in (int, float, complex)


def _annotation(node: ast.expr) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        text = node.value
    else:
        text = ast.unparse(node)
    text = text.replace("typing.", "").replace(" ", "")
    for long, short in _TYPES.items():
        text = text.replace(long, short)
    return text


def _arguments(args: ast.arguments) -> Iterator[ast.arg]:
    yield from (*args.posonlyargs, *args.args, *args.kwonlyargs)
    yield from (arg for arg in (args.vararg, args.kwarg) if arg)


def _alias(node: ast.alias) -> str:
    return node.asname or node.name.partition(".")[0]


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0]
    documented = (
        isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and type(first.value.value) is str
    )
    return body[1:] if documented else body


def _targets(node: ast.AST) -> Iterator[str]:
    """Return the names that an assignment target binds."""
    return (part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store))


def _bound(node: ast.AST) -> Iterator[str]:
    """Yield the names that a node binds in its scope, in order of appearance."""
    if isinstance(node, ast.Name):
        if isinstance(node.ctx, (ast.Store, ast.Del)):
            yield node.id
    elif isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
        yield node.name
    elif isinstance(node, ast.alias):
        yield _alias(node)
    elif isinstance(node, _COMPREHENSIONS):  # only `:=` binds names outside it
        for part in ast.walk(node):
            if isinstance(part, ast.NamedExpr):
                yield from _targets(part.target)
    elif not isinstance(node, ast.Lambda):
        if isinstance(node, ast.ExceptHandler) and node.name:
            yield node.name
        for child in ast.iter_child_nodes(node):
            yield from _bound(child)
