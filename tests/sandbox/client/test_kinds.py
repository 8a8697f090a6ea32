"""A client sends tasks of every kind, with values exactly as they are, and returns the library's verdicts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from selftaught.sandbox import AsyncClient, Client, FunctionTask, Limits, StdioTask, Verdict
from selftaught.sandbox.client.attempts import encode
from selftaught.sandbox.judging import PackedTask
from selftaught.sandbox.records import parse
from selftaught.sandbox.server import models
from selftaught.sandbox.validation import check_task
from tests.sandbox.client.test_client import DOORS, Ask
from tests.sandbox.kinds import EXPECTED, MIXED
from tests.sandbox.server.conftest import Daemon, unconfined  # noqa: F401  # a fixture


@pytest.fixture
def client(unconfined: Daemon) -> Iterator[Client]:  # noqa: F811
    with Client(unconfined.url) as made:
        yield made


@pytest.mark.parametrize("ask", DOORS.values(), ids=DOORS)
def test_tasks_of_every_kind_are_judged_at_every_entry_point(client: Client, ask: Ask) -> None:
    assert [(verdict.id, verdict.status) for verdict in ask(client, [*MIXED])] == EXPECTED


def test_a_verdict_has_its_cases(client: Client) -> None:
    task = StdioTask("x", "print(1)", [("", "1"), ("", "2"), ("", "1")], all_cases=True)
    verdict = client.verify(task)
    assert [case.status for case in verdict.cases] == ["accepted", "rejected", "accepted"]
    assert (verdict.passed, verdict.total, verdict.decided_by, verdict.phase) == (2, 3, 1, "sol")


def test_what_can_not_be_sent_is_invalid_before_it_is_sent() -> None:
    async def ask(task: Any) -> Verdict:
        async with AsyncClient("http://127.0.0.1:1") as client:
            return await client.verify(task)

    found = asyncio.run(ask(FunctionTask("x", "def f(): ...", "f", cases=[([object()], {}, 1)])))
    assert (found.id, found.status) == ("x", "invalid")
    assert "an instance of object is not plain data" in found.message


VALUES = [1, "é\ud800", [1.5], (1,), {2}, {1: (2,)}, float("nan"), 2**70, {"a": [None, True]}, -0.0]
TASKS: dict[str, Any] = {
    **{f"{value!r}": FunctionTask("x", "s", "f", cases=[([value], {"k": value}, value)]) for value in VALUES},
    "all fields": FunctionTask("x", "s\ud800", "A.f", cases=[([], {}, 1)], prelude="p", compare="approx", checker="c",
                               all_cases=True, limits=Limits(0.5)),
    "tests": FunctionTask("x", "s", "f", "assert f()", prelude="p", all_cases=True),
    "shared": FunctionTask("x", "s", "f", "assert f()", isolation="shared"),
    "program": StdioTask("x", "s", [("1\n", "\ud800\0"), ("", "")], compare="exact", checker="c", all_cases=True),
}  # fmt: skip


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_a_task_arrives_exactly_as_it_was(task: Any) -> None:
    sent = check_task(task)
    assert isinstance(sent, PackedTask)
    received = check_task(models.task(parse(encode(sent)), Limits()))
    assert received == sent
