"""Load, and processes killed during it: the client must have one verdict for every task, whatever died."""

from __future__ import annotations

import asyncio
import json
import random
import re
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import psutil
import pytest

from selftaught.sandbox import AsyncClient, Client, Limits, Task, Verdict
from tests.conftest import gone
from tests.sandbox.server.conftest import Daemon, sleeper, task


def right_or_wrong(number: int) -> Task:
    """Every third is right; the others say their number, so that a verdict that belongs to another task shows."""
    body = f"return {number + 1}" if number % 3 == 0 else f"raise ValueError({number})"
    return Task(str(number), f"def sat(x: int, a={number}): return x == a + 1", f"def sol(): {body}")


def check(ledger: list[Verdict], count: int) -> None:
    """Assert that every task has one verdict, and the right one."""
    assert Counter(verdict.id for verdict in ledger) == Counter(map(str, range(count)))
    for verdict in ledger:
        if int(verdict.id) % 3 == 0:
            assert verdict.accepted, verdict
        else:
            assert verdict.status == "solution_error", verdict
            assert f"ValueError: {verdict.id} " in verdict.message


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_ten_thousand_requests_wait_at_once_and_each_is_answered(start: Any) -> None:
    count = 10_000
    daemon = start("--queue", str(count), "--engine", "fork")  # the other engine judges as fast as requests come

    async def main() -> list[Verdict]:
        async with AsyncClient(daemon.url, in_flight=count, deadline_seconds=300) as client:
            asked = [asyncio.create_task(client.verify(right_or_wrong(number))) for number in range(count)]
            peak = 0.0
            while peak < count / 2 and not all(each.done() for each in asked[:5000]):
                await asyncio.sleep(0.2)
                peak = max(peak, await asyncio.to_thread(daemon.metric, "selftaught_tasks"))
            assert peak > count / 4, "they never waited together: nothing was tested"
            assert (await asyncio.to_thread(daemon.ask, "GET", "/healthz"))[0] == 200
            return await asyncio.gather(*asked)

    check(asyncio.run(main()), count)
    daemon.until("selftaught_tasks", 0)
    assert daemon.metric("selftaught_worker_restarts_total") == 0


def test_a_long_stream_is_judged_in_constant_memory(start: Any) -> None:
    daemon = start()
    process = psutil.Process(daemon.process.pid)
    with Client(daemon.url) as client:
        ledger = []
        for number, verdict in enumerate(client.verify_many(right_or_wrong(number) for number in range(3000))):
            ledger.append(verdict)
            if number == 1000:
                before = process.memory_info().rss
        assert process.memory_info().rss < before + (20 << 20)
    check(ledger, 3000)


@pytest.mark.parametrize("victim", ["supervisor", "first child", "its children in turn"])
def test_killing_processes_of_workers_over_and_over_loses_nothing(start: Any, victim: str) -> None:
    daemon = start("--workers", "2")
    done, kills = threading.Event(), Counter[str]()

    def kill() -> None:
        while not done.wait(0.6):
            with suppress(
                psutil.Error, IndexError, ZeroDivisionError
            ):  # there may be none, or none of its children yet
                supervisor = random.choice(daemon.supervisors())
                children = sorted(
                    supervisor.children(), key=psutil.Process.create_time
                )  # init if there is one, the zygote, snapshot processes
                in_turn = children[
                    kills[victim] % len(children)
                ]  # never the zygote alone: its death is noticed only at the next fork
                chosen = {"supervisor": supervisor, "first child": children[0], "its children in turn": in_turn}[victim]
                chosen.kill()
                kills[victim] += 1

    def source() -> Iterator[Task]:
        nonlocal count
        while kills[victim] < 3 and count < 20_000:
            yield right_or_wrong(count)
            count += 1

    count = 0
    thread = threading.Thread(target=kill)
    thread.start()
    try:
        with Client(daemon.url) as client:
            ledger = list(client.verify_many(source(), ordered=False))
    finally:
        done.set()
        thread.join()
    check(ledger, count)
    assert kills[victim] >= 3
    restarts, replaced = (
        daemon.metric("selftaught_worker_restarts_total"),
        daemon.metric("selftaught_snapshot_replaced_total"),
    )
    assert restarts + (replaced if victim == "its children in turn" else 0) >= 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_daemon_that_is_ended_and_started_again_loses_nothing(start: Any, number: int) -> None:
    """The client sends unanswered tasks again, and no others."""
    port, count = free_port(), 1500
    daemons = [start("--drain", "1", port=port)]
    ledger: list[Verdict] = []
    deaths = 0

    async def main() -> None:
        nonlocal deaths

        async def source() -> AsyncIterator[Task]:
            for each in range(count):
                yield right_or_wrong(each)

        async with AsyncClient(daemons[0].url, deadline_seconds=120) as client:
            singles = asyncio.create_task(single(client))
            async for verdict in client.verify_many(source()):
                ledger.append(verdict)
                if len(ledger) in (300, 800):
                    processes = [*daemons[-1].supervisors(), psutil.Process(daemons[-1].process.pid)]
                    await asyncio.to_thread(daemons[-1].stop, number)
                    assert await asyncio.to_thread(gone, processes)
                    deaths += 1
                    daemons.append(await asyncio.to_thread(lambda: start("--drain", "1", port=port)))
            check(await singles, 200)

    async def single(client: AsyncClient) -> list[Verdict]:
        found = []
        for each in range(200):
            found.append(await client.verify(right_or_wrong(each)))
        return found

    asyncio.run(main())
    check(ledger, count)
    assert [verdict.id for verdict in ledger] == list(map(str, range(count)))
    assert deaths == 2


