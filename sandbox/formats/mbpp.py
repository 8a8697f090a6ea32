"""MBPP, sanitised MBPP (google-research), and MBPP+ (evalplus/mbppplus)."""

from __future__ import annotations

from selftaught.sandbox.formats import sources
from selftaught.sandbox.formats.fields import Fields, ident, optional, strings, text
from selftaught.sandbox.formats.problem import Malformed, Problem
from selftaught.sandbox.task import FunctionTask


def recognise(fields: Fields) -> bool:
    """Return True for records of MBPP, sanitised or not."""
    return "test_list" in fields and not recognise_plus(fields)


def recognise_plus(fields: Fields) -> bool:
    """Return True for records of MBPP+."""
    return "test_list" in fields and bool(optional(fields, "test"))


def read(fields: Fields) -> Problem:
    """Return the problem of a record, judged by `test_list`."""
    return _problem(fields, strings(fields, "test_list"))


def read_with_challenges(fields: Fields) -> Problem:
    """Return the problem of a record, judged by `test_list` and `challenge_test_list`."""
    return _problem(fields, strings(fields, "test_list") + strings(fields, "challenge_test_list"))


def read_plus(fields: Fields) -> Problem:
    """Return the problem of a record of MBPP+: its `test` is a loop over inputs."""
    tests = sources.with_cases(text(fields, "test"), "test")
    return _made(fields, _entry_point(fields, strings(fields, "test_list")), tests)


def _problem(fields: Fields, asserts: list[str]) -> Problem:
    if not asserts:
        raise Malformed("test_list is empty")
    return _made(fields, _entry_point(fields, asserts), "\n".join(asserts) + "\n")


def _made(fields: Fields, name: str, tests: str) -> Problem:
    """Return the problem. Code that uses names of the solution can only run beside it."""
    setup = "\n".join([*strings(fields, "test_imports"), optional(fields, "test_setup_code")]).strip()
    prelude = f"{setup}\n" if setup else ""
    isolation = "process"
    if setup and sources.free_names(sources.tree(setup, "test_setup_code")):
        prelude, tests, isolation = "", prelude + tests, "shared"
    key = ident(fields)
    judge = FunctionTask(key, "", name, tests=tests, prelude=prelude, isolation=isolation)
    code = optional(fields, "code")
    return Problem(key, judge, references=(code,) if code else ())


def _entry_point(fields: Fields, asserts: list[str]) -> str:
    """Return the function that the first assert calls."""
    preferred: set[str] = set()
    if code := optional(fields, "code"):
        preferred = sources.defined(sources.tree(code, "code"))
    for one in asserts:
        if name := sources.entry_point(sources.tree(one, "test_list"), preferred):
            return name
    raise Malformed("no assert of test_list calls a function")
