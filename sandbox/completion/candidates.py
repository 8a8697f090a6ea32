"""The pieces of an answer that may be its source, in order: fenced blocks, and code between them."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import replace

from selftaught.sandbox.completion import markdown, source
from selftaught.sandbox.completion.markdown import Block
from selftaught.sandbox.completion.source import Source

_MAY_BE_CODE = re.compile(
    r"(?:async|def|class|if|for|while|with|try|import|from|return|assert|raise|del|match)\b|[#@\"']"
    r"|[A-Za-z_][\w.\[\], *'\"]{0,200}(?:[-+*/%&|^@]|//|\*\*|<<|>>)?=|[A-Za-z_][\w.]{0,200}\("
)
_HEAD = re.compile(r"(?:async[ \t]+def|def|class)[ \t]+\w+[ \t]*[(:]")
_GOES_ON = re.compile(r"[ \t)\]}]|(?:else|elif|except|finally)\b")
_IN_CODE = re.compile(
    r"^[ \t]*(?:(?:async |def |class |import |from \w+ import )|(?:return|print|for|while|if)\b.*[(:=])", re.M
)
_SPAN = re.compile(r"\s*(`+)([^`]+)\1\s*")
_PROMPT = re.compile(r"(?:>>>|\.\.\.)(?: |$)")
_LANGUAGE = re.compile(r"\A\s*(?:python3?|py)[ \t]*\n", re.I)
"""What is left of a fence without its marks: they stood in a prompt that is not shown, or were cut."""
_KEYS = ("code", "solution", "answer", "python", "completion")
_BODY = re.compile(r"[ \t]*(?:return|for|while|if|with|try|raise|assert|yield)\b|[ \t]*[A-Za-z_]\w*[ \t]*[-+*/]?=")


def find(answer: str) -> list[Source]:
    """Return the candidates in an answer, in order.

    An indented beginning continues a function and is the only one, unless a block comes after it.
    """
    blocks = [block for block in _blocks(answer) if block.fenced]
    lines = answer.split("\n")
    found: list[Source] = []
    place = 0
    for block in blocks:
        found += _unfenced("\n".join(lines[place : block.first]), place == 0)
        found += _fenced(block)
        place = block.end
    found += _unfenced("\n".join(lines[place:]), place == 0)
    return found or _from_json(answer, blocks)


def _blocks(text: str) -> list[Block]:
    return markdown.blocks(text) if "```" in text or "~~~" in text else []


def _fenced(block: Block) -> list[Source]:
    """Return the candidates in a fenced block."""
    if block.language in ("md", "markdown") or (not block.python and "```" in block.content):
        inner = [one for one in _blocks(block.content) if one.fenced]
        return [found for one in inner if one.language not in ("md", "markdown") for found in _fenced(one)]
    if not block.maybe_python:
        return []
    text = _without_prompts(block.content)
    pieces = [text]
    if f"\n{block.markup}" in text and source.parse(text) is None:  # another fence, where this one was to be closed
        pieces = re.split(rf"^{re.escape(block.markup)}.*\n?", text, flags=re.M)
    return [found for piece in pieces for found in _in_block(piece, block)]


def _in_block(text: str, block: Block) -> list[Source]:
    found = Source(text, marked=block.python, fenced=True, body=text[:1] in (" ", "\t") and source.parse(text) is None)
    if not text.strip() or not (block.python or found.is_code or _IN_CODE.search(text)):
        return []
    return [found]


def _without_prompts(text: str) -> str:
    """Return what was typed in a session of the interpreter; other text as it is."""
    if not text.lstrip().startswith(">>>"):
        return text
    return "".join(line[4:] + "\n" for line in text.split("\n") if _PROMPT.match(line))


def _unfenced(text: str, first: bool) -> list[Source]:
    """Return the candidates in text outside of fences.

    Args:
        text: The text.
        first: The answer begins with it.
    """
    if first:
        text = _LANGUAGE.sub("", text)
    if not text.strip():
        return []
    whole = Source(text)
    if whole.is_code:
        return [_as_body(whole)]
    if first and (body := _beginning(text)):
        return [body]
    span = _SPAN.fullmatch(text)
    if span and Source(span[2].strip()).is_code:
        return [_as_body(Source(span[2].strip()))]
    return [_as_body(one) for one in _runs(text)] or list(_indented(text))


def _as_body(found: Source) -> Source:
    """Return a source as the body of a function if it is one."""
    return replace(found, body=True) if found.returns else found


def _beginning(text: str) -> Source | None:
    """Return the body of a function that a text begins with: its lines up to the first that isn't indented."""
    lines = text.split("\n")
    first = next(number for number, line in enumerate(lines) if line.strip())
    if lines[first][:1] not in (" ", "\t"):
        return None
    end = next((n for n, line in enumerate(lines) if n > first and line.strip() and line[0] not in " \t"), len(lines))
    body = "\n".join(lines[:end]).rstrip() + ("\n" if end < len(lines) or text.endswith("\n") else "")
    found = Source(body, body=True)
    if found.tree is None:
        return found if _BODY.match(lines[first]) else None
    whole = Source(_dedented(body))  # an answer that is indented as a whole, or a body that begins with a helper
    return found if found.is_code and (found.returns or not whole.is_definition) else None


