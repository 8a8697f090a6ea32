"""Cases as JSON: four forms that mean the same, exact values, and reasons for what is no case."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy
import pytest

from selftaught.sandbox import codec, json_cases, judging
from selftaught.sandbox.judging import EncodedCase


def text(value: object) -> str:
    return base64.b64encode(judging.encode(value)).decode()


def values(case: EncodedCase) -> tuple[object, object]:
    return codec.decode(case.arguments), codec.decode(case.expected)


@pytest.mark.parametrize(
    "case",
    [
        [[1, "a"], {"k": [2]}, None],
        {"args": [1, "a"], "kwargs": {"k": [2]}, "expected": None},
        {"python": "((1, 'a'), {'k': [2]}, None)"},
        {"python": "[[1, 'a'], {'k': [2]}, None]"},
        {"encoded": {"args": [text(1), text("a")], "kwargs": {"k": text([2])}, "expected": text(None)}},
    ],
    ids=str,
)
def test_every_form_means_the_same(case: Any) -> None:
    (found,) = json_cases.read([case])
    assert values(found) == (((1, "a"), {"k": [2]}), None)


def test_python_literals_say_what_json_lacks() -> None:
    (found,) = json_cases.read([{"python": "([(1, 2), {3}, -1], {}, {(4,): {5: None}})"}])
    assert values(found) == ((((1, 2), {3}, -1), {}), {(4,): {5: None}})


JSON_VALUES = [None, True, 0, -1, 2**63 - 1, 0.1, -0.0, 1e308, "", "é\u2028\ud800", [], [[1]], {}, {"a": [{"": None}]}]
OTHER_VALUES = [(), (1,), set(), {1: 2}, [(1,)], {"a": {1}}, 2**63, float("inf"), -(2**64), {(1,): [()]}]
NUMPY_VALUE = numpy.float64(0.5)  # a float too


@pytest.mark.parametrize("value", JSON_VALUES, ids=repr)
def test_what_json_says_exactly_is_written_as_json(value: Any) -> None:
    arguments, expected = judging.encode(((value,), {"k": value})), judging.encode(value)
    written = json_cases.write(arguments, expected)
    assert written == [[value], {"k": value}, value]
    assert json_cases.read(json.loads(json.dumps([written]))) == [(arguments, expected)]


@pytest.mark.parametrize("value", [*OTHER_VALUES, NUMPY_VALUE], ids=repr)
@pytest.mark.parametrize("place", range(3))
def test_every_other_value_arrives_exactly(value: Any, place: int) -> None:
    given = [value if number == place else 1 for number in range(3)]
    arguments, expected = judging.encode(((given[0],), {"k": given[1]})), judging.encode(given[2])
    written = json_cases.write(arguments, expected)
    assert [*written] == ["encoded"]
    assert json_cases.read(json.loads(json.dumps([written]))) == [(arguments, expected)]


def test_not_a_number_arrives_as_it_is() -> None:
    expected = judging.encode(float("nan"))
    nothing = judging.encode(((), {}))
    assert json_cases.read([json_cases.write(nothing, expected)]) == [(nothing, expected)]


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        (5, "not a case"),
        ([], "not a case"),
        ([[], {}], "not a case"),
        ({}, "not a case"),
        ({"args": []}, "not a case"),
        ({"args": [], "expected": 1, "more": 1}, "not a case"),
        ({"python": "1", "encoded": {}}, "not a case"),
        ([5, {}, 1], "args must be an array, not int"),
        (["ab", {}, 1], "args must be an array, not str"),
        ([[], [], 1], "kwargs must be an object"),
        ({"python": 5}, "'python' must be a string, not int"),
        ({"python": "(1, {}, 2)"}, "args must be an array, not int"),
        ({"python": "([], {1: 2}, 2)"}, "kwargs must be an object whose names are strings"),
        ({"python": "([], {}, open('x'))"}, "not a Python literal: ValueError"),
        ({"python": "([], {}, {[]})"}, "not a Python literal: TypeError"),
        ({"python": "([], {}, "}, "not a Python literal: SyntaxError"),
        ({"python": "([], {}, ...)"}, "the expected result: an instance of ellipsis is not plain data"),
        ({"python": "([], {}, " + "-" * 60_000 + "1)"}, "not a Python literal"),
        ({"python": "([], {}, " + "1+" * 30_000 + "1)"}, "not a Python literal: RecursionError"),
        ({"python": "([], {}, " + "[" * 1000 + "]" * 1000 + ")"}, "not a Python literal"),
        ({"python": "'" + "x" * 70_000 + "'"}, "longer than 65,536 characters: send such values as 'encoded'"),
        ({"encoded": "AA=="}, "'encoded' must be an object"),
        ({"encoded": {"args": []}}, "'encoded' must be an object"),
        ({"encoded": {"args": [5], "expected": "AA=="}}, "an encoded value must be a string, not int"),
        ({"encoded": {"args": ["*"], "expected": "AA=="}}, "not the base64 of an encoded value"),
        ({"encoded": {"args": ["é"], "expected": "AA=="}}, "not the base64 of an encoded value"),
        ({"encoded": {"args": [""], "expected": "AA=="}}, "not the base64 of an encoded value: there are no bytes"),
        ({"encoded": {"args": ["sQ=="], "expected": "AA=="}}, "data ends early"),
    ],
    ids=lambda given: str(given)[:60],
)
def test_what_is_no_case_is_refused_with_its_number_and_a_reason(case: Any, reason: str) -> None:
    with pytest.raises(ValueError) as caught:
        json_cases.read([[[], {}, 1], case])
    assert str(caught.value).startswith("cases[1]: ")
    assert reason in str(caught.value)


def test_cases_are_an_array() -> None:
    with pytest.raises(ValueError, match="cases must be an array, not dict"):
        json_cases.read({})
