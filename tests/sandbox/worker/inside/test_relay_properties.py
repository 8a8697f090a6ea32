"""Any values, changes and exceptions: a relayed call can't be told from a call."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.sandbox import codec
from selftaught.sandbox.worker.inside.relay import CaseOver
from tests.sandbox.worker.inside.connection import standins

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
        | st.sets(st.integers(), max_size=4)
    ),
    max_leaves=12,
)
SOLUTION = """
def same(*args, **kwargs): return [args, kwargs]
def run(steps, *objects):
    for step in steps:
        apply(step, objects)
    return objects[0]
def apply(step, objects):
    kind, one, other, number = step
    target = objects[one % len(objects)]
    if kind == 0:
        target.append(number)
    elif kind == 1:
        target.append(objects[other % len(objects)])
    elif kind == 2:
        target[:] = target[::-1]
    elif kind == 3 and target:
        del target[number % len(target)]
    elif kind == 4:
        target.append([number])
    elif kind == 5 and target and isinstance(target[0], list):
        target[0].append(number)
def fail(name, *args):
    raise __builtins__[name](*args)
"""
STEPS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2), st.integers(0, 2), st.integers(0, 3)), max_size=6)


def encoding(value: Any) -> bytes:
    return codec.encode(value, 1 << 20)


@given(args=st.lists(VALUES, max_size=3), kwargs=st.dictionaries(st.sampled_from("abc"), VALUES, max_size=2))
def test_a_value_comes_back_as_it_was(args: list[Any], kwargs: dict[str, Any]) -> None:
    with standins(SOLUTION) as (side, _):
        assert encoding(side.named("same")(*args, **kwargs)) == encoding([tuple(args), kwargs])


@given(
    steps=STEPS,
    objects=st.lists(
        st.lists(st.integers(0, 9) | st.lists(st.integers(0, 9), max_size=2), max_size=3), min_size=1, max_size=3
    ),
)
def test_changes_in_place_are_those_that_a_call_makes(steps: list[Any], objects: list[Any]) -> None:
    namespace: dict[str, Any] = {}
    exec(SOLUTION, namespace)
    ours, theirs = copy.deepcopy([objects, [*objects, objects]]), copy.deepcopy([objects, [*objects, objects]])
    with standins(SOLUTION) as (side, _):
        result = side.named("run")(steps, *ours[0], ours[0])
    expected = namespace["run"](steps, *theirs[0], theirs[0])
    assert repr(ours) == repr(theirs)  # repr: what contains itself can't be compared
    assert shape([result, ours]) == shape([expected, theirs])


def shape(value: Any) -> list[Any]:
    """Return which lists in a value are the same object: the contents of each, with numbers for lists."""
    numbers: dict[int, int] = {}
    todo, found = [value], []
    for one in todo:
        if id(one) in numbers:
            continue
        numbers[id(one)] = len(numbers)
        todo += [part for part in one if isinstance(part, list)]
    for one in {id(one): one for one in todo}.values():
        found.append([numbers[id(part)] if isinstance(part, list) else f"{part}" for part in one])
    return found


@given(
    name=st.sampled_from(["ValueError", "KeyError", "TypeError", "RuntimeError", "OSError", "ZeroDivisionError"]),
    args=st.lists(VALUES, max_size=2),
)
def test_a_builtin_exception_comes_back_as_it_was(name: str, args: list[Any]) -> None:
    kind = getattr(__builtins__, name) if not isinstance(__builtins__, dict) else __builtins__[name]
    with standins(SOLUTION) as (side, _), pytest.raises(kind) as caught:
        side.named("fail")(name, *args)
    expected = kind(*args)
    assert type(caught.value) is type(expected)
    assert encoding(caught.value.args) == encoding(expected.args)


@given(reply=st.binary(max_size=60) | VALUES.map(lambda value: b"X" + encoding(value)))
def test_no_reply_breaks_the_relay(reply: bytes) -> None:
    with standins(SOLUTION, lambda _: reply) as (side, relay):
        try:
            result = side.named("same")([1])
        except CaseOver:
            assert relay.failure is not None
        except BaseException as error:
            assert error is relay.raised
        else:
            codec.encode(result, 1 << 20)


NODES = st.lists(
    st.tuples(
        st.sampled_from("vLlstSfdqyniuexakVIhgFpMNPR"),
        *[VALUES | st.integers(-2, 4) | st.lists(st.integers(-1, 4), max_size=3) | st.text("abs:V", max_size=3)] * 3,
    )
    | st.tuples(st.sampled_from("lStfsLva"), st.lists(st.integers(0, 4) | st.tuples(SCALARS), max_size=3)),
    min_size=1,
    max_size=5,
)


@given(nodes=NODES, code=st.sampled_from([1, 3]), extras=st.none() | st.lists(st.integers(0, 2), max_size=2))
def test_no_graph_breaks_the_relay(nodes: list[Any], code: int, extras: list[int] | None) -> None:
    answer = (code, nodes) if extras is None else (code, nodes, ("", "", [], extras))
    with standins(SOLUTION, lambda _: b"X" + encoding(answer)) as (side, relay):
        try:
            side.named("same")([1], {"a": [2]})
        except CaseOver:
            assert relay.failure is not None
        except BaseException as error:
            assert error is relay.raised
