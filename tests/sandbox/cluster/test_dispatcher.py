"""The thread that sends chunks, without a cluster: whatever fails, nobody waits forever."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

import pytest

from selftaught.sandbox import Limits, Status, Task, Verdict

TASK = Task("1", "def sat(x: int): return x > 0", "1")


class NoNodes:
    """A cluster in which no node is ready."""

    def __init__(self, on_update: Callable[[], list[Any]]) -> None:
        self.ready: list[Any] = []
        self.all: list[Any] = []
        self.left = 0
        self.update = on_update

    def call_on(self) -> None:
        pass

    def leave(self) -> None:
        self.left += 1


class Uncounted:
    def tell(self) -> None:
        pass


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Callable[[], list[Any]]], Any]]:
    dispatcher = pytest.importorskip("selftaught.sandbox.cluster.dispatcher", reason="Ray is not installed")
    monkeypatch.setattr(dispatcher, "_LOOK_SECONDS", 0.02)
    monkeypatch.setattr(dispatcher, "NO_NODE_SECONDS", 0.2)
    started = []

    def begin(on_update: Callable[[], list[Any]]) -> Any:
        thread = dispatcher.Dispatcher(lambda _: NoNodes(on_update), Uncounted())
        thread.start()
        started.append(thread)
        return thread

    yield begin
    for thread in started:
        thread.stop()
        assert thread.nodes.left


def submit(thread: Any) -> SimpleQueue[Verdict]:
    from selftaught.sandbox.cluster.chunks import Ticket

    found: SimpleQueue[Verdict] = SimpleQueue()
    thread.submit(Ticket(TASK, 1, found.put, Limits()))
    return found


def test_tasks_that_find_no_node_for_long_are_not_judged(start: Any) -> None:
    verdict = submit(start(list)).get(timeout=10)
    assert (verdict.status, verdict.retryable) == (Status.INTERNAL_ERROR, True)
    assert "no node of the cluster was ready" in verdict.message


def test_after_a_fault_of_ours_every_task_ends(start: Any) -> None:
    def fail() -> list[Any]:
        raise RuntimeError("a bug")

    thread = start(fail)
    for _ in range(3):
        verdict = submit(thread).get(timeout=10)
        assert (verdict.status, verdict.message) == (Status.INTERNAL_ERROR, "RuntimeError: a bug")


def test_what_waits_at_the_end_is_cancelled(start: Any) -> None:
    thread = start(list)
    found = submit(thread)
    thread.stop()
    assert found.get(timeout=10).status is Status.CANCELLED
