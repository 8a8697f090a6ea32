"""APPS (codeparrot/apps) and TACO (BAAI/TACO)."""

from __future__ import annotations

from typing import Any

from selftaught.sandbox.formats import pairs, preludes
from selftaught.sandbox.formats.fields import Fields, decoded, ident, solutions
from selftaught.sandbox.formats.problem import Malformed, Problem


def recognise(fields: Fields) -> bool:
    """Return True for records of APPS."""
    return bool(fields.get("input_output")) and "problem_id" in fields


def recognise_taco(fields: Fields) -> bool:
    """Return True for records of TACO, which have no ids."""
    return bool(fields.get("input_output")) and not recognise(fields)


def read(fields: Fields) -> Problem:
    """Return the problem of a record. With `fn_name` each input is a list of arguments, else standard input."""
    if not fields.get("input_output"):
        raise Malformed("the field 'input_output' is missing or empty")
    content: Any = decoded(fields["input_output"], "input_output")
    if not isinstance(content, dict) or not {"inputs", "outputs"} <= content.keys():
        raise Malformed("input_output must have inputs and outputs")
    return pairs.problem(
        ident(fields),
        content["inputs"],
        content["outputs"],
        compare="apps",
        function=content.get("fn_name") or None,
        imports=preludes.APPS,
        references=solutions(fields.get("solutions")),
    )