def test_admitted_tasks_are_judged_before_the_end(start: Any) -> None:
    daemon = start("--workers", "1", "--drain", "20")
    answers: list[tuple[int, Any]] = []
    threads = [
        threading.Thread(target=lambda: answers.append(daemon.ask("POST", "/v1/verify", sleeper(1))[:2]))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    daemon.until("selftaught_tasks", 2)
    supervisors = daemon.supervisors()
    began = time.monotonic()
    daemon.process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    with pytest.raises(ConnectionRefusedError):
        daemon.raw()
    assert daemon.process.wait(30) == 0
    assert time.monotonic() - began < 10
    for thread in threads:
        thread.join()
    assert [(status, content["id"]) for status, content in answers] == [(200, "0"), (200, "0")]
    assert gone(supervisors)


def test_tasks_that_are_not_judged_within_the_drain_time_are_cancelled(start: Any) -> None:
    daemon = start("--workers", "1", "--drain", "0.5", "--cpu-limit", "30")
    answers: list[tuple[int, Any]] = []
    threads = [
        threading.Thread(target=lambda: answers.append(daemon.ask("POST", "/v1/verify", sleeper(60))[:2])),
        threading.Thread(
            target=lambda: answers.append(daemon.ask("POST", "/v1/verify/batch", [sleeper(60), sleeper(61)])[:2])
        ),
        threading.Thread(
            target=lambda: answers.append(daemon.ask("POST", "/v1/run", {"code": "import time; time.sleep(60)"})[:2])
        ),
    ]
    for number, thread in enumerate(threads):
        thread.start()
        daemon.until("selftaught_tasks", (1, 3, 4)[number])
    began = time.monotonic()
    assert daemon.stop() == 1
    assert time.monotonic() - began < 8
    for thread in threads:
        thread.join()
    single, run = sorted((content for status, content in answers if status == 503), key=lambda one: "ending" in one)
    assert (single["status"], single["retryable"]) == ("cancelled", True)
    assert (run["ending"], run["retryable"]) == ("cancelled", True)
    (batch,) = (content for status, content in answers if isinstance(content, bytes))
    assert batch.count(b'"status":"cancelled"') == 2
    assert re.search(r"4 tasks were cancelled", daemon.log.read_text())


def test_identical_tasks_that_are_not_judged_are_cancelled_each(start: Any) -> None:
    daemon = start("--workers", "1", "--drain", "0.5", "--cpu-limit", "30")
    batch = [{**sleeper(60), "id": str(number)} for number in range(20)]
    answers: list[bytes] = []
    thread = threading.Thread(target=lambda: answers.append(daemon.ask("POST", "/v1/verify/batch", batch)[1]))
    thread.start()
    daemon.until("selftaught_tasks", 1)
    assert daemon.stop() == 1
    thread.join()
    found = [json.loads(line) for line in answers[0].splitlines()]
    assert [(each["id"], each["status"], each["retryable"]) for each in found] == [
        (str(number), "cancelled", True) for number in range(20)
    ]
    assert re.search(r"20 tasks were cancelled", daemon.log.read_text())


def test_identical_tasks_of_a_client_that_leaves_are_killed_and_do_not_keep_others_waiting(start: Any) -> None:
    daemon = start("--workers", "1", "--cpu-limit", "30")
    with daemon.raw() as connection:
        body = json.dumps([sleeper(60)] * 20).encode()
        connection.sendall(
            b"POST /v1/verify/batch HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        daemon.until("selftaught_tasks", 1)
    daemon.until("selftaught_tasks", 0)
    assert daemon.ask("POST", "/v1/verify", task(1))[1]["status"] == "accepted"


def test_the_workers_death_under_identical_tasks_loses_none_of_them(start: Any) -> None:
    """Two deaths are `internal_error` for all of them, which is no judgement: the client has them judged again."""
    daemon = start("--workers", "1")
    napping = "import time\ndef sol():\n    time.sleep(1.5)\n    return 1"
    tasks = [Task(str(number), "def sat(x: int): return x == 1", napping) for number in range(20)]
    ledger: list[Verdict] = []

    def judge() -> None:
        with Client(daemon.url) as client:
            ledger.extend(client.verify_many(tasks))

    thread = threading.Thread(target=judge)
    thread.start()
    killed: set[int] = set()
    while len(killed) < 2:
        time.sleep(0.3)
        daemon.until("selftaught_tasks", 1)
        for supervisor in daemon.supervisors():
            if supervisor.pid not in killed:
                supervisor.kill()
                killed.add(supervisor.pid)
    thread.join(60)
    assert [(verdict.id, verdict.status) for verdict in ledger] == [(each.id, "accepted") for each in tasks]
    assert daemon.metric('selftaught_verdicts_total{status="internal_error"}') == 20


def test_a_second_signal_does_not_wait(start: Any) -> None:
    daemon = start("--workers", "1", "--drain", "60", "--cpu-limit", "30")
    thread = threading.Thread(target=_ask_quietly, args=(daemon,))
    thread.start()
    daemon.until("selftaught_tasks", 1)
    began = time.monotonic()
    daemon.process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert daemon.stop(signal.SIGINT) == 1
    assert time.monotonic() - began < 8
    thread.join()


def test_an_open_stream_ends_with_the_daemon_and_has_only_verdicts_that_were_reached(start: Any) -> None:
    daemon = start("--workers", "1", "--drain", "5")
    with daemon.raw() as connection:
        connection.sendall(
            b"POST /v1/verify/batch HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        line = b'{"id": "1", "sat": "def sat(x): return x == 1", "sol": "1"}\n'
        connection.sendall(b"%x\r\n%b\r\n" % (len(line), line))
        daemon.until('selftaught_verdicts_total{status="accepted"}', 1)
        began = time.monotonic()
        assert daemon.stop() == 0
        assert time.monotonic() - began < 5
        seen = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    assert seen.count(b'"accepted"') == 1
    assert seen.endswith(b"0\r\n\r\n")


def test_the_death_of_the_daemon_takes_every_worker_with_it(start: Any) -> None:
    daemon: Daemon = start("--workers", "2", "--cpu-limit", "30")
    threads = []
    for _ in range(2):
        threads.append(threading.Thread(target=_ask_quietly, args=(daemon,)))
        threads[-1].start()
    daemon.until("selftaught_tasks", 2)
    time.sleep(0.5)
    processes = psutil.Process(daemon.process.pid).children(recursive=True)
    assert len(processes) >= 4
    daemon.stop(signal.SIGKILL)
    assert gone(processes)
    for thread in threads:
        thread.join()


def _ask_quietly(daemon: Daemon) -> None:
    with suppress(OSError, ConnectionError):
        daemon.ask("POST", "/v1/verify", sleeper(60))


def test_a_deadline_counts_the_time_in_the_queue(start: Any) -> None:
    daemon = start("--workers", "1", "--cpu-limit", "30")
    with Client(daemon.url, deadline_seconds=1) as client:
        began = time.monotonic()
        slow, queued = (
            Task(
                f"{seconds}",
                "def sat(x): return True",
                f"import time\ndef sol(): time.sleep({seconds})",
                Limits(wall_seconds=60),
            )
            for seconds in (59, 60)
        )
        verdict = client.verify(slow)
        assert 0.5 < time.monotonic() - began < 5
        assert (verdict.status, verdict.retryable) == ("internal_error", True)
        assert "within 1 s" in verdict.message
        verdicts = list(client.verify_many([slow, queued]))
        assert [each.status for each in verdicts] == ["internal_error", "internal_error"]
        daemon.until("selftaught_tasks", 0)  # and the daemon does not go on with them
    with Client(daemon.url) as client:  # its worker was killed, and the next may take more than a second to start
        assert client.verify(right_or_wrong(0)).accepted
