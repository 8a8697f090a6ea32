"""Tests are cut into cases, whether or not they have to be parsed first."""

from __future__ import annotations

from typing import Any

import pytest

from selftaught.sandbox.worker.inside import test_source
from selftaught.sandbox.worker.inside.test_source import CASE, STATEMENTS, compile_tests

SOURCES = {
    "asserts": ("x = 1\nassert x\nassert x == 1,\\\n  'no'\n\n# text\nassert (x ==\n1\n)\n", [0, 1, 1, 1]),
    "first line": ("assert 1\n", [1]),
    "carriage returns": ("assert 1\r\nassert 2\r\n", [1, 1]),
    "statements between": ("assert 1\nx = 2\nassert x", [1, 0, 1]),
    "assert in a text": ("x = '''\nassert 0\n'''\nassert x", [0, 1]),
    "assert in a function": ("def g():\n    assert 0\nassert g", [0, 1]),
    "check": ("def check(candidate):\n    assert candidate\n\ncheck(1)\n", [0, 1]),
    "check twice": ("def check(c):\n    assert c\ncheck(1)\ncheck(2)", [0, 1, 1]),
    "check alone": ("def check(candidate):\n    assert candidate", [0]),
    "check and assert": ("def check(candidate):\n    pass\nassert 1", [0]),
    "functions": ("def test_a():\n    pass\nassert 1", [0]),
    "class": ("class TestA:\n    pass\nassert 1", [0]),
    "another class": ("class Helper:\n    pass\nassert 1", [0, 1]),
    "conditional": ("if 1:\n    x = 1\nelse:\n    x = 2\nassert x", [0, 1]),
    "no case": ("x = 1", [0]),
}


@pytest.mark.parametrize(("source", "kinds"), SOURCES.values(), ids=SOURCES)
def test_each_case_is_a_piece(source: str, kinds: list[int]) -> None:
    pieces = compile_tests(source.encode())
    found = [kind for kind, code in pieces if kind == CASE or code.co_names or code.co_consts != (None,)]
    assert found == kinds or found == [STATEMENTS, *kinds]


@pytest.mark.parametrize(("source", "kinds"), SOURCES.values(), ids=SOURCES)
def test_parsing_finds_the_same_cases(monkeypatch: pytest.MonkeyPatch, source: str, kinds: list[int]) -> None:
    monkeypatch.setattr(test_source, "_cut_text", lambda text: ())
    assert [kind for kind, _ in compile_tests(source.encode())].count(CASE) == kinds.count(CASE)


@pytest.mark.parametrize("source", ["assert 1\n\nassert 1 == 2", "x = 1\nassert x\nx = 2\nassert x == 1"])
def test_lines_keep_their_numbers(source: str) -> None:
    *before, (_, last) = compile_tests(source.encode())
    scope: dict[str, Any] = {}
    for _, code in before:
        exec(code, scope)
    with pytest.raises(AssertionError) as caught:
        exec(last, scope)
    assert caught.tb.tb_next is not None
    assert caught.tb.tb_next.tb_lineno == source.count("\n") + 1


def test_what_does_not_compile_is_reported_with_its_line() -> None:
    with pytest.raises(SyntaxError) as caught:
        compile_tests(b"assert 1\nassert (\n")
    assert (caught.value.filename, caught.value.lineno) == ("<tests>", 2)


GUARD = "if __name__ == '__main__':\n"


@pytest.mark.parametrize(
    ("source", "kinds"),
    [
        (f"assert 1\n{GUARD}    assert 2\n    x = 3\n", [1, 1, 0]),
        (f"def main():\n    assert 1\n{GUARD}    main()\n", [0]),
        (f"def check(c):\n    assert c\n{GUARD}    check(1)\n    check(2)\n", [0, 1, 1]),
        ("assert 1\nif '__main__' == __name__:\n    assert 2\n", [1, 1]),
        ("assert 1\nif __name__ != '__main__':\n    assert 2\n", [1, 0]),
    ],
)
def test_what_a_script_does_as_main_belongs_to_its_top_level(source: str, kinds: list[int]) -> None:
    assert [kind for kind, _ in compile_tests(source.encode())] == kinds


def test_where_there_are_test_functions_nothing_is_main() -> None:
    pieces = compile_tests(f"def test_a():\n    pass\n{GUARD}    undefined\n".encode())
    scope: dict[str, Any] = {"__name__": "tests"}
    for _, code in pieces:
        exec(code, scope)
    assert "test_a" in scope


@pytest.mark.parametrize(
    ("source", "reads"),
    [
        ("f(1)", True),
        ("x = f", True),
        ("def g():\n    f(1)", False),
        ("def g():\n    f(1)\ng()", True),
        ("def g():\n    h()\ndef h():\n    f(1)\ng()", True),
        ("def g():\n    h()\ndef h():\n    f(1)\n", False),
        ("class A:\n    x = f(1)", True),
        ("class A:\n    def g(self):\n        f(1)", False),
        ("class A:\n    def g(self):\n        f(1)\nA().g()", True),
        ("[f(x) for x in range(3)]", True),
        ("g = lambda: f(1)\ng()", True),
        ("import solution\nsolution.f(1)", True),
        ("f = 1", False),
    ],
)
def test_what_no_code_names_is_not_read(source: str, reads: bool) -> None:
    assert ("f" in test_source.names_read(compile_tests(source.encode()))) is reads
