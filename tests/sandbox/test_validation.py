"""Validated input has plain types; anything else is `invalid`: not an exception, not a judgement."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest

from selftaught.sandbox import Ending, Limits, Program, Run, Status, Task, Verdict
from selftaught.sandbox.validation import check_program, check_repeat, check_task
from tests.sandbox.malformed import MALFORMED, ODD, Raising, Stricter, Text, forced


@pytest.mark.parametrize("make", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_task_is_invalid_with_a_reason(make: Callable[[], Any]) -> None:
    found = check_task(make(), "verifier")
    assert isinstance(found, Verdict)
    assert (found.status, found.judged, found.verifier) == (Status.INVALID, False, "verifier")
    assert found.message and len(found.message) < 1000 and found.message.isprintable()
    assert type(found.id) is str and pickle.loads(pickle.dumps(found)) == found


@pytest.mark.parametrize("make", ODD.values(), ids=ODD)
def test_a_task_of_unusual_types_becomes_one_of_plain_types(make: Callable[[], Task]) -> None:
    found = check_task(make())
    assert isinstance(found, Task), found
    assert [type(value) for value in (found, found.id, found.sat, found.sol)] == [Task, str, str, str]
    assert found.id.rstrip("\ud800") == "x"
    assert hash(found) == hash(check_task(make()))
    if found.limits is not None:
        assert type(found.limits) is Limits
        assert {type(value) for value in found.limits.to_tuple()} <= {int, float}


def test_a_task_of_plain_types_is_not_copied() -> None:
    for task in (Task("x", "", ""), Task("x", "", "", Limits())):
        assert check_task(task) is task


def test_an_invalid_answer_comes_under_the_id_if_that_is_text() -> None:
    no_text: Any = 5
    texts = Task("x", no_text, ""), Task(Text("x"), no_text, "")
    none = Task(no_text, "", ""), Raising("id", OSError())
    for item, ident in (*((item, "x") for item in texts), *((item, "") for item in none)):
        found = check_task(item)
        assert (type(found.id), found.id) == (str, ident)


PROGRAMS: dict[str, Callable[[], Any]] = {
    "text": lambda: "print(1)",
    "a task": lambda: Task("x", "", ""),
    "without fields": lambda: object.__new__(Program),
    "a number for code": lambda: Program("x", 5),  # type: ignore[arg-type]
    "bytes for standard input": lambda: Program("x", "", b""),  # type: ignore[arg-type]
    "a list for an id": lambda: Program([], ""),  # type: ignore[arg-type]
    "text for limits": lambda: Program("x", "", limits="no limits"),  # type: ignore[arg-type]
    "text for seconds": lambda: Program("x", "", limits=forced(Limits(), cpu_seconds="1")),
    "more than fits into a frame": lambda: Program("x", "", "x" * ((1 << 28) + 1)),
}


@pytest.mark.parametrize("make", PROGRAMS.values(), ids=PROGRAMS)
def test_a_malformed_program_is_invalid_with_a_reason(make: Callable[[], Any]) -> None:
    found = check_program(make(), "verifier")
    assert isinstance(found, Run)
    assert (found.ending, found.verifier) == (Ending.INVALID, "verifier")
    assert found.message and type(found.id) is str


def test_a_program_of_unusual_types_becomes_one_of_plain_types() -> None:
    found = check_program(Program(Text("x"), Text("print(1)"), Text(""), Stricter()))
    assert found == Program("x", "print(1)", "", Limits())
    assert type(found.limits) is Limits


@pytest.mark.parametrize("repeat", [0, -1, True, 1.0, "2", None])
def test_an_invalid_repeat_is_an_error(repeat: object) -> None:
    with pytest.raises(ValueError, match="repeat"):
        check_repeat(repeat)
