"""Cases of a function as JSON: for HTTP, JSON Lines and Parquet.

A case is one of::

    [ARGS, KWARGS, EXPECTED]
    {"args": ARGS, "kwargs": KWARGS, "expected": EXPECTED}      "kwargs" may be left out
    {"python": "(ARGS, KWARGS, EXPECTED)"}                      Python literals
    {"encoded": {"args": [...], "kwargs": {...}, "expected": "..."}}

The first two hold what JSON can say. The third adds tuples, sets, bytes and complex numbers, and the fourth all plain
data: each value is the base64 of its encoding (`selftaught.sandbox.codec`). The client writes the first where it says
all, else the fourth. No value of the fourth is ever built here: a few bytes may stand for large objects.
"""

from __future__ import annotations

import ast
import base64
import math
from typing import Any, TypeAlias

from selftaught.sandbox import codec
from selftaught.sandbox.judging import EncodedCase, check_encoding, encode, encode_arguments, encode_case

MOST_LITERAL = 1 << 16
"""The most characters of Python literals in a case: to parse them takes a hundred times the memory."""

Sequences: TypeAlias = type[list[Any]] | tuple[type[list[Any]], type[tuple[Any, ...]]]

_FORMS = "[args, kwargs, expected], or an object with 'args' and 'expected', 'python', or 'encoded'"


def read(cases: Any) -> list[EncodedCase]:
    """Return cases from JSON.

    Args:
        cases: The parsed JSON value.

    Raises:
        ValueError: It is no list of cases; the message has the number of the wrong one.
    """
    if not isinstance(cases, list):
        raise ValueError(f"cases must be an array, not {type(cases).__name__}")
    found = []
    for number, case in enumerate(cases):
        try:
            found.append(_read(case))
        except ValueError as error:
            raise ValueError(f"cases[{number}]: {error}") from error
    return found


def _read(case: Any) -> EncodedCase:
    if isinstance(case, list):
        return _read_parts(case)
    names = set(case) if isinstance(case, dict) else set()
    if names == {"encoded"}:
        return _read_encoded(case["encoded"])
    if names == {"python"}:
        return _read_parts(_literal(case["python"]), (list, tuple))
    if names in ({"args", "expected"}, {"args", "kwargs", "expected"}):
        return _read_parts([case["args"], case.get("kwargs", {}), case["expected"]])
    raise ValueError(f"not a case: {_FORMS}")


def _read_parts(case: Any, sequences: Sequences = list) -> EncodedCase:
    if not isinstance(case, sequences) or len(case) != 3:
        raise ValueError(f"not a case: {_FORMS}")
    args, kwargs, expected = case
    _check_arguments(args, kwargs, sequences)
    try:
        return encode_case(args, kwargs, expected)
    except codec.NotPlain as error:
        raise ValueError(str(error)) from error


def _check_arguments(args: Any, kwargs: Any, sequences: Sequences = list) -> None:
    if not isinstance(args, sequences):
        raise ValueError(f"args must be an array, not {type(args).__name__}")
    if not isinstance(kwargs, dict) or not all(isinstance(name, str) for name in kwargs):
        raise ValueError("kwargs must be an object whose names are strings")


def _literal(text: Any) -> Any:
    """Return the value of a Python literal. Raises ValueError."""
    if not isinstance(text, str):
        raise ValueError(f"'python' must be a string, not {type(text).__name__}")
    if len(text) > MOST_LITERAL:
        raise ValueError(f"'python' is longer than {MOST_LITERAL:,} characters: send such values as 'encoded'")
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError(f"'python' is not a Python literal: {type(error).__name__}: {str(error)[:200]}") from None


def _read_encoded(parts: Any) -> EncodedCase:
    if not isinstance(parts, dict) or not {"args", "expected"} <= parts.keys() <= {"args", "kwargs", "expected"}:
        raise ValueError("'encoded' must be an object with 'args', 'kwargs' and 'expected'")
    args, kwargs = parts["args"], parts.get("kwargs", {})
    _check_arguments(args, kwargs)
    given = [_encoding(value) for value in args]
    named = {name: _encoding(value) for name, value in kwargs.items()}
    expected = _encoding(parts["expected"])
    try:
        return EncodedCase(encode_arguments(given, named), expected)
    except codec.Malformed as error:
        raise ValueError(f"'encoded': {error}") from error


def _encoding(text: Any) -> bytes:
    """Return the bytes of an encoded value. Raises ValueError."""
    if not isinstance(text, str):
        raise ValueError(f"an encoded value must be a string, not {type(text).__name__}")
    try:
        data = base64.b64decode(text, validate=True)
        check_encoding(data)
    except ValueError as error:  # of base64 too
        raise ValueError(f"not the base64 of an encoded value: {error}") from error
    return data


def write(arguments: bytes, expected: bytes) -> Any:
    """Return a case as a JSON value.

    Args:
        arguments: The encoding of ``(args, kwargs)``.
        expected: The encoding of what is expected.
    """
    args, kwargs = _pair(codec.decode(arguments))
    wanted = codec.decode(expected)
    if all(map(_is_json, (*args, kwargs, wanted))):
        return [list(args), kwargs, wanted]
    named = {name: _text(encode(value)) for name, value in kwargs.items()}
    return {
        "encoded": {
            "args": [_text(encode(value)) for value in args],
            "kwargs": named,
            "expected": _text(expected),
        }
    }


def _pair(value: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    args, kwargs = value
    return args, kwargs


def _text(encoding: bytes) -> str:
    return base64.b64encode(encoding).decode()


def _is_json(value: object) -> bool:
    """Return True if the value survives a way through JSON as it is. It is plain data, and so not nested deep."""
    if type(value) is float:  # NumPy's float64 is a subclass
        return math.isfinite(value)
    if isinstance(value, int):
        return value.bit_length() < 64  # some parsers read larger ones as floats
    if type(value) is list:
        return all(map(_is_json, value))
    if type(value) is dict:
        return all(type(name) is str and _is_json(each) for name, each in value.items())
    return value is None or type(value) is str
