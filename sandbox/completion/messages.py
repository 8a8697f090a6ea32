"""The text of a message, in whatever shape an API or a chat template has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_THOUGHTS = ("thinking", "reasoning", "redacted_thinking", "reasoning_text", "summary_text")
"""Types of content parts that are no part of the answer."""

_NESTING = 4
"""How deep content is looked for: messages, a message, its parts, a part."""


def text(message: Any) -> str:
    """Return the text of a completion or a prompt.

    Args:
        message: A string; a message, as a mapping or an object with `content`; or a list of messages, of which the
            last one of the assistant counts, or the last; or a list of content parts, such as
            ``{"type": "text", "text": ...}``, which are joined. Reasoning in fields or parts of its own, such as
            `reasoning_content`, is left out.

    Returns:
        The text; ``""`` if there is none.
    """
    return _text(message, _NESTING)


def beginning(prompt: Any) -> str:
    """Return the text that a completion continues: the prompt, but of messages only a last one of the assistant."""
    if isinstance(prompt, str):
        return prompt
    if not _is_list(prompt) or not prompt or not _is_message(prompt[-1]):
        return text(prompt)
    return text(prompt[-1]) if _field(prompt[-1], "role") in ("assistant", "model") else ""


def _text(message: Any, nesting: int) -> str:
    if isinstance(message, str):
        return message
    if nesting == 0 or message is None:
        return ""
    if not _is_list(message):
        if _field(message, "type") in _THOUGHTS:
            return ""
        content = _field(message, "content")
        return _text(_field(message, "text") if content is None else content, nesting - 1)
    if any(map(_is_message, message)):
        own = [one for one in message if _field(one, "role") in ("assistant", "model")]
        return _text((own or message)[-1], nesting - 1)
    return "".join(_text(part, nesting - 1) for part in message)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _is_message(value: Any) -> bool:
    return not isinstance(value, str) and (_field(value, "role") is not None or _field(value, "content") is not None)


def _field(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
