"""Texts inside records: data, and sources of tests."""

from __future__ import annotations

import pytest

from selftaught.sandbox.formats import literals, sources
from selftaught.sandbox.formats.problem import Malformed


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": [1, null]}', {"a": [1, None]}),
        ("{'a': (1, None)}", {"a": (1, None)}),
        ("[1.5, Infinity]", [1.5, float("inf")]),
        ('"text"', "text"),
    ],
)
def test_data_is_json_or_a_python_literal(text: str, value: object) -> None:
    assert literals.from_text(text, "it") == value


@pytest.mark.parametrize("number", [10**5000 + 7, -(10**9000) - 3, 10**3999], ids=["above", "below", "short"])
def test_integers_of_any_length_are_read(number: int) -> None:
    parts = [str(abs(number) // 10**shift % 10**1000).zfill(1000) for shift in range(9000, -1, -1000)]
    text = ("-" if number < 0 else "") + "".join(parts).lstrip("0")
    assert literals.from_json(f"[{text}]", "it") == [number]


def test_integers_that_would_take_seconds_to_convert_are_refused() -> None:
    digits = "1" * (literals.MOST_DIGITS + 1)
    for text in (digits, f"[-{digits}]"):
        with pytest.raises(Malformed, match="a whole number of 1,000,001 digits"):
            literals.from_json(text, "it")


@pytest.mark.parametrize("text", ["", "open('x')", "[" * 100_000, "{1: ", "-" * 100_000 + "1", "1 2"])
def test_other_texts_are_malformed(text: str) -> None:
    with pytest.raises(Malformed, match="neither JSON nor a Python literal"):
        literals.from_text(text, "it")


@pytest.mark.parametrize(
    ("tests", "preferred", "name"),
    [
        ("assert f(1) == 2", (), "f"),
        ("assert set(f((3, 4))) == set((4,))", (), "f"),
        ("assert near(f(1), 2)", ("f",), "f"),
        ("def helper(x): return x\nassert helper(f(1)) == 1", (), "f"),
        ("assert sorted([2, 1]) == [1, 2]", ("sorted",), "sorted"),
        ("import math\nassert math.isclose(f(1), 2)", (), "f"),
        ("assert True", (), None),
    ],
)
def test_the_entry_point_is_what_the_tests_call(tests: str, preferred: tuple[str, ...], name: str | None) -> None:
    assert sources.entry_point(sources.tree(tests, "it"), preferred) == name


def test_free_names_are_those_that_nobody_defines() -> None:
    setup = "import math\nroot = Node(1)\ndef f(x): return x + y\nlist(map(len, [z for z in []]))"
    assert sources.free_names(sources.tree(setup, "it")) == {"Node", "y"}


@pytest.mark.parametrize(
    ("end", "name"), [("check(Solution().twoSum)", "Solution.twoSum"), ("check(add)", "add"), ("", None)]
)
def test_a_call_of_check_at_the_end_names_the_entry_point(end: str, name: str | None) -> None:
    tests = "def check(candidate):\n    assert candidate(1) == 2\n\n"
    assert sources.without_call_of_check(tests + end, "it") == (tests, name)


def test_statements_alone_become_check() -> None:
    tests = "import math\ninputs = [1, 2]\ndef same(a, b):\n    assert a == b\n\nfor i in inputs:\n    same(f(i), i)\n"
    made = sources.with_cases(tests, "it")
    assert "def check(candidate):" in made
    scope = {"f": lambda x: x}
    exec(made, scope)
    scope["check"](scope["f"])  # type: ignore[operator]
    with pytest.raises(AssertionError):
        exec(made.replace("f(i)", "f(i) + 1") + "\ncheck(f)", {"f": lambda x: x})


def test_names_that_statements_change_stay_the_modules() -> None:
    made = sources.with_cases(
        "total = 0\nfor i in [1, 2]:\n    total += f(i)\nif total != 3:\n    raise ValueError", "it"
    )
    exec(made + "\ncheck(f)", {"f": lambda x: x})
    with pytest.raises(ValueError):
        exec(made + "\ncheck(f)", {"f": lambda x: -x})


@pytest.mark.parametrize(
    "tests", ["assert f(1)", "def test_f():\n    pass", "def check(c):\n    pass", "class TestF:\n    pass"]
)
def test_tests_that_have_cases_are_not_changed(tests: str) -> None:
    assert sources.with_cases(tests, "it") == tests


def test_tests_without_any_statement_are_malformed() -> None:
    with pytest.raises(Malformed, match="has no tests"):
        sources.with_cases("import math\nx = 1", "it")


@pytest.mark.parametrize(
    ("statement", "replacement", "names"),
    [
        ("from solution import f", "pass", ["f"]),
        ("from solution import f as g, h", "g = f", ["f", "h"]),
        ("from solution import *", "pass", []),
        ("from solution import (\n    f,\n    h,\n)", "pass\n\n\n", ["f", "h"]),
        ("import solution", "import types; solution = types.SimpleNamespace(f=f)", ["f"]),
        ("import solution as s; x = 1", "import types; s = types.SimpleNamespace(); x = 1", []),
    ],
)
def test_imports_of_the_solution_are_replaced_in_their_place(
    statement: str, replacement: str, names: list[str]
) -> None:
    tests = "import math\n{}\ndef test():\n    assert solution.f(1)\n"
    expected = (tests.format(replacement), names)
    assert sources.without_imports_of("solution", tests.format(statement), "it") == expected


def test_imports_inside_of_a_test_are_replaced_too() -> None:
    tests = "def test_é():\n    from solution import f\n    assert f(1)\n"
    assert sources.without_imports_of("solution", tests, "it") == (
        "def test_é():\n    pass\n    assert f(1)\n",
        ["f"],
    )
