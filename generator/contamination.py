"""Problems of benchmarks, kept out of what is generated: their solutions, names aside, and their words.

Two rules, which ask for no run of the code:

* **code**: no function may have the body of a function of a reference solution. Names, annotations, docstrings and
  layout do not count; constants do. Bodies of fewer than `SMALLEST` statements and expressions do not count either:
  they are what anybody writes.
* **words**: no text may have `RUN` words in a row of a problem's statement, in comments, docstrings or code; of a
  shorter statement, all of it. Brown et al. 2020 (https://arxiv.org/abs/2005.14165), appendix C, look for as many.

The name of a problem's function is no sign: what is generated is called `f` and `g`, and `add` is everybody's word.
"""

from __future__ import annotations

import ast
import builtins
import hashlib
import re
from collections.abc import Iterable, Iterator

from selftaught.generator import puzzle
from selftaught.generator.puzzle import NotAPuzzle

SMALLEST = 20
"""In 10,342 functions that people and models wrote for other tasks, five have the body of a reference solution of
HumanEval or MBPP of this size, of three problems; of any size, 56."""
RUN = 13
_FEWEST_WORDS = 6
_BUILTIN = frozenset(dir(builtins))
_WORD = re.compile(r"\w+")


class HeldOutProblems:
    """Problems that nothing generated may contain.

    Attributes:
        unknown: Number of problems of which neither a solution nor a statement is known.
    """

    def __init__(self) -> None:
        self._bodies: dict[bytes, str] = {}
        self._runs: dict[int, dict[bytes, str]] = {}
        self._count = self.unknown = 0

    def __len__(self) -> int:
        return self._count

    @property
    def digests(self) -> list[str]:
        """Digests of what is held out, sorted."""
        runs = (digest for runs in self._runs.values() for digest in runs)
        return sorted(digest.hex() for digest in (*self._bodies, *runs))

    def add(self, name: str, statement: str, solutions: Iterable[str]) -> None:
        """Add a problem.

        Args:
            name: What it is called in messages.
            statement: Its words; may be empty.
            solutions: Its reference solutions. Those that can't be parsed are left out.
        """
        words = _words(statement)
        bodies = [body for source in solutions for body in _known_bodies(source)]
        length = min(RUN, len(words))
        if length >= _FEWEST_WORDS:
            runs = self._runs.setdefault(length, {})
            for run in _runs(words, length):
                runs.setdefault(run, name)
        for body in bodies:
            self._bodies.setdefault(body, name)
        self._count += 1
        self.unknown += not bodies and length < _FEWEST_WORDS

    def reason(self, source: str) -> str:
        """Return why a puzzle or solution must not be kept; empty if it may be.

        Raises:
            NotAPuzzle: It can't be parsed.
        """
        if not self._count:
            return ""
        try:
            found = [self._bodies[body] for body in _bodies(source) if body in self._bodies]
        except RecursionError:
            return "it is nested too deep to be compared"
        if found:
            return f"it has the solution of {found[0]}"
        words = _words(source)
        for length, runs in self._runs.items():
            for run in _runs(words, length):
                if run in runs:
                    return f"it has {length} words in a row of {runs[run]}"
        return ""


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _runs(words: list[str], length: int) -> Iterator[bytes]:
    """Yield a digest of every run of so many words."""
    for start in range(len(words) - length + 1):
        yield _digest(" ".join(words[start : start + length]))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16]


def _known_bodies(source: str) -> list[bytes]:
    try:
        return list(_bodies(source))
    except (NotAPuzzle, RecursionError):
        return []


def _bodies(source: str) -> Iterator[bytes]:
    """Yield a digest of the body of every function that is large enough, and of the program around them.

    Raises:
        NotAPuzzle: The source can't be parsed.
        RecursionError: It is nested too deep.
    """
    for node in ast.walk(puzzle.tree(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Module):
            body = ast.Module(_without_docstring(node.body), [])
            if sum(isinstance(part, ast.stmt | ast.expr) for part in ast.walk(body)) >= SMALLEST:
                yield _digest(_Writer().written(body))


class _Writer:
    """Writes a body as text in which names, but for those of builtins, are numbered in the order of their appearance.

    Unlike `selftaught.generator.normalization` it takes parameters for names like all others, whatever their order.
    """

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def written(self, value: object) -> str:
        if isinstance(value, ast.AST):
            fields = (self._field(value, name, inner) for name, inner in ast.iter_fields(value))
            return f"{type(value).__name__}({','.join(fields)})"
        if isinstance(value, list):
            return f"[{','.join(map(self.written, value))}]"
        return f"{value:x}" if type(value) is int else repr(value)  # hexadecimal has no limit on digits

    def _field(self, node: ast.AST, name: str, value: object) -> str:
        if name in ("ctx", "annotation", "returns", "type_comment", "kind"):
            return ""
        if name == "body" and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            return self.written(_without_docstring(node.body))
        if isinstance(value, str) and (name, type(node)) in _BINDING:
            return value if value in _BUILTIN else self._names.setdefault(value, f"v{len(self._names)}")
        return self.written(value)


_BINDING = {
    ("id", ast.Name), ("arg", ast.arg), ("name", ast.FunctionDef), ("name", ast.AsyncFunctionDef),
    ("name", ast.ClassDef), ("name", ast.ExceptHandler), ("asname", ast.alias),
}  # fmt: skip
"""Fields of nodes that are names of variables; attributes and names of modules are none."""


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0] if body else None
    documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return body[1:] if documented else body
