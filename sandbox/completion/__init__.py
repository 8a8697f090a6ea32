"""Read what a model wrote: its answer without reasoning and special tokens, and the Python source in it.

    messages.py      the text of a message, in whatever shape an API or a chat template has it
    tokens.py        the answer in a text: reasoning, channels, end-of-text tokens
    markdown.py      fenced blocks, as CommonMark has them
    source.py        what a piece of text defines and reads, if it is Python
    candidates.py    the pieces of an answer that may be its source, in order
    choice.py        which of them is meant

Nothing here runs what a model wrote. Every function takes time linear in the text.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from selftaught.sandbox.completion import candidates, choice, messages, source, tokens
from selftaught.sandbox.completion.messages import text
from selftaught.sandbox.completion.source import Source
from selftaught.sandbox.completion.tokens import opened
from selftaught.sandbox.formats.literals import without_warnings

__all__ = ["answer", "code", "continued", "defines", "goes_on", "opened", "text"]


def answer(completion: Any, prompt: Any = "") -> str:
    """Return the answer in a completion: its text without reasoning, up to the first end-of-text token.

    Tags of reasoning and special tokens that stand in code, or between quotes, are text.

    Args:
        completion: Text, a list of content parts, or a message or messages (see `text`).
        prompt: The prompt that the completion continues, if it does; it may have opened the reasoning.

    Returns:
        The answer; ``""`` if the text ends before the reasoning does.
    """
    with without_warnings():
        return tokens.answer(text(completion), messages.beginning(prompt))


def code(completion: Any, prompt: Any = "", names: Collection[str] = ()) -> str | None:
    """Return the Python source of a completion's answer.

    It is that of the last block, or unfenced code, that defines one of the names completely: drafts come before it,
    summaries, examples and tests after it. Definitions and imports that it lacks are taken from the other blocks. If
    nothing defines a name it is the last block of Python, or what continues a function (an indented body). Without
    names it is the last program that reads its input, or else the last that doesn't only use those before it.

    Args:
        completion: As for `answer`.
        prompt: As for `answer`; it may also have opened the fenced block, and is then part of the source.
        names: Names of functions or classes of which the source must define one.

    Returns:
        The source, which need not be free of errors; None if no code is understood in the answer: such an answer is
        neither right nor wrong.
    """
    before = messages.beginning(prompt)
    with without_warnings():
        written = tokens.answer(text(completion), before)
        opened = tokens.open_fence(before)
        if opened:
            found = choice.choose(candidates.find(opened + written), names)
            if found and found.complete:
                return found.text
        found = choice.choose(candidates.find(written), names)
    return found.text if found else None


def defines(code: str, names: Collection[str]) -> bool:
    """Return True if a source defines one of the names at its top level, also if it has errors."""
    with without_warnings():
        return Source(code).defines(names)


def goes_on(code: str) -> bool:
    """Return True if a source is no program but continues a function: it is indented, or returns."""
    with without_warnings():
        return code[:1] in (" ", "\t", "\n") or Source(code).returns


def continued(prompt: str, code: str) -> str:
    """Return the source of a prompt that ends in a function's head, or later, with the code that continues it.

    The code may lack the line break or the indentation, as it does if the model put it into a fenced block.
    """
    with without_warnings():
        return source.continued(prompt, code)
