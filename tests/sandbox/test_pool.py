"""The pool of workers: order of jobs, recovery from dead workers, cancellation, closing, and the bound on time."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any

import orjson
import psutil
import pytest

from selftaught.sandbox import (
    FunctionTask,
    Limits,
    Program,
    Status,
    StdioTask,
    Task,
    Verifier,
    decision,
    judging,
    pool,
    worker_thread,
)
from selftaught.sandbox import ticket as tickets
from selftaught.sandbox.backends import local
from selftaught.sandbox.backends import worker as conversation
from selftaught.sandbox.job import Job, Turn
from selftaught.sandbox.judging import PUZZLE_PHASES, PackedTask
from selftaught.sandbox.task import AnyTask
from selftaught.sandbox.ticket import Ticket
from selftaught.sandbox.validation import check_task
from selftaught.sandbox.verdict import Verdict
from tests.conftest import control_groups, gone, open_verifier
from tests.sandbox.fake_worker import fake_verifier
from tests.sandbox.tasks import SLEEPER, task


def test_endless_loops_delay_nobody_and_still_get_their_whole_time(two_workers: Verifier) -> None:
    loops = [Task(f"loop {i}", "def sat(x): return True", f"def sol():\n    while True: {i}") for i in range(6)]
    slow = Task("slow", "def sat(x): return True", "def sol():\n    for i in range(5_000_000): pass\n    return 1")
    verdicts = list(two_workers.verify_many([*loops, slow, *map(task, range(60))], ordered=False))
    statuses = {verdict.id: verdict.status for verdict in verdicts}
    assert [statuses.pop(loop.id) for loop in loops] == ["time_limit"] * 6
    assert set(statuses.values()) == {"accepted"}
    assert len(statuses) == 61
    last = [verdict for verdict in verdicts[-7:] if verdict.id.startswith("loop")]
    assert len(last) >= 6
    assert all(verdict.usage.cpu_seconds >= 1.0 for verdict in last)


def test_a_long_task_that_came_first_does_not_delay_those_that_came_while_its_thread_woke() -> None:
    slow = Task("slow", "def sat(x): return x == 2", "def sol():\n    while True: pass", Limits(cpu_seconds=0.6))
    verdicts: SimpleQueue[Verdict] = SimpleQueue()
    with Verifier(workers=1, require="restricted") as verifier:
        list(verifier.verify_many(map(task, range(100))))  # so that it knows how little they take
        interval = sys.getswitchinterval()
        sys.setswitchinterval(10.0)  # its thread wakes when all are there
        try:
            for each in (slow, *map(task, range(20))):
                verifier.submit(each, verdicts.put)
        finally:
            sys.setswitchinterval(interval)
        found = [verdicts.get(timeout=30) for _ in range(21)]
    assert [verdict.id for verdict in found] == [*map(str, range(20)), "slow"]
    assert (found[-1].status, found[-1].usage.cpu_seconds >= 0.6) == ("time_limit", True)


@pytest.mark.parametrize("victim", ["supervisor", "zygote", "init"])
def test_a_killed_worker_loses_no_task(victim: str) -> None:
    with Verifier(workers=1, require="restricted") as verifier:
        stream = verifier.verify_many(task(i) for i in range(200))
        first = [next(stream) for _ in range(10)]
        (pid,) = verifier.worker_pids()
        children = psutil.Process(pid).children()
        target = {"supervisor": pid, "zygote": children[-1].pid, "init": children[0].pid}[victim]
        os.kill(target, signal.SIGKILL)
        verdicts = first + list(stream)
        assert [verdict.id for verdict in verdicts] == [str(i) for i in range(200)]
        assert all(verdict.accepted for verdict in verdicts)


def test_a_task_that_costs_two_workers_is_an_internal_error() -> None:
    with Verifier(workers=1, require="restricted") as verifier:
        verdicts: list[Verdict] = []
        thread = threading.Thread(target=lambda: verdicts.append(verifier.verify(SLEEPER)))
        thread.start()
        killed: set[int] = set()
        deadline = time.monotonic() + 20
        while len(killed) < 2 and time.monotonic() < deadline:
            time.sleep(0.3)
            for pid in {*verifier.worker_pids()} - killed:
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
        thread.join(30)
        (verdict,) = verdicts
        assert verdict.status is Status.INTERNAL_ERROR
        assert verdict.retryable
        assert not verdict.judged
        assert verifier.verify(task(1)).accepted


def test_a_bug_of_ours_costs_one_task_its_judgement_and_blocks_no_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    decide = decision.decide

    def decide_or_fail(ident: str, *evidence: Any) -> Verdict:
        return decide(ident, *evidence) if ident != "3" else {}[ident]

    monkeypatch.setattr(decision, "decide", decide_or_fail)
    tasks = [Task(f"{i}", f"def sat(x): return x == {i}", f"{i}") for i in range(8)]
    with open_verifier("restricted", workers=1) as verifier:
        statuses = [verdict.status for verdict in verifier.verify_many(tasks)]
    assert statuses == [Status.INTERNAL_ERROR if task.id == "3" else Status.ACCEPTED for task in tasks]


LOOPS: dict[str, Callable[[int], AnyTask | Program]] = {
    "program": lambda i: Program("", f"while True: {i}", limits=Limits(3, 3)),
    "program that sleeps": lambda i: Program("", f"import time\ntime.sleep(100 + {i})", limits=Limits(3, 3)),
    "puzzle": lambda i: Task("", "def sat(x): return True", f"def sol():\n    while True: {i}", Limits(3)),
    "function": lambda i: FunctionTask("", f"def f():\n    while True: {i}", "f", tests="assert f()", limits=Limits(3)),
    "cases": lambda i: FunctionTask(
        "", f"def f():\n    while True: {i}", "f", cases=[((), {}, i)] * 3, all_cases=True, limits=Limits(1)
    ),
    "program by cases": lambda i: StdioTask("", f"while True: {i}", [("", "")] * 3, all_cases=True, limits=Limits(1)),
}


@pytest.mark.parametrize("engine", ["snapshot", "fork"])
@pytest.mark.parametrize("kind", LOOPS)
def test_long_jobs_of_no_kind_keep_a_quick_program_waiting(kind: str, engine: str) -> None:
    """The bound is that of a busy machine: without turns it is 20 s and more."""
    found: SimpleQueue[Any] = SimpleQueue()
    with open_verifier("restricted", workers=2, engine=engine) as verifier:
        cancels = [verifier.submit(LOOPS[kind](number), found.put) for number in range(14)]
        waits = []
        for number in range(40):
            began = time.monotonic()
            assert verifier.run(Program("", f"print({number})")).stdout == f"{number}\n"
            waits.append(time.monotonic() - began)
            time.sleep(0.05)
        for cancel in cancels:
            cancel()
    assert max(waits) < 6 and sorted(waits)[20] < 1, waits


def test_a_job_is_preempted_until_it_has_lost_as_much_time_as_it_may_take() -> None:
    job = Ticket("", Job(b"", b"", Limits(10)), lambda verdict: None)
    turns = [job.job.turn]
    for _ in range(4):
        job.demote(threading.current_thread(), 0.5, resumable=False, preempted=False)
        turns.append(job.job.turn)
    assert turns == [Turn.SLICE, Turn.LONGER, Turn.LONGER, Turn.LAST, Turn.LAST]
    for _ in range(20):
        job.demote(threading.current_thread(), 1.0, resumable=True, preempted=True)
    assert (job.job.turn, job.slices) == (Turn.LAST, 4)
    for _ in range(9):
        job.demote(threading.current_thread(), 1.0, resumable=False, preempted=True)
    assert (job.job.turn, job.job.limits) == (Turn.WHOLE, Limits(10))


def test_one_worker_of_several_stays_free_of_jobs_that_are_not_preempted() -> None:
    with open_verifier("restricted", workers=3) as verifier:
        running = verifier._running()
        thread = running._threads[0]
        tickets = [ticket() for _ in range(4)]
        for each in tickets:
            each.slices, each.lost_seconds = 1, 99.0
        running.demoted.extend(tickets)
        assert [running.take_demoted(thread) for _ in range(3)] == [tickets[0], tickets[1], None]
        running.demoted.append(preemptible := ticket())
        assert running.take_demoted(thread) is preemptible
        running.ended(tickets[0])
        assert running.take_demoted(thread) is tickets[2]
        running.demoted.clear()


def ticket(thread: threading.Thread | None = None) -> Ticket:
    return Ticket("", Job(b"", b"", Limits()), lambda verdict: None, thread=thread)


def test_a_worker_is_sent_its_share_of_the_queue_within_bounds_of_time() -> None:
    with open_verifier("restricted", workers=2) as verifier:
        running = verifier._running()
        thread = running._threads[0]
        for seconds, waiting, sent in (
            (1e-4, 400, 200),
            (1e-4, 1000, 256),
            (1e-4, 20, 20),
            (4e-3, 10, 5),
            (4e-3, 100, 10),
            (1.0, 10, 1),
        ):
            thread._job_seconds = seconds
            for _ in range(waiting):
                running.queue.put(ticket())
            assert len(thread._batch()) == sent, (seconds, waiting)
            while not running.queue.empty():
                running.queue.get()


def test_a_demoted_job_has_its_turn_though_the_queue_is_never_empty() -> None:
    with open_verifier("restricted", workers=1) as verifier:
        running = verifier._running()
        (thread,) = running._threads
        thread._job_seconds = 1e-3
        demoted = ticket()
        demoted.slices = 1
        running.demoted.append(demoted)
        for _ in range(20):
            running.queue.put(ticket())
        assert demoted not in thread._batch()
        thread._share.count(10.0, demoted=False, others_wait=True)
        thread._in_flight.append(ticket())
        assert thread._batch() == []  # what is in flight ends first
        thread._in_flight.clear()
        assert thread._batch() == [demoted]
        while not running.queue.empty():
            running.queue.get()


def test_a_stream_of_short_programs_starves_no_longer_one() -> None:
    """Without turns of its own it ends when the stream does. Counted are programs, not seconds."""
    ended = threading.Event()
    count = 0
    with open_verifier("restricted", workers=1) as verifier:

        def stream(number: int) -> None:
            nonlocal count
            while not ended.is_set() and count < 5000:
                verifier.run(Program("", f"print({number})"))
                count += 1

        threads = [threading.Thread(target=stream, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        found = verifier.run(Program("", "for i in range(15_000_000): pass\nprint(1)", limits=Limits(10)))
        ended.set()
        for thread in threads:
            thread.join()
    assert (found.stdout, count < 5000) == ("1\n", True)


def test_a_cancelled_job_that_can_be_preempted_costs_no_worker() -> None:
    with open_verifier("restricted", workers=1) as verifier:
        verifier.run(Program("", "print(1)"))
        pids = verifier.worker_pids()
        cancel = verifier.submit(Program("", "while True: pass", limits=Limits(60)), lambda run: None)
        running = verifier._running()
        (thread,) = running._threads
        while not (thread._in_flight and thread._in_flight[0].slices):
            time.sleep(0.01)
        cancel()
        assert verifier.run(Program("", "print(2)")).stdout == "2\n"
        while thread._in_flight or running.demoted:
            time.sleep(0.01)
        assert verifier.worker_pids() == pids


def test_a_demoted_job_returns_to_its_own_worker_if_there_is_a_choice() -> None:
    with open_verifier("restricted", workers=2) as verifier:
        running = verifier._running()
        here, there = running._threads
        tickets = ticket(here), ticket(there), ticket(there)
        running.demoted.extend(tickets)
        assert [running.take_demoted(there) for _ in range(4)] == [tickets[1], tickets[2], tickets[0], None]


def test_the_stated_time_bound_is_made_of_the_real_figures() -> None:
    stated = " ".join((Verifier.__doc__ or "").split())
    attempts, overhead, others = worker_thread.ATTEMPTS, worker_thread.OVERHEAD_SECONDS, worker_thread.MAX_IN_FLIGHT - 1
    tasks, seconds = f"(min(n, n / workers + {others}) + 1)", f"(phases * wall_seconds + {overhead:g})"
    assert f"``{tasks} * {attempts} * {seconds}``" in stated
    puzzle, tests, every, one, two = (
        phases_of(Task("", "", "")),
        phases_of(FunctionTask("", "", "f", tests="")),
        phases_of(FunctionTask("", "", "f", tests="", all_cases=True)),
        phases_of(StdioTask("", "", [("", "")])),
        phases_of(FunctionTask("", "", "f", cases=[([], {}, 1)] * 2)),
    )
    assert f"which are {puzzle:g} for a puzzle, {tests:g} for tests, {every:g} for tests with `all_cases`" in stated
    assert f"``{two - one:g} * n + {2 * one - two:g}`` for n cases" in stated


def phases_of(item: AnyTask) -> float:
    """How many phases an attempt at the task may take before its worker is killed."""
    task = check_task(item)
    assert not isinstance(task, Verdict)
    phases = task.phases if isinstance(task, PackedTask) else PUZZLE_PHASES
    limits = Limits(wall_seconds=1)
    asked = Ticket("", judging.pack(task, limits), lambda verdict: None, phases)
    return asked.most_seconds - worker_thread.GRACE_SECONDS


def test_a_worker_has_time_for_every_case_before_it_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tickets, "GRACE_SECONDS", 0.0)
    limits = Limits(wall_seconds=0.02)
    many = StdioTask("many", "print(1)", [("", "1\n")] * 20, limits=limits)
    one = StdioTask("one", "print(1)", [("", "1\n")], limits=limits)
    with fake_verifier(seconds=0.5) as verifier:
        assert verifier.verify(many).accepted
        assert verifier.verify(one).status is Status.INTERNAL_ERROR


@pytest.mark.parametrize("length", [1, 1 << 20], ids=["small", "larger than the connection's buffer"])
def test_calls_end_within_their_bound_though_every_worker_hangs(monkeypatch: pytest.MonkeyPatch, length: int) -> None:
    limits = Limits(wall_seconds=0.5)
    with Verifier(workers=1, require="restricted", limits=limits) as verifier:
        for module, name, value in (
            (conversation, "START_SECONDS", 1.0),
            (conversation, "SEND_SECONDS", 0.5),
            (worker_thread, "GRACE_SECONDS", 0.5),
            (tickets, "GRACE_SECONDS", 0.5),
            (local, "COMMAND", "import time; time.sleep(60)"),
        ):
            monkeypatch.setattr(module, name, value)
        (pid,) = verifier.worker_pids()
        verifier._running()._threads[0].worker._host.connection.settimeout(0.5)  # type: ignore[union-attr]
        os.kill(pid, signal.SIGSTOP)
        started = time.monotonic()
        verdicts = list(verifier.verify_many([task(i, f"def sol(): return '{'a' * length}'") for i in range(2)]))
        elapsed = time.monotonic() - started
        assert [verdict.status for verdict in verdicts] == ["internal_error"] * 2
        assert elapsed < 2 * 2 * (6 * 0.5 + 1.0 + 0.5 + 0.5 + conversation.END_SECONDS)
        monkeypatch.undo()
        assert verifier.verify(task(1)).accepted


def test_a_large_task_waits_until_its_worker_can_read_it(two_workers: Verifier) -> None:
    large = [Task(str(i), "def sat(x): return True", f"def sol(): return {'a' * (1 << 20)!r} and 1") for i in range(40)]
    mixed = [item for pair in zip(large, map(task, range(40)), strict=True) for item in pair]
    assert all(verdict.accepted for verdict in two_workers.verify_many(mixed))


def test_a_worker_that_cannot_be_started_for_a_while_costs_no_task_its_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    make, failures = pool.Pool.start_worker, 0

    def start_worker(self: pool.Pool, processor: int) -> conversation.Worker:
        nonlocal failures
        failures += 1
        if failures <= 3:
            raise OSError("out of everything")
        return make(self, processor)

    with Verifier(workers=1, require="restricted") as verifier:
        monkeypatch.setattr(pool.Pool, "start_worker", start_worker)
        os.kill(verifier.worker_pids()[0], signal.SIGKILL)
        assert [verdict.status for verdict in verifier.verify_many(map(task, range(20)))] == ["accepted"] * 20
        failures = -1000
        os.kill(verifier.worker_pids()[0], signal.SIGKILL)
        began = time.monotonic()
        assert verifier.verify(task(1)).status is Status.INTERNAL_ERROR
        assert time.monotonic() - began < 5


def test_closing_cancels_unfinished_tasks_and_leaves_no_process() -> None:
    before = control_groups(os.getpid())
    verifier = Verifier(workers=2, require="restricted")
    assert verifier.verify(task(1)).accepted
    processes = [child for pid in verifier.worker_pids() for child in psutil.Process(pid).children()]
    verdicts: list[Verdict] = []
    thread = threading.Thread(target=lambda: verdicts.append(verifier.verify(SLEEPER)))
    thread.start()
    time.sleep(0.3)
    verifier.close()
    thread.join(5)
    assert [verdict.status for verdict in verdicts] == ["cancelled"]
    assert gone(processes)
    assert control_groups(os.getpid()) == before
    with pytest.raises(ValueError, match="closed"):
        verifier.verify(task(1))


def test_closing_does_not_wait_for_a_worker_that_is_just_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    verifier = Verifier(workers=2, require="restricted")
    spawn = local._spawn
    monkeypatch.setattr(local, "_spawn", lambda *arguments: (time.sleep(1), spawn(*arguments))[1])
    verdicts: list[Verdict] = []
    threads = [threading.Thread(target=lambda: verdicts.append(verifier.verify(SLEEPER))) for _ in range(2)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    verifier.close()
    for thread in threads:
        thread.join(10)
    assert [verdict.status for verdict in verdicts] == ["cancelled"] * 2


@pytest.mark.parametrize("level", ["full", "restricted"])
def test_the_death_of_the_caller_takes_every_worker_with_it(level: str) -> None:
    open_verifier(level).close()
    read, write = os.pipe()
    caller = os.fork()
    if caller == 0:
        try:
            os.close(read)
            verifier = Verifier(workers=2, level=level)
            threading.Thread(target=verifier.verify, args=(SLEEPER,), daemon=True).start()
            time.sleep(0.5)
            pids = [child.pid for child in psutil.Process().children(recursive=True)]
            os.write(write, orjson.dumps(pids))
            time.sleep(60)
        finally:
            os._exit(1)
    os.close(write)
    pids = orjson.loads(os.read(read, 4096))
    assert len(pids) >= 3
    os.kill(caller, signal.SIGKILL)
    os.waitpid(caller, 0)
    deadline = time.monotonic() + 10
    while any(psutil.pid_exists(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in pids if psutil.pid_exists(pid)]
    os.close(read)


def test_a_cancelled_task_that_is_not_preemptible_is_killed_in_mid_run_and_its_neighbours_are_judged() -> None:
    async def main(verifier: Verifier) -> None:
        sol = "import time\ndef sol(): time.sleep(60)"
        short = Task("short", "def sat(x): return True", sol, Limits(cpu_seconds=0.2, wall_seconds=2.0))
        running = asyncio.create_task(verifier.averify(short))
        await asyncio.sleep(0.3)
        others = [asyncio.create_task(verifier.averify(task(i))) for i in range(20)]
        (supervisor,) = verifier.worker_pids()
        busy = psutil.Process(supervisor).children(recursive=True)
        running.cancel()
        verdicts = await asyncio.gather(*others)
        assert all(verdict.accepted for verdict in verdicts)
        assert verifier.restarts == 1
        assert gone(busy)

    with Verifier(workers=1, require="restricted") as verifier:
        asyncio.run(main(verifier))


def test_repeated_cancelling_costs_no_other_task_its_verdict() -> None:
    """Tasks in flight with a cancelled one are sent again, and none counts an attempt."""

    async def main(verifier: Verifier) -> None:
        nap = Task("nap", "def sat(x): return True", "import time\ndef sol(): time.sleep(60)", Limits(wall_seconds=70))
        for _ in range(4):
            await asyncio.gather(*(verifier.averify(task(i)) for i in range(30)))  # several are sent at once
            running = asyncio.create_task(verifier.averify(nap))
            others = [asyncio.create_task(verifier.averify(task(i))) for i in range(10)]
            await asyncio.sleep(0.2)
            running.cancel()
            assert all(verdict.accepted for verdict in await asyncio.gather(*others))

    with Verifier(workers=1, require="restricted") as verifier:
        asyncio.run(main(verifier))


def test_closing_ends_even_a_task_whose_worker_was_only_starting() -> None:
    for _ in range(3):
        verifier = Verifier(workers=2, require="restricted")
        verdicts: list[Verdict] = []
        verify = partial(lambda verifier, found: found.append(verifier.verify(SLEEPER)), verifier, verdicts)
        threads = [threading.Thread(target=verify) for _ in range(2)]
        for thread in threads:
            thread.start()
        time.sleep(0.03)
        began = time.monotonic()
        verifier.close()
        for thread in threads:
            thread.join(20)
        assert time.monotonic() - began < 10
        assert [verdict.status for verdict in verdicts] == ["cancelled", "cancelled"]