def _indented(text: str) -> Iterator[Source]:
    """Yield the code in blocks that are only indented."""
    for block in markdown.blocks(text) if re.search(r"^(?:    |\t)", text, re.M) else ():
        found = Source(block.content)
        if not block.fenced and found.is_code:
            yield _as_body(found)


def _dedented(text: str) -> str:
    lines = [line for line in text.split("\n") if line.strip()]
    margin = min(len(line) - len(line.lstrip()) for line in lines)
    return "".join(line[margin:] + "\n" for line in lines)


def _runs(text: str) -> list[Source]:
    """Return the code in prose: runs of statements that each can be parsed, and definitions that can't."""
    found: list[Source] = []
    run: list[str] = []

    def end() -> None:
        code = Source("\n".join(run))
        if any(_tells(chunk) for chunk in run):
            found.append(code)
        run.clear()

    for chunk in _chunks(text):
        may_be = _MAY_BE_CODE.match(chunk) and (run or chunk[0] not in "#\"'")
        one = Source(chunk) if may_be else None
        if one and one.tree and (one.is_code or (run and _joins(one.tree))):
            run.append(chunk)
            continue
        end()
        if one and _HEAD.match(chunk):
            found.append(Source(chunk.rstrip()))
    end()
    return found


def _chunks(text: str) -> Iterator[str]:
    """Yield a text in pieces that begin at a line that isn't indented, if no string or decorator goes on there."""
    chunk: list[str] = []
    quotes, decorates = "", False
    for line in text.split("\n"):
        if chunk and line.strip() and not quotes and not decorates and not _GOES_ON.match(line):
            yield "\n".join(chunk)
            chunk = []
        if not chunk and not line.strip():
            continue
        decorates = line.startswith("@")
        code = bool(chunk) or _MAY_BE_CODE.match(line) is not None
        chunk.append(line)
        quotes = source.quotes_after(line, quotes) if code and _MAY_BE_CODE.match(chunk[0]) else ""
    if chunk:
        yield "\n".join(chunk)


def _tells(chunk: str) -> bool:
    """Return True for statements that prose hardly has."""
    return _IN_CODE.search(chunk) is not None or "input(" in chunk or "stdin" in chunk


def _joins(tree: ast.Module) -> bool:
    """Return True for what goes on in a program, but does not make one: comments, strings, calls."""
    return all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Call | ast.Constant) for node in tree.body)


def _from_json(answer: str, blocks: list[Block]) -> list[Source]:
    """Return the source in an answer that is a JSON object, fenced or not."""
    for text in [answer, *(block.content for block in blocks if block.language in ("json", ""))]:
        if not text.lstrip().startswith("{"):
            continue
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError):
            continue
        value = next((fields[key] for key in _KEYS if isinstance(fields.get(key), str)), None)
        if value is not None:
            return find(value)
    return []
