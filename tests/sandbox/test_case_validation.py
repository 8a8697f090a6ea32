"""Tasks with tests or cases: what can't be judged is `invalid` with a reason, and what can comes back packed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest

from selftaught.sandbox import FunctionTask, Limits, Status, StdioTask, Verdict, judging
from selftaught.sandbox.job import Kind
from selftaught.sandbox.judging import PackedTask
from selftaught.sandbox.validation import MOST_CHARACTERS, check_task
from tests.sandbox.malformed import Anonymous, Denying, Stricter, Text, Unprintable, Unwilling, forced

SOL = "def f(x): return x"


def by_tests(**fields: Any) -> FunctionTask:
    return forced(FunctionTask("x", SOL, "f", tests="assert f(1) == 1"), **fields)  # type: ignore[no-any-return]


def with_cases(*cases: Any, **fields: Any) -> FunctionTask:
    return forced(FunctionTask("x", SOL, "f"), cases=[*cases], **fields)  # type: ignore[no-any-return]


def program(*cases: Any, **fields: Any) -> StdioTask:
    return forced(StdioTask("x", "print(1)", [*cases]), **fields)  # type: ignore[no-any-return]


class Lying(list[Any]):
    """A list that claims to have one item."""

    def __len__(self) -> int:
        return 1


class Name(str):
    """A string of another class."""


class Exploding(dict[str, Any]):
    """A dict that can't be read."""

    def items(self) -> Any:
        raise Unwilling


