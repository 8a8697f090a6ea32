"""Inputs and outputs -> cases of a program, or of a function if its name is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from selftaught.sandbox.formats import literals
from selftaught.sandbox.formats.problem import Malformed, Problem
from selftaught.sandbox.task import FunctionTask, StdioTask


def problem(
    ident: str,
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    *,
    compare: str,
    function: str | None = None,
    imports: str = "",
    references: tuple[str, ...] = (),
    checker: str | None = None,
) -> Problem:
    """Return a problem.

    Args:
        ident: Its id.
        inputs: Standard inputs; arguments of each call, as a list or as a line of JSON for each, if there is a
            function.
        outputs: What is expected.
        compare: How it is compared.
        function: The name of the function, or of a method of ``Solution``.
        imports: Imports that solutions may lack.
        references: The dataset's solutions.
        checker: Source of ``check``, in place of `compare`.

    Raises:
        Malformed: There are no cases, or not as many outputs as inputs.
    """
    if not isinstance(inputs, list | tuple) or not isinstance(outputs, list | tuple):
        raise Malformed("inputs and outputs must be lists")
    if len(inputs) != len(outputs):
        raise Malformed(f"there are {len(inputs)} inputs, but {len(outputs)} outputs")
    if not inputs:
        raise Malformed("there are no test cases")
    if function is None:
        cases = [(_text(one), _text(other)) for one, other in zip(inputs, outputs, strict=True)]
        program = StdioTask(ident, "", cases, compare=compare, checker=checker)
        return Problem(ident, program, imports=imports, references=references)
    calls = [_call(one, other) for one, other in zip(inputs, outputs, strict=True)]
    judge = FunctionTask(
        ident, "", function.removeprefix("Solution."), cases=calls, prelude=imports, compare=compare, checker=checker
    )
    return Problem(ident, judge, method=True, references=references)


def _text(value: Any) -> str:
    """Return standard input or output, of which some datasets list the lines."""
    if isinstance(value, list | tuple):
        return "\n".join(map(str, value))
    return value if isinstance(value, str) else str(value)


def _call(given: Any, expected: Any) -> tuple[list[Any], dict[str, Any], Any]:
    """Return the arguments of a call and its result. If the arguments are JSON, a line each, so is the result."""
    if isinstance(given, str):
        arguments = [literals.from_json(line, "an argument") for line in given.strip("\n").split("\n") if line.strip()]
        if isinstance(expected, str):
            expected = literals.from_json(expected, "an expected result")
    else:
        arguments = list(given) if isinstance(given, list | tuple) else [given]
    if arguments and isinstance(arguments[0], dict):
        arguments[0] = _with_number_keys(arguments[0])
    return arguments, {}, expected


def _with_number_keys(given: dict[Any, Any]) -> dict[Any, Any]:
    """Return a dictionary with whole numbers as keys if all are: JSON knows strings alone."""
    try:
        return {int(key): value for key, value in given.items()}
    except (TypeError, ValueError):
        return given
