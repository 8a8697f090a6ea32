"""open-r1's datasets: verifiable-coding-problems-python (`verification_info`), and codeforces (tests and checkers)."""

from __future__ import annotations

from typing import Any

from selftaught.sandbox.formats import pairs, preludes, primeintellect
from selftaught.sandbox.formats.fields import Fields, decoded, ident, optional, solutions
from selftaught.sandbox.formats.problem import Malformed, Problem

_CHECKER = '''\
import builtins, io, sys

_program = compile({source!r}, "checker.py", "exec")


def check(input, output, expected):
    """Run a checker that reads files, named by its arguments, and prints 1 for an answer that it accepts."""
    files = {{"input.txt": input, "correct_output.txt": expected, "solution_output.txt": output}}

    def opened(name, *_, **__):
        return io.StringIO(files[str(name)])

    arguments, stdout = sys.argv, sys.stdout
    sys.argv, sys.stdout = ["checker.py", *files], io.StringIO()
    try:
        exec(_program, {{"__name__": "__main__", "open": opened}})
    except SystemExit:
        pass
    finally:
        printed = sys.stdout.getvalue()
        sys.argv, sys.stdout = arguments, stdout
    return printed.strip() == "1"
'''


def recognise(fields: Fields) -> bool:
    """Return True for records of open-r1's sets, where `verification_info` is an object and not a text."""
    return "official_tests" in fields or isinstance(fields.get("verification_info"), dict)


def read(fields: Fields) -> Problem:
    """Return the problem of a record."""
    if "official_tests" not in fields:
        return primeintellect.from_info(fields, "livecodebench")
    if fields.get("input_mode") == "file":
        raise Malformed("the program reads a file (input_mode): only standard input is judged")
    tests: Any = decoded(fields["official_tests"] or [], "official_tests")
    try:
        inputs, outputs = [one["input"] for one in tests], [one["output"] for one in tests]
    except (TypeError, KeyError):
        raise Malformed("official_tests must be a list of objects with input and output") from None
    checker = optional(fields, "generated_checker")
    return pairs.problem(
        ident(fields),
        inputs,
        outputs,
        compare="lines",
        imports=preludes.CONTEST,
        references=solutions(fields.get("solutions")),
        checker=_CHECKER.format(source=checker) if checker else None,
    )