MALFORMED: dict[str, tuple[Callable[[], Any], str]] = {
    "tests and cases": (lambda: by_tests(cases=[([], {}, 1)]), "either tests or cases, and this one both"),
    "neither tests nor cases": (lambda: FunctionTask("x", SOL, "f"), "and this one neither"),
    "no cases": (with_cases, "from 1 to 65,536 cases, not 0"),
    "no cases of a program": (program, "from 1 to 65,536 cases, not 0"),
    "no cases behind a lying length": (lambda: forced(with_cases(), cases=Lying()), "not 0"),
    "too many cases": (lambda: program(*[("", "")] * 65_537), "not 65,537"),
    "text for cases": (lambda: forced(with_cases(), cases="abc"), "must be a list or tuple, not str"),
    "a generator of cases": (lambda: forced(program(), cases=iter(())), "must be a list or tuple"),
    "a case that is text": (lambda: with_cases(([], {}, 1), "abc"), "cases[1] must be (args, kwargs, expected)"),
    "a case without keyword arguments": (lambda: with_cases(([1], 1)), "cases[0] must be (args, kwargs, expected)"),
    "args that are text": (lambda: with_cases(("ab", {}, 1)), "cases[0]: args must be a list or tuple, not str"),
    "kwargs that are a list": (lambda: with_cases(([], [], 1)), "cases[0]: kwargs must be a dict, not list"),
    "kwargs by number": (lambda: with_cases(([], {1: 2}, 1)), "a keyword argument must be a string, not int"),
    "kwargs that can't be read": (lambda: with_cases(([], Exploding(a=1), 1)), "can't be read"),
    "an argument that is no data": (
        lambda: with_cases(([1], {}, 1), ([object()], {}, 1)),
        "cases[1]: an argument: an instance of object is not plain data",
    ),
    "an expected result that is no data": (
        lambda: with_cases(([], {}, [{"a": Denying()}])),
        "cases[0]: the expected result: an instance of Denying is not plain data",
    ),
    "a value of a nameless class": (lambda: with_cases(([Anonymous()], {}, 1)), "is not plain data"),
    "a keyword argument of another class": (lambda: with_cases(([], {"a": Text("x")}, 1)), "Text is not plain data"),
    "a cyclic value": (lambda: with_cases(([cyclic()], {}, 1)), "nested deeper"),
    "standard input in bytes": (lambda: program(("", ""), (b"", "")), "cases[1]: standard input must be a string"),
    "no expected output": (lambda: program(("", None)), "cases[0]: the expected output must be a string, not NoneType"),
    "a case of three": (lambda: program(("", "", "")), "cases[0] must be (standard input, expected output)"),
    **{
        f"{name!r} for an entry point": (lambda name=name: by_tests(entry_point=name), "entry_point must be")
        for name in ("", "f()", "a.b.c", "1f", "f\n", "f g", "f()()", ".f", "é", "f;import os", "A(1).f")
    },
    **{
        f"a number for {name}": (lambda name=name: by_tests(**{name: 5}), f"{name} must be a string, not int")
        for name in ("id", "sol", "entry_point", "prelude", "compare", "isolation", "tests")
    },
    "a number for a checker": (lambda: program(("", ""), checker=5), "checker must be a string, not int"),
    "an empty checker": (lambda: program(("", ""), checker=""), "checker is empty"),
    "a checker beside tests": (lambda: by_tests(checker="def check(a, b, c): ..."), "are for cases"),
    "a comparison beside tests": (lambda: by_tests(compare="approx"), "are for cases"),
    "an unknown comparison": (lambda: program(("", ""), compare="fuzzy"), "'fuzzy'"),
    "an unknown comparison of results": (lambda: with_cases(([], {}, 1), compare="fuzzy"), "'fuzzy'"),
    "an unknown isolation": (lambda: by_tests(isolation="none"), "must be 'process' or 'shared', not 'none'"),
    "shared isolation for cases": (lambda: with_cases(([], {}, 1), isolation="shared"), "is for tests"),
    "a number for all_cases": (lambda: by_tests(all_cases=1), "all_cases must be True or False, not int"),
    "text for all_cases": (lambda: program(("", ""), all_cases="no"), "all_cases must be True or False, not str"),
    "text for limits": (lambda: by_tests(limits="1 s"), "limits must be Limits or None, not str"),
    "no seconds": (lambda: program(("", ""), limits=forced(Limits(), cpu_seconds=0)), "cpu_seconds must be"),
    "something unprintable": (lambda: by_tests(tests=Unprintable()), "tests must be a string, not Unprintable"),
    "too long together": (lambda: by_tests(tests="#" * (MOST_CHARACTERS // 2), prelude="#" * (MOST_CHARACTERS // 2)),
                          "the sources are longer"),
    "a task without fields": (lambda: object.__new__(FunctionTask), "can't be read"),
    "a program without fields": (lambda: object.__new__(StdioTask), "can't be read"),
    "a packed task without fields": (lambda: object.__new__(PackedTask), "can't be read"),
}  # fmt: skip


def cyclic() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


@pytest.mark.parametrize(("make", "reason"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_task_is_invalid_and_the_message_names_what_is_wrong(make: Callable[[], Any], reason: str) -> None:
    found = check_task(make(), "verifier")
    assert isinstance(found, Verdict), found
    assert (found.status, found.judged, found.verifier) == (Status.INVALID, False, "verifier")
    assert reason in found.message
    assert len(found.message) < 1000 and found.message.isprintable()


def test_cases_that_are_too_large_together_are_invalid() -> None:
    with mock.patch.object(judging, "MOST_BYTES", 1000):
        for task in (with_cases(*[(["x" * 300], {}, 1)] * 4), program(*[("x" * 300, "")] * 4)):
            found = check_task(task)
            assert isinstance(found, Verdict)
            assert "cases[3]: the cases are larger than" in found.message
            assert isinstance(check_task(with_cases(*[(["x" * 300], {}, 1)] * 3)), PackedTask)


def test_unusual_types_of_fields_are_made_plain() -> None:
    class Mine(FunctionTask):
        pass

    task = Mine(Text("x"), Text(SOL), Text("f"), cases=((Lying([1]), {Name("a"): 2}, 3),), limits=Stricter())
    found = check_task(task)
    assert found == check_task(FunctionTask("x", SOL, "f", cases=[([1], {"a": 2}, 3)], limits=Limits()))
    assert isinstance(found, PackedTask)
    assert type(found.id) is str and type(found.limits) is Limits


@pytest.mark.parametrize(("given", "named"), [("f", "f"), ("A.b", "A.b"), ("Solution().twoSum", "Solution.twoSum")])
def test_a_method_may_be_named_with_parentheses_or_without(given: str, named: str) -> None:
    found = check_task(by_tests(entry_point=given))
    assert isinstance(found, PackedTask)
    assert judging.unpack_tests(found.judge).entry_point == named


def test_values_are_those_of_the_moment_of_the_check() -> None:
    values = [1, 2]
    before = check_task(with_cases(([values], {}, values)))
    values.append(3)
    assert before == check_task(with_cases(([[1, 2]], {}, [1, 2])))


def test_a_task_that_was_checked_is_not_checked_again() -> None:
    found = check_task(by_tests())
    assert check_task(found) is found


@pytest.mark.parametrize("required", [None, "shared", "process"])
def test_a_required_isolation_refuses_what_is_weaker_and_says_why(required: str | None) -> None:
    shared = by_tests(isolation="shared")
    for task in (shared, check_task(shared)):
        found = check_task(task, "verifier", required)
        if required == "process":
            assert isinstance(found, Verdict)
            assert (found.status, found.id) == (Status.INVALID, "x")
            assert "a solution cheat" in found.message and "require_isolation" in found.message
        else:
            assert isinstance(found, PackedTask) and found.kind is Kind.SHARED
    assert isinstance(check_task(by_tests(), "verifier", required), PackedTask)
