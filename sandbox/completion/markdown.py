"""Fenced blocks of a text, as CommonMark has them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import accumulate

from markdown_it import MarkdownIt

from selftaught.sandbox.completion import source

_PARSER = MarkdownIt("commonmark")
_PARSER.core.ruler.enableOnly(["normalize", "block"])
_PARSER.block.ruler.enableOnly(["blockquote", "code", "fence", "heading", "hr", "list", "paragraph"])
# No HTML blocks: they would hide a fence in the line after a tag such as <answer>.

_LANGUAGE = re.compile(r"[\s{.]*([\w+#-]*)")
_CODE_AS_INFO = re.compile(r"\s*(?:async +def|def|class|from|import) ")
_PYTHON = ("py", "py3", "ipython", "ipython3", "pycon", "tool_code")
_UNKNOWN = ("", "text", "txt", "plaintext", "plain", "code")
_MOST_EXTENDED = 16
"""How many blocks of a text may be closed by a fence in a docstring: each costs a reading of the text."""


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced or an indented block.

    Attributes:
        first: The line of its opening fence, from 0.
        end: The line after its last, the closing fence included.
        content: Its lines, without the indentation of the fence and of lists and quotes round it.
        language: The first word of the info string, in lower case; empty if there is none.
        fenced: False for a block that is only indented.
        closed: It has a closing fence.
        markup: The opening fence's characters; empty if it is only indented.
    """

    first: int
    end: int
    content: str
    language: str = ""
    fenced: bool = True
    closed: bool = True
    markup: str = ""

    @property
    def python(self) -> bool:
        """The info string says that it is Python."""
        return self.language in _PYTHON or self.language.startswith("python")

    @property
    def maybe_python(self) -> bool:
        """The info string does not say that it is something else."""
        return self.python or self.language in _UNKNOWN


def blocks(text: str) -> list[Block]:
    """Return the blocks of a text, in order.

    A fence inside a triple-quoted string closes no block, if the source is Python only that way.
    """
    lines, found = text.split("\n"), []
    for token in _PARSER.parse(text):
        if token.type == "fence" and token.map:
            found.append(_fenced(lines, token.map, token.info, token.content, token.markup))
        elif token.type == "code_block" and token.map:
            found += _indented(Block(token.map[0], token.map[1], token.content, fenced=False))
    return _extended(lines, found)


def offsets(text: str) -> list[int]:
    """Return where each line begins, and where one after the last would."""
    return [0, *accumulate(len(line) + 1 for line in text.split("\n"))]


def _indented(block: Block) -> list[Block]:
    """Return an indented block, or the fenced blocks in it if it begins with one: four spaces too many."""
    if not block.content.startswith(("```", "~~~")):
        return [block]
    inner = [one for one in blocks(block.content) if one.fenced]
    return [replace(one, first=block.first + one.first, end=block.first + one.end) for one in inner]


def _fenced(lines: list[str], span: list[int], info: str, content: str, markup: str) -> Block:
    first, end = span
    last = lines[end - 1].strip(" \t>") if end <= len(lines) else ""
    closed = end - 1 > first and last.startswith(markup) and not last.strip(markup[0])
    if _CODE_AS_INFO.match(info):  # a line break was forgotten
        return Block(first, end, f"{info.strip()}\n{content}", "", True, closed, markup)
    language = _LANGUAGE.match(info)
    name = language[1].lower() if language else ""
    head, _, rest = content.partition("\n")
    if not name and head.strip().lower() in ("python", "python3"):
        name, content = "python", rest
    return Block(first, end, content, name, True, closed, markup)


def _extended(lines: list[str], found: list[Block]) -> list[Block]:
    """Return the blocks, those that a fence in a docstring has closed extended to the fence after it."""
    kept: list[Block] = []
    left, end = _MOST_EXTENDED, 0
    for block in found:
        if block.first < end:
            continue  # swallowed by the block before
        if left and block.markup and block.closed and block.maybe_python and source.open_string(block.content):
            left -= 1
            longer = _longer(lines, block)
            if longer:
                block = longer
        end = block.end
        kept.append(block)
    return kept


def _longer(lines: list[str], block: Block) -> Block | None:
    head = lines[block.first]
    indent = len(head) - len(head.lstrip(" "))
    inner, quotes = [], ""
    for number in range(block.first + 1, len(lines)):
        line = lines[number]
        bare = line.strip()
        if not quotes and bare.startswith(block.markup) and not bare.strip(block.markup[0]):
            break
        inner.append(line[min(indent, len(line) - len(line.lstrip(" "))) :])
        quotes = source.quotes_after(line, quotes)
    else:
        return None
    content = "".join(line + "\n" for line in inner)
    if source.parse(content) is None:
        return None
    return Block(block.first, number + 1, content, block.language, True, True, block.markup)
