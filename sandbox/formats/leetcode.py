"""LeetCode problems with ``def check(candidate)``: rllm's set (`tests.functional`), and newfacade/LeetCodeDataset."""

from __future__ import annotations

from typing import Any

from selftaught.sandbox.formats import preludes, sources
from selftaught.sandbox.formats.fields import Fields, decoded, ident, optional, solutions, text
from selftaught.sandbox.formats.problem import Malformed, Problem
from selftaught.sandbox.task import FunctionTask

_INSTANCE = "Solution()."


def recognise(fields: Fields) -> bool:
    """Return True for records of either set."""
    return optional(fields, "entry_point").startswith(_INSTANCE) or _functional(fields) is not None


def read(fields: Fields) -> Problem:
    """Return the problem of a record. Solutions find what LeetCode gives them, such as `List` and `TreeNode`."""
    if "entry_point" in fields:
        return _of_leetcode_dataset(fields)
    functional = _functional(fields)
    if functional is None:
        raise Malformed("the field 'tests' must have the tests as `functional`")
    tests, name = sources.without_call_of_check(functional, "tests")
    if name is None:
        raise Malformed("the tests must end in `check(Solution().METHOD)`")
    key = ident(fields)
    judge = FunctionTask(key, "", name, tests=tests, prelude=preludes.LEETCODE)
    return Problem(key, judge, references=solutions(fields.get("solutions")))


def _of_leetcode_dataset(fields: Fields) -> Problem:
    """Return the problem; the prompt has imports and classes that solution and tests share."""
    name = text(fields, "entry_point")
    if name.startswith(_INSTANCE):
        name = f"Solution.{name.removeprefix(_INSTANCE)}"
    prelude = optional(fields, "prompt") or preludes.LEETCODE
    key = ident(fields)
    judge = FunctionTask(key, "", name, tests=text(fields, "test"), prelude=prelude)
    return Problem(key, judge, references=solutions(fields.get("completion")))


def _functional(fields: Fields) -> str | None:
    tests: Any = fields.get("tests")
    if isinstance(tests, str) and "functional" in tests:
        try:
            tests = decoded(tests, "tests")
        except Malformed:
            return None
    found = tests.get("functional") if isinstance(tests, dict) else None
    return found if isinstance(found, str) else None
