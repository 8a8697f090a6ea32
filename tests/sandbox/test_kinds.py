"""Tasks of every kind, mixed, at every entry point of a verifier; what a worker is sent, and how often."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest

from selftaught.sandbox import FunctionTask, Limits, Status, StdioTask, Task, Verifier, judging
from selftaught.sandbox.backends import WorkerConfig
from selftaught.sandbox.verdict import Verdict
from tests.sandbox.fake_worker import FakeBackend, fake_verifier
from tests.sandbox.kinds import EXPECTED, MIXED
from tests.sandbox.test_verifier import DOORS, Ask


@pytest.mark.parametrize("ask", DOORS.values(), ids=DOORS)
def test_tasks_of_every_kind_are_judged_at_every_entry_point(ask: Ask) -> None:
    with fake_verifier() as verifier:
        assert [(verdict.id, verdict.status) for verdict in ask(verifier, [*MIXED])] == EXPECTED


@pytest.mark.parametrize("ask", DOORS.values(), ids=DOORS)
def test_what_can_not_be_packed_is_invalid_at_every_entry_point(ask: Ask) -> None:
    bad: list[Any] = [
        FunctionTask("1", "def f(): ...", "f", cases=[([], {}, object())]),
        FunctionTask("2", "def f(): ...", "f", cases=[]),
        StdioTask("3", "", [("", b"")]),  # type: ignore[list-item]
    ]
    with fake_verifier() as verifier:
        found = ask(verifier, [*bad, MIXED[0]])
    assert [(verdict.id, verdict.status) for verdict in found] == [*((str(n), "invalid") for n in "123"), EXPECTED[0]]


@pytest.mark.parametrize("ask", DOORS.values(), ids=DOORS)
def test_a_required_isolation_holds_at_every_entry_point(ask: Ask) -> None:
    shared = FunctionTask("x", "def f(): return 1", "f", "def test_f(): assert f() == 1", isolation="shared")
    for required, status in (("process", "invalid"), ("shared", "accepted"), (None, "accepted")):
        with fake_verifier(require_isolation=required) as verifier:
            assert verifier.required_isolation == (required or "shared")
            assert [verdict.status for verdict in ask(verifier, [shared])] == [status]


def test_a_required_isolation_has_one_of_two_values() -> None:
    with pytest.raises(ValueError, match="unknown isolation 'full': choose from process, shared"):
        Verifier(require_isolation="full")


def test_the_verdict_says_what_came_of_each_case() -> None:
    task = FunctionTask("x", "def f(n): return 1", "f", cases=[([n], {}, n) for n in (1, 2, 1, 3)])
    with fake_verifier() as verifier:
        first, every = verifier.verify(task), verifier.verify(FunctionTask(**{**task.to_dict(), "all_cases": True}))
    assert [case.status for case in first.cases] == ["accepted", "rejected"]
    assert (first.status, first.passed, first.total, first.decided_by) == ("rejected", 1, 4, 1)
    assert [case.status for case in every.cases] == ["accepted", "rejected", "accepted", "rejected"]
    assert (every.status, every.passed, every.total, every.decided_by) == ("rejected", 2, 4, 1)
    assert every.score == 0.5
    assert Verdict.from_dict(every.to_dict()) == every


def test_the_same_task_is_packed_and_judged_once_in_a_stream() -> None:
    def tasks(number: int) -> list[Any]:
        return [
            FunctionTask(f"{number}", "def f(x): return x", "f", cases=[([{"a": [1]}], {}, {"a": [1]})]),
            FunctionTask(f"{number}", "def f(x): return x", "f", "def test_f(): assert f(1)"),
            StdioTask(f"{number}", "print(1)", [("", "1")], limits=Limits(cpu_seconds=0.5)),
        ]

    backend = FakeBackend()
    with mock.patch.object(WorkerConfig, "open", lambda self: backend):
        verifier = Verifier(workers=1)
    with verifier, mock.patch.object(judging, "prepare", side_effect=judging.prepare) as prepare:
        many = [task for number in range(20) for task in tasks(number)]
        assert [verdict.id for verdict in verifier.verify_many(many)] == [task.id for task in many]
        assert (sum(len(worker.jobs) for worker in backend.workers), prepare.call_count) == (3, 60)
        list(verifier.verify_many(tasks(0), repeat=5))
        assert (sum(len(worker.jobs) for worker in backend.workers), prepare.call_count) == (18, 63)


def test_tasks_that_differ_in_anything_but_their_ids_are_judged_each() -> None:
    cases, tests, stdio = [([1], {}, 1)], "def test_f(): assert f(1)", [("1", "1")]
    different = [
        FunctionTask("", "def f(x): return 1", "f", cases=cases),
        FunctionTask("", "def f(x): return  1", "f", cases=cases),
        FunctionTask("", "def f(x): return 1", "f", cases=[([True], {}, 1)]),
        FunctionTask("", "def f(x): return 1", "f", cases=[([1], {}, True)]),
        FunctionTask("", "def f(x): return 1", "f", cases=[([1.0], {}, 1)]),
        FunctionTask("", "def f(x): return 1", "f", cases=[([], {"x": 1}, 1)]),
        FunctionTask("", "def f(x): return 1", "f", cases=cases * 2),
        FunctionTask("", "def f(x): return 1", "f", cases=cases, compare="approx"),
        FunctionTask("", "def f(x): return 1", "f", cases=cases, all_cases=True),
        FunctionTask("", "def f(x): return 1", "f", cases=cases, prelude="1"),
        FunctionTask("", "def f(x): return 1", "f", cases=cases, checker="def check(i, o, e): return True"),
        FunctionTask("", "def f(x): return 1", "f", cases=cases, limits=Limits()),
        FunctionTask("", "def f(x): return 1", "f", tests=tests),
        FunctionTask("", "def f(x): return 1", "f", tests=tests, isolation="shared"),
        StdioTask("", "print(input())", stdio),
        StdioTask("", "print(input())", stdio, compare="exact"),
        Task("", "def sat(x): return True", "1"),
    ]
    backend = FakeBackend()
    with mock.patch.object(WorkerConfig, "open", lambda self: backend):
        verifier = Verifier(workers=1)
    with verifier:
        list(verifier.verify_many(different * 2))
    assert len(backend.workers[0].jobs) == len(different)


def test_a_changed_value_does_not_change_what_is_judged() -> None:
    values = [1]

    def tasks() -> Any:
        for number in range(3):
            yield FunctionTask(str(number), "def f(x): return x", "f", cases=[([values], {}, values)])
            values.append(2)

    with fake_verifier() as verifier:
        assert [verdict.status for verdict in verifier.verify_many(tasks())] == [Status.ACCEPTED] * 3
