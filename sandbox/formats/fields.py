"""Fields of records, with messages that name them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeAlias

from selftaught.sandbox.formats import literals
from selftaught.sandbox.formats.problem import Malformed

Fields: TypeAlias = Mapping[str, Any]

IDS = ("task_id", "question_id", "problem_id", "name", "id")
"""What datasets call the id of a problem."""

_FENCED = re.compile(r"```[ \t]*(?:python3?|py)?[ \t]*\r?\n(.*?)```", re.S | re.I)


def text(fields: Fields, *names: str) -> str:
    """Return the first of these fields that is there, a string.

    Raises:
        Malformed: None is there, or it is no string.
    """
    for name in names:
        if fields.get(name) is not None:
            value = fields[name]
            if not isinstance(value, str):
                raise Malformed(f"the field {name!r} must be a string, not {type(value).__name__}")
            return value
    raise Malformed(f"the field {' or '.join(map(repr, names))} is missing")


def optional(fields: Fields, *names: str) -> str:
    """Return the first of these fields that is a string, or an empty one."""
    return next((fields[name] for name in names if isinstance(fields.get(name), str)), "")


def strings(fields: Fields, name: str) -> list[str]:
    """Return a field that is a list of strings; missing is empty.

    Raises:
        Malformed: It is something else.
    """
    value = fields.get(name)
    value = [] if value is None else value
    if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
        raise Malformed(f"the field {name!r} must be a list of strings")
    return list(value)


def decoded(value: Any, what: str) -> Any:
    """Return the value, or what the text stands for if it is one (JSON, or a Python literal).

    Raises:
        Malformed: The text is neither.
    """
    return literals.from_text(value, what) if isinstance(value, str) else value


def ident(fields: Fields) -> str:
    """Return the id of a record: the first of its fields for one that is a string or a whole number; empty if none is.

    The fields are `IDS`, and ``extra_info.index`` in verl's rows.
    """
    extra = fields.get("extra_info")
    for value in (*map(fields.get, IDS), extra.get("index") if isinstance(extra, dict) else None):
        if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
            return str(value)
    return ""


def solutions(value: Any) -> tuple[str, ...]:
    """Return solutions that a dataset has: a source, a list of them, or the text of such a list; fenced or not."""
    if isinstance(value, str) and value.lstrip()[:1] == "[":
        try:
            value = literals.from_text(value, "solutions")
        except Malformed:
            pass  # a source that begins so
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple):
        return ()
    return tuple(unfenced(one) for one in value if isinstance(one, str) and one.strip())


def unfenced(source: str) -> str:
    """Return the last fenced block of a text, or the text if it has none."""
    found = _FENCED.findall(source)
    return str(found[-1]) if found else source
