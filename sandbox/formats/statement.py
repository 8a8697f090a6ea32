"""The words in which a problem of a dataset is stated."""

from __future__ import annotations

from typing import Any

from selftaught.sandbox import completion
from selftaught.sandbox.formats.fields import Fields

NAMES = (
    "question_content",
    "question",
    "problem_description",
    "problem_statement",
    "description",
    "problem",
    "text",
    "query",
    "prompt",
)
"""The fields that have them, in the order in which they are looked for."""
_FURTHER = {"input_format": "Input", "output_format": "Output", "note": "Note"}


def read(fields: Fields) -> str:
    """Return the statement of a problem; empty if its record has none."""
    statement = next((found for name in NAMES if (found := _words(fields.get(name)))), "")
    further = ((title, _words(fields.get(name))) for name, title in _FURTHER.items())
    return statement + "".join(f"\n\n{title}:\n{found}" for title, found in further if found and statement)


def _words(value: Any) -> str:
    """Return a statement: text, or the messages of a prompt."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, list | tuple):
        return "\n\n".join(filter(None, (completion.text(one).strip() for one in value)))
    return ""
