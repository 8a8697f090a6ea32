"""Types are exact, at every level."""

from __future__ import annotations

from typing import Any, Callable, Literal, Optional, Union  # noqa: UP035

import pytest

from sandbox.worker.annotation import Unsupported, describe, matches

FITS = [
    (1, int), (1.0, float), ("", str), (True, bool), (None, None), ([], list[int]), ([1, 2], list[int]), ([[1], []], list[list[int]]),
    ((1, "a"), tuple[int, str]), ((1, 2, 3), tuple[int, ...]), ((), tuple[()]), ({1}, set[int]), ({"a": [1]}, dict[str, list[int]]),
    (None, Optional[int]), (1, Optional[int]), ("a", Union[int, str]), (1, int | str), ([1, "a"], list[Any]), (object(), object),
    ([1], list), ([1], list), ("a", Literal["a", "b"]), ({}, dict), ([(1, 2)], list[tuple[int, int]]),
]  # fmt: skip
DIFFERS = [
    (True, int), (1, float), (1.0, int), (1, bool), ("a", int), ([1, True], list[int]), ([1.0], list[int]), ((1,), list[int]), ([1], tuple[int]),
    ((1, 2), tuple[int]), ((1, "a"), tuple[int, ...]), ({True}, set[int]), ({1: 2}, dict[str, int]), (0, Optional[str]), (True, Union[int, str]),
    ([[True]], list[list[int]]), ("c", Literal["a", "b"]), (True, Literal[1]), (0, None), ([], tuple), (1, str | None),
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
