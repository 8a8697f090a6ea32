"""Tasks become jobs, and the supervisor takes them apart again."""

from __future__ import annotations

from typing import Any

import pytest

from selftaught.sandbox import FunctionTask, Limits, StdioTask, Task, codec, judging
from selftaught.sandbox.job import Kind
from selftaught.sandbox.judging import EncodedCase, PackedTask
from selftaught.sandbox.validation import check_task
from selftaught.sandbox.wire import pack_job, unpack_job


def packed(task: Any) -> PackedTask:
    found = check_task(task)
    assert isinstance(found, PackedTask), found
    return found


def test_a_puzzle_is_its_two_sources() -> None:
    job = judging.pack(Task("x", "sat é", "sol"), Limits(), 7)
    assert (job.sat, job.sol, job.seed, job.kind) == ("sat é".encode(), b"sol", 7, Kind.PUZZLE)


@pytest.mark.parametrize(("isolation", "kind"), [("process", Kind.TESTS), ("shared", Kind.SHARED)])
def test_tests_arrive_as_they_were_given(isolation: str, kind: Kind) -> None:
    task = FunctionTask("x", "sol", "f", "assert f()", prelude="\ud800", isolation=isolation, all_cases=True)
    job = unpack_job(pack_job(judging.pack(packed(task), Limits())))
    assert (job.kind, job.sol) == (kind, b"sol")
    assert judging.unpack_tests(job.sat) == judging.Tests("f", "\ud800", "assert f()", True)


def test_cases_of_a_function_arrive_as_encodings() -> None:
    task = FunctionTask("x", "sol", "A.f", cases=[([1], {"k": {2}}, (3,)), ([], {}, None)], checker="c", prelude="p")
    job = unpack_job(pack_job(judging.pack(packed(task), Limits())))
    found = judging.unpack_cases(job.sat)
    assert (found.entry_point, found.prelude, found.compare, found.checker) == ("A.f", "p", "exact", "c")
    assert [tuple(map(codec.decode, case)) for case in found.cases] == [(((1,), {"k": {2}}), (3,)), (((), {}), None)]


def test_cases_of_a_program_arrive_as_text() -> None:
    task = StdioTask("x", "sol", [("1\n", "é\n"), ("", "")], all_cases=True)
    found = judging.unpack_cases(unpack_job(pack_job(judging.pack(packed(task), Limits()))).sat)
    assert (found.entry_point, found.compare, found.checker, found.all_cases) == ("", "lines", "", True)
    assert found.cases == [(b"1\n", "é\n".encode()), (b"", b"")]


@pytest.mark.parametrize("number", [0, 1, 13, 14, 255, 256, 300])
def test_encoded_arguments_are_joined_as_their_values_would_be_encoded(number: int) -> None:
    values = [[n, str(n)] for n in range(number)]
    named: dict[str, object] = {f"name {n}": {n: {n}} for n in range(number)}
    encoded = {name: judging.encode(value) for name, value in named.items()}
    joined = judging.encode_arguments([*map(judging.encode, values)], encoded)
    assert joined == judging.encode((tuple(values), named))


def test_encoded_arguments_are_not_nested_deeper_than_others() -> None:
    deepest: Any = []
    for _ in range(codec.MAX_DEPTH - 1):
        deepest = [deepest]
    with pytest.raises(codec.Malformed):
        judging.encode_arguments([judging.encode(deepest)], {})


def test_an_encoded_case_is_packed_as_the_values_that_it_stands_for() -> None:
    encoded: Any = EncodedCase(judging.encode(((1,), {"a": 2})), judging.encode(3))
    assert packed(FunctionTask("x", "", "f", cases=[encoded])) == packed(
        FunctionTask("x", "", "f", cases=[((1,), {"a": 2}, 3)])
    )
