"""Data in the texts of records: JSON, or a Python literal."""

from __future__ import annotations

import ast
import json
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from selftaught.sandbox.formats.problem import Malformed

_quiet = threading.Lock()  # filters of warnings are global
MOST_DIGITS = 1_000_000
"""Longer integers are refused: whoever sends one would have this process convert it for seconds."""
_DIGITS = 4000
"""Python converts integers up to this length (by default, 4,300 digits) in one step."""


def from_json(text: str, what: str) -> Any:
    """Return the value of a JSON text, with integers of up to `MOST_DIGITS` digits.

    Args:
        text: The text.
        what: Names it in the message.

    Raises:
        Malformed: It is not JSON.
    """
    try:
        return json.loads(text, parse_int=_whole_number)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"{what} is not JSON: {error}") from None


def from_text(text: str, what: str) -> Any:
    """Return the value of a text that is JSON, or else a Python literal.

    Raises:
        Malformed: It is neither.
    """
    try:
        return from_json(text, what)
    except Malformed:
        pass
    try:
        with without_warnings():
            return ast.literal_eval(text.strip())
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        raise Malformed(f"{what} is neither JSON nor a Python literal") from None


@contextmanager
def without_warnings() -> Iterator[None]:
    """Parse sources in this context: escapes such as ``\\d`` in them give no warnings."""
    with _quiet, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _whole_number(text: str) -> int:
    digits = text.lstrip("-")
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"a whole number of {len(digits):,} digits: {MOST_DIGITS:,} are the most")
    value = _converted(digits)
    return -value if text[0] == "-" else value


def _converted(digits: str) -> int:
    """Return the number, converted in halves: a digit at a time would take the square of their number."""
    if len(digits) <= _DIGITS:
        return int(digits)
    low = len(digits) // 2
    return _converted(digits[:-low]) * int(10**low) + _converted(digits[-low:])
