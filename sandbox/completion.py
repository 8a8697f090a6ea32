"""Read what a model wrote: the answer without reasoning and special tokens, and the code in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def text(message: Any) -> str:
    """Return the text of a completion: a string, a list of content parts, a message, or messages, of which the last
    counts. Reasoning in fields of its own (`reasoning_content`) is left out; what has no text is ``""``."""
    raise NotImplementedError


def answer(completion: Any, prompt: Any = "") -> str:
    """Return the answer in a completion: its text without reasoning, and only up to the first end-of-text token.

    Args:
        completion: Text, a list of content parts, or messages, of which the last counts.
        prompt: The prompt that the completion continues, if it does; it may have opened the reasoning.

    Returns:
        The answer; ``""`` if the text ends before the reasoning does.
    """
    raise NotImplementedError


def code(completion: Any, prompt: Any = "", names: Sequence[str] = ()) -> str | None:
    """Return the Python source of a completion's answer.

    Args:
        completion: As for `answer`.
        prompt: As for `answer`; it may also have opened the fence.
        names: Names of the functions (or classes) that an answer may define; the last block that defines one wins over
            drafts before it and over summaries and examples after it.

    Returns:
        The source; None if no code is understood in the answer, which is then not to be judged.
    """
    raise NotImplementedError
