"""A program, inputs, and the outputs that the program gives for them; all as source."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from selftaught.generator import puzzle as puzzles
from selftaught.generator.puzzle import NotAPuzzle

MOST_TEXT = 2_000
"""Maximum length of an input or an output as source, in characters."""

_BANNED = frozenset("eval exec compile open input __import__ globals locals vars breakpoint exit quit help".split())
"""Names that a program must not read: what it does would not be in its source."""


class Kind(StrEnum):
    """What is asked of a program, an input and an output."""

    DEDUCTION = "deduction"
    """The output, given program and input."""
    ABDUCTION = "abduction"
    """An input, given program and output."""
    INDUCTION = "induction"
    """The program, given some of its inputs with their outputs."""


class NotAProposal(ValueError):
    """A text is no proposal. The message says why."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a model proposes.

    Attributes:
        source: The program: one function ``f``.
        inputs: Arguments of calls, as source: ``"[1, 2], 'a'"``.
        message: What the program does, in the model's words; or empty.
    """

    source: str
    inputs: tuple[str, ...]
    message: str = ""


@dataclass(frozen=True, slots=True)
class Triplet:
    """A proposal that the verifier has run.

    Attributes:
        source, inputs, message: As of the proposal.
        outputs: What the program returns for each input, as source.
    """

    source: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    message: str = ""

    @property
    def id(self) -> str:
        """A digest of program and inputs; names in the program make no difference."""
        text = "\0".join([puzzles.exact(self.source), *self.inputs])
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    @property
    def shown(self) -> int:
        """How many of its pairs an induction shows; the others judge."""
        return (len(self.inputs) + 1) // 2

    def to_dict(self) -> dict[str, Any]:
        """Return the triplet as plain data."""
        inputs, outputs = list(self.inputs), list(self.outputs)
        return {"source": self.source, "inputs": inputs, "outputs": outputs, "message": self.message}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Triplet:
        """Return the triplet of such a dict, or of a record with its fields. Raises ValueError."""
        try:
            source, message = fields["source"], fields.get("message", "")
            inputs, outputs = tuple(fields["inputs"]), tuple(fields["outputs"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"no triplet of program, inputs and outputs: {error!r}") from error
        texts = [source, message, *inputs, *outputs]
        if len(inputs) != len(outputs) or not inputs or not all(isinstance(one, str) for one in texts):
            raise ValueError("no triplet: inputs and outputs are texts, and as many of one as of the other")
        return cls(program(source), inputs, outputs, message)


def program(source: str, name: str = "f") -> str:
    """Return a program called ``f``: one function with arguments that it reads, without names that hide what it does.

    Args:
        source: The function's source.
        name: Its name there.

    Raises:
        NotAProposal: It is none.
    """
    try:
        body = puzzles.tree(source).body
        found = puzzles.rename(source.strip("\n").rstrip(), {name: "f"})
        puzzles.exact(found)
    except NotAPuzzle as error:
        raise NotAProposal(str(error)) from error
    if len(body) != 1 or not isinstance(body[0], ast.FunctionDef) or body[0].name != name or body[0].decorator_list:
        raise NotAProposal(f"a program is exactly one function {name}")
    given = body[0].args
    if given.vararg or given.kwarg or given.kwonlyargs or given.posonlyargs or not given.args:
        raise NotAProposal("a program takes one plain argument or more")
    read = {node.id for node in ast.walk(body[0]) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    if not read & {one.arg for one in given.args}:
        raise NotAProposal("a program reads its arguments")
    if banned := sorted(read & _BANNED):
        raise NotAProposal(f"a program does not use {', '.join(banned)}")
    return found


def literal(text: str, most: int = MOST_TEXT) -> Any:
    """Return the value of a literal of at most so many characters. Raises NotAProposal."""
    if len(text) > most:
        raise NotAProposal(f"longer than {most:,} characters")
    try:
        body = puzzles.tree(text.strip()).body
        if len(body) != 1 or not isinstance(body[0], ast.Expr):
            raise NotAProposal("not one literal")
        return ast.literal_eval(body[0].value)
    except (ValueError, TypeError, MemoryError, RecursionError) as error:
        raise NotAProposal(f"no literal: {error}") from error


def arguments(text: str) -> list[Any]:
    """Return the values of the arguments of a call, given as source. Raises NotAProposal."""
    values: list[Any] = literal(f"[{text}]")
    return values


def calls(source: str, name: str) -> Iterator[str]:
    """Yield the arguments of calls of a function in statements ``assert f(...) == ...`` or ``f(...)``, as source. A
    call whose arguments are no literals is left out.

    Raises:
        NotAProposal: The source can't be parsed.
    """
    try:
        body = puzzles.tree(source).body
    except NotAPuzzle as error:
        raise NotAProposal(str(error)) from error
    for statement in body:
        node = statement.test if isinstance(statement, ast.Assert) else getattr(statement, "value", None)
        sides = [node.left, *node.comparators] if isinstance(node, ast.Compare) else [node]
        for side in sides:
            if isinstance(side, ast.Call) and isinstance(side.func, ast.Name) and side.func.id == name:
                try:
                    text = ", ".join(map(ast.unparse, side.args))
                    arguments(text)
                except (ValueError, RecursionError):  # no literals, too many digits, too deep
                    continue
                if side.args and not side.keywords:
                    yield text
