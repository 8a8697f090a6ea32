"""Types are exact, at every level."""
# ruff: noqa: UP006, UP007, UP035, UP045  # the older spellings are what puzzles use

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Dict, List, Literal, Optional, Set, Tuple, Union

import pytest

from selftaught.sandbox.worker.inside.annotation import Unsupported, describe, matches

FITS = [
    (1, int), (1.0, float), ("", str), (True, bool), (None, None), ([], List[int]), ([1, 2], List[int]),
    ([[1], []], List[List[int]]),
    ((1, "a"), Tuple[int, str]), ((1, 2, 3), Tuple[int, ...]), ((), Tuple[()]), ({1}, Set[int]),
    ({"a": [1]}, Dict[str, List[int]]),
    (None, Optional[int]), (1, Optional[int]), ("a", Union[int, str]), (1, int | str), ([1, "a"], List[Any]),
    (object(), object),
    ([1], list), ([1], List), ("a", Literal["a", "b"]), ({}, dict), ([(1, 2)], list[tuple[int, int]]),
]  # fmt: skip
DIFFERS = [
    (True, int), (1, float), (1.0, int), (1, bool), ("a", int), ([1, True], List[int]), ([1.0], List[int]),
    ((1,), List[int]), ([1], Tuple[int]),
    ((1, 2), Tuple[int]), ((1, "a"), Tuple[int, ...]), ({True}, Set[int]), ({1: 2}, Dict[str, int]), (0, Optional[str]),
    (True, Union[int, str]),
    ([[True]], List[List[int]]), ("c", Literal["a", "b"]), (True, Literal[1]), (0, None), ([], tuple), (1, str | None),
]  # fmt: skip


@pytest.mark.parametrize(("value", "annotation"), FITS, ids=repr)
def test_a_value_of_the_type_fits(value: object, annotation: Any) -> None:
    assert matches(value, annotation)


@pytest.mark.parametrize(("value", "annotation"), DIFFERS, ids=repr)
def test_a_value_of_another_type_does_not(value: object, annotation: Any) -> None:
    assert not matches(value, annotation)


def test_an_annotation_that_says_nothing_about_plain_data_is_unsupported() -> None:
    with pytest.raises(Unsupported):
        matches(1, Callable[[], int])


def test_a_value_is_described_by_its_types() -> None:
    assert describe([1, "a"]) == "list[int | str]"
    assert describe({1: 2.0}) == "dict[int, float]"
    assert describe([]) == "list"
