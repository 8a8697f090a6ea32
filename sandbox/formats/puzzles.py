"""Programming puzzles: ``sat`` or ``puzzle``, a function that returns True for right answers; P3's puzzles.json too."""

from __future__ import annotations

import ast

from selftaught.sandbox import completion
from selftaught.sandbox.formats.fields import Fields, ident, optional, strings, text
from selftaught.sandbox.formats.problem import Problem
from selftaught.sandbox.task import Task

NAMES = ("g", "sol")
"""What a solution may be called."""
_MOST_PARSED = 20_000


def recognise(fields: Fields) -> bool:
    """Return True for a puzzle."""
    return any(isinstance(fields.get(name), str) for name in ("sat", "puzzle"))


def read(fields: Fields) -> Problem:
    """Return the problem of a puzzle. Raises Malformed."""
    source = text(fields, "sat", "puzzle")
    head = optional(fields, "sol_header")
    references = [f"{head}\n{body}" for body in strings(fields, "sol_bodies")] if head else []
    references += [found] if (found := optional(fields, "sol", "solution")) else []
    prompt = f"def sol({_parameters(source)}):"
    return Problem(ident(fields), Task("", source, ""), prompt, references=tuple(references))


def solution(prompt: str, text: str) -> str:
    """Return the solution in what a model wrote.

    Args:
        prompt: The head of a solution, which a text that defines none continues.
        text: What the model wrote.
    """
    found = completion.code(text, names=NAMES)
    if found is None:
        return prompt + cut(text)
    if completion.defines(found, NAMES):
        return found
    return completion.continued(prompt, cut(found) if found[:1].isspace() else found)


def cut(text: str) -> str:
    """Return the text up to the first line that isn't indented, without trailing blank lines; the first line always
    counts.

    Lines inside brackets or strings are no exception. This is the paper's rule.
    """
    lines = text.split("\n")
    for number, line in enumerate(lines[1:], 1):
        if line.strip() and line[0] not in " \t":
            lines = lines[:number]
            break
    return "\n".join(lines).rstrip()


def _parameters(source: str) -> str:
    """Return the arguments of a puzzle that have defaults, verbatim; a completion continues a solution with them."""
    if len(source) > _MOST_PARSED:
        return ""
    try:
        found = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)][-1].args
    except (SyntaxError, ValueError, RecursionError, MemoryError, IndexError):
        return ""
    named = found.args[len(found.args) - len(found.defaults) :]
    segments = (ast.get_source_segment(source, one) for one in found.defaults)
    return ", ".join(f"{one.arg}={segment}" for one, segment in zip(named, segments, strict=True))
