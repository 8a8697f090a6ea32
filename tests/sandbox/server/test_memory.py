"""The memory that clients can make the daemon use: bounded, and freed in whatever way a request ends."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, closing, suppress
from typing import Any

import psutil
import pytest

from selftaught.sandbox import Client, Task
from selftaught.sandbox.server.admission import Admission
from selftaught.sandbox.server.memory import Memory
from tests.sandbox.server.conftest import LINES, Daemon, endless, lines, sleeper, task
from tests.sandbox.server.test_requests import HEAD, answer
from tests.sandbox.server.test_slow import STREAM, chunk

MIB = 1 << 20
BUFFERED = "selftaught_buffered_bytes"
SMALL = ("--workers", "1", "--max-body", "1M", "--max-buffered", "4M", "--patience", "5")


def send(connection: socket.socket, data: bytes, seconds: float = 3.0) -> None:
    """As much as is taken."""
    connection.settimeout(seconds)
    with suppress(OSError):
        connection.sendall(data)


def until_above(daemon: Daemon, least: float) -> float:
    deadline = time.monotonic() + 10
    while (used := daemon.metric(BUFFERED)) <= least:
        assert time.monotonic() < deadline, used
        time.sleep(0.05)
    return used


@pytest.mark.parametrize("path", ["/v1/verify", "/v1/run", "/v1/verify/batch"])
def test_bodies_of_all_clients_together_are_bounded_and_refusals_have_retry_after(start: Any, path: str) -> None:
    daemon = start(*SMALL)
    head = HEAD.replace(b"/v1/verify", path.encode()) + b"Content-Length: 1000000\r\n\r\n"
    with ExitStack() as stack:
        many = [stack.enter_context(closing(daemon.raw())) for _ in range(12)]
        for connection in many:
            send(connection, head + b" " * 900_000)
        assert daemon.metric(BUFFERED) <= daemon.metric("selftaught_buffered_bytes_limit") == 4 * MIB
        assert daemon.metric(BUFFERED) > 2 * MIB
        refused = [seen for seen in map(answer, many) if b" 503 " in seen[:20]]
        assert 8 <= len(refused) < 12
        for seen in refused:
            head, _, content = seen.partition(b"\r\n\r\n")
            assert b"\r\nretry-after: 1" in head
            assert json.loads(content)["retryable"] is True
            assert "--max-buffered" in json.loads(content)["detail"]
        assert daemon.ask("GET", "/healthz")[0] == 200
    daemon.until(BUFFERED, 0)
    assert daemon.ask("POST", "/v1/verify", task(1))[1]["status"] == "accepted"


def test_the_process_uses_about_what_it_reports(start: Any) -> None:
    daemon = start("--workers", "1", "--max-buffered", "64M", "--patience", "8")
    daemon.ask("POST", "/v1/verify", task(1))
    process = psutil.Process(daemon.process.pid)
    before = process.memory_info().rss
    with ExitStack() as stack:
        for _ in range(30):
            connection = stack.enter_context(closing(daemon.raw()))
            send(connection, HEAD + b"Content-Length: 16000000\r\n\r\n" + b" " * 15_000_000)
        assert process.memory_info().rss - before < 160 * MIB
    daemon.until(BUFFERED, 0)


def leave(connection: socket.socket, how: str) -> None:
    if how == "reset":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    if how == "half-close":
        connection.shutdown(socket.SHUT_WR)
        answer(connection)
    connection.close()


@pytest.mark.parametrize("how", ["close", "half-close", "reset"])
@pytest.mark.parametrize(
    "part",
    [
        HEAD + b"Content-Length: 900000\r\n\r\n" + b" " * 500_000,
        HEAD + b"X: " + b"x" * 50_000,
        STREAM + chunk(b'{"sat": "' + b"x" * 500_000),
        STREAM + chunk(json.dumps(endless(note="x" * 500_000)).encode() + b"\n"),
        HEAD.replace(b"verify", b"verify/batch")
        + b"Content-Length: 500002\r\n\r\n["
        + json.dumps(sleeper(20)).encode().ljust(500_000)
        + b"]",
        HEAD + b"Content-Length: 500000\r\n\r\n" + json.dumps(sleeper(20)).encode().ljust(500_000),
    ],
    ids=["body", "headers", "line", "stream under way", "array under way", "task under way"],
)
def test_a_client_that_leaves_frees_its_memory(start: Any, part: bytes, how: str) -> None:
    daemon = start(*SMALL, "--cpu-limit", "30")
    connection = daemon.raw()
    send(connection, part)
    until_above(daemon, 40_000)
    leave(connection, how)
    daemon.until(BUFFERED, 0, within_seconds=10)


@pytest.mark.parametrize(
    "ended",
    ["answered", "not JSON", "no task", "too large", "too slow", "refused", "wrong path", "bad chunk", "killed worker"],
)
def test_a_request_frees_its_memory_however_it_ends(start: Any, ended: str) -> None:
    daemon = start("--workers", "1", "--max-body", "1M", "--patience", "0.5")
    body = json.dumps(sleeper(3) if ended == "killed worker" else task(1)).encode().ljust(300_000)
    kept = HEAD + b"Connection: close\r\n"
    sent = {
        "not JSON": kept + b"Content-Length: 300000\r\n\r\n" + b"{" * 300_000,
        "no task": kept + b"Content-Length: 300000\r\n\r\n" + b"[]".ljust(300_000),
        "too large": kept + b"Transfer-Encoding: chunked\r\n\r\n" + chunk(b" " * 2 * MIB),
        "too slow": kept + b"Content-Length: 300000\r\n\r\n" + b" " * 299_999,
        "refused": kept.replace(b"json", b"xml") + b"Content-Length: 300000\r\n\r\n" + body,
        "wrong path": kept.replace(b"verify", b"nothing") + b"Content-Length: 300000\r\n\r\n" + body,
        "bad chunk": kept + b"Transfer-Encoding: chunked\r\n\r\n" + chunk(b" " * 300_000) + b"zz\r\n",
    }.get(ended, kept + b"Content-Length: 300000\r\n\r\n" + body)
    with closing(daemon.raw()) as connection:
        send(connection, sent)
        if ended == "killed worker":
            daemon.until("selftaught_tasks", 1)
            for supervisor in daemon.supervisors():
                supervisor.kill()
        status = {
            "answered": b"200",
            "not JSON": b"400",
            "no task": b"422",
            "too large": b"413",
            "too slow": b"408",
            "refused": b"415",
            "wrong path": b"404",
            "bad chunk": b"400",
        }
        assert answer(connection).split()[1:2] in (
            [status.get(ended, b"200")],
            [b"503"] if ended == "killed worker" else [],
        )
    daemon.until(BUFFERED, 0)


@pytest.mark.parametrize("size", [3 * MIB, 12 * MIB])
def test_a_refusal_is_seen_by_a_client_that_is_still_sending(start: Any, size: int) -> None:
    """If it were closed with unread bytes, the kernel would reset the connection."""
    daemon = start("--max-body", "16M", "--max-buffered", "16M", "--patience", "5")
    with closing(daemon.raw()) as blocker:
        send(blocker, HEAD + b"Content-Length: 15500000\r\n\r\n" + b" " * 15_000_000)
        daemon.until(BUFFERED, 15_000_000)
        for _ in range(5):
            status, content, headers = daemon.ask("POST", "/v1/verify", b" " * size)
            assert (status, content["retryable"], headers["retry-after"]) == (503, True, "1")
    for _ in range(5):
        assert daemon.ask("POST", "/v1/verify", b" " * size, {"Content-Type": "text/plain"})[0] == 415
        assert daemon.ask("POST", "/v1/verify", b" " * size, {"Host": "evil.example"})[0] == 421
        assert daemon.ask("POST", "/v1/verify", b" " * (16 * MIB + size))[0] == 413


def test_a_limit_below_one_request_is_refused_at_start() -> None:
    command = [sys.executable, "-m", "selftaught.sandbox.cli", "serve", "--max-body", "2M", "--max-buffered", "1M"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "--max-body" in done.stderr


def test_streams_wait_for_their_own_lines_if_memory_is_scarce(start: Any) -> None:
    daemon = start("--workers", "2", "--max-body", "1M", "--max-buffered", "8M")

    def text(base: int) -> bytes:
        return b"".join(
            json.dumps(task(number, note="x" * 100_000)).encode() + b"\n" for number in range(base, base + 60)
        )

    async def main() -> list[bytes]:
        ask = daemon.ask
        many = [asyncio.to_thread(ask, "POST", "/v1/verify/batch", text(100 * number), LINES) for number in range(4)]
        watching = asyncio.create_task(watch())
        found = await asyncio.gather(*many)
        watching.cancel()
        return [content for _, content, _ in found]

    peak = 0.0

    async def watch() -> None:
        nonlocal peak
        while True:
            peak = max(peak, await asyncio.to_thread(daemon.metric, BUFFERED))
            await asyncio.sleep(0.01)

    for content in asyncio.run(main()):
        assert content.count(b'"accepted"') == 60
    assert 2 * MIB < peak < 8 * MIB
    daemon.until(BUFFERED, 0)


def test_our_client_gets_every_verdict_though_there_is_not_memory_for_all(start: Any) -> None:
    daemon = start("--workers", "2", "--max-body", "1M", "--max-buffered", "1M")
    tasks = [
        Task(str(n), f"def sat(x: int): return x == {n}", f"#{'x' * 200_000}\ndef sol(): return {n}") for n in range(40)
    ]

    async def main() -> list[list[Any]]:
        def judge() -> list[Any]:
            with Client(daemon.url) as client:
                return list(client.verify_many(tasks))

        return await asyncio.gather(*(asyncio.to_thread(judge) for _ in range(3)))

    for found in asyncio.run(main()):
        assert [(each.id, each.status) for each in found] == [(each.id, "accepted") for each in tasks]


@pytest.mark.parametrize(("count", "seconds"), [(44, "30"), (150, "0.2")])
def test_pending_lines_count_until_their_verdicts_are_written(start: Any, count: int, seconds: str) -> None:
    """A client that leaves is noticed also while reading is paused, unless the sockets' buffers are full."""
    daemon = start("--workers", "1", "--max-body", "1M", "--max-buffered", "8M", "--cpu-limit", seconds)
    with closing(daemon.raw()) as connection:
        connection.sendall(STREAM)
        for number in range(count):
            line = json.dumps(endless(sat=f"def sat(x): return x == {number}", note="x" * 100_000)).encode() + b"\n"
            send(connection, chunk(line), seconds=0.2)
        assert until_above(daemon, 3 * MIB) < 6 * MIB  # half of the total, and what was on its way
        assert daemon.ask("POST", "/v1/verify", [])[0] == 422  # others get memory
    daemon.until(BUFFERED, 0)


@pytest.mark.parametrize("kind", ["array", "lines"])
def test_what_is_small_as_text_and_large_as_values_is_not_kept_as_values(start: Any, kind: str) -> None:
    daemon = start("--workers", "1", "--cpu-limit", "30", "--max-body", "4M")
    process = psutil.Process(daemon.process.pid)
    first = json.dumps(sleeper(15))
    with ExitStack() as stack:
        before = process.memory_info().rss
        for number in range(8):
            connection = stack.enter_context(closing(daemon.raw()))
            if kind == "array":
                body = (f"[{first}" + ",[]" * 1_000_000 + "]").encode()
                send(
                    connection,
                    HEAD.replace(b"verify", b"verify/batch") + b"Content-Length: %d\r\n\r\n" % len(body) + body,
                    10,
                )
            else:
                send(connection, STREAM + chunk((first + "\n[]" * 1_000_000).encode()), 2)
            daemon.until("selftaught_tasks", number + 1)
        assert process.memory_info().rss - before < 250 * MIB  # as values 70 each


def cpu_seconds(daemon: Daemon) -> float:
    times = psutil.Process(daemon.process.pid).cpu_times()
    return times.user + times.system


@pytest.mark.parametrize("unit", [b"x", b" ", b"[", b"\n", b"9", b"1,", b'{"a":', b"{}\n", b'"\\ud800",'], ids=str)
def test_the_time_for_a_stream_is_linear_in_its_size(start: Any, unit: bytes) -> None:
    daemon = start("--workers", "1", "--max-body", "8M")
    spent = []
    for size in (MIB // 8, MIB):
        before = cpu_seconds(daemon)
        body = unit * (size // len(unit))
        assert daemon.ask("POST", "/v1/verify/batch", body, LINES, timeout=120)[0] == 200
        spent.append(cpu_seconds(daemon) - before)
    assert spent[1] < 24 * spent[0] + 0.5


def test_single_bytes_do_not_block_the_loop(start: Any) -> None:
    """If each byte cost a copy of the line, one connection would take 97 % of the loop."""
    daemon = start("--workers", "1")
    with closing(daemon.raw()) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(STREAM + chunk(b"x" * 15 * MIB))
        time.sleep(0.5)
        before = cpu_seconds(daemon)
        for _ in range(300):
            connection.sendall(b"1\r\nx\r\n")
            time.sleep(0.002)
        assert cpu_seconds(daemon) - before < 0.4


@pytest.mark.parametrize("leave_early", [False, True])
def test_ids_of_finished_tasks_are_not_kept(start: Any, leave_early: bool) -> None:
    """Neither as verdicts that a stream remembers for duplicates, nor in the queue as cancelled tasks."""
    daemon = start("--workers", "1", "--max-body", "4M", "--cpu-limit", "30")
    process = psutil.Process(daemon.process.pid)
    long = [json.dumps(task(number, id="x" * 3_900_000)).encode() for number in range(60)]
    if leave_early:
        long = [json.dumps(endless(id="x" * 3_900_000)).encode() for _ in range(60)]
        with closing(daemon.raw()) as busy:
            send(
                busy, HEAD + b"Content-Length: %d\r\n\r\n" % len(json.dumps(endless())) + json.dumps(endless()).encode()
            )
            daemon.until("selftaught_tasks", 1)
            before = process.memory_info().rss
            for body in long:
                with closing(daemon.raw()) as connection:
                    send(connection, HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
                    daemon.until("selftaught_tasks", 2)
            assert process.memory_info().rss - before < 120 * MIB
        return
    before = process.memory_info().rss
    with closing(daemon.raw()) as connection:
        connection.sendall(STREAM)
        for body in long:
            send(connection, chunk(body + b"\n"), 10)
            connection.settimeout(10)
            seen = b""
            while not seen.endswith(b"\n\r\n"):
                seen += connection.recv(1 << 20)
        assert process.memory_info().rss - before < 120 * MIB


class NeverDone:
    """A verifier that keeps every task pending."""

    workers, limits, level = 1, None, ""

    def __init__(self) -> None:
        self.waiting: list[Any] = []

    def submit(self, item: object, done: Any, repeat: int = 1) -> Any:
        self.waiting.append(done)
        return lambda: None

    def count_duplicate(self, verdict: object) -> None:
        """Does nothing."""


@pytest.mark.parametrize("given_first", [False, True])
def test_a_slot_is_not_lost_if_the_first_that_waits_is_cancelled_when_it_becomes_free(given_first: bool) -> None:
    async def main() -> None:
        admission = Admission(NeverDone(), 1, Memory(1))  # type: ignore[arg-type]
        abandon = admission.submit(Task("", "", ""), lambda found: None)
        first, second = (asyncio.create_task(admission.wait_for_slot()) for _ in range(2))
        await asyncio.sleep(0)
        if given_first:
            abandon()
            first.cancel()
        else:
            first.cancel()
            abandon()
        async with asyncio.timeout(2):
            await second
        assert first.cancelled() or (await asyncio.gather(first, return_exceptions=True))

    asyncio.run(main())


def test_an_array_keeps_what_only_the_slower_parser_reads(daemon: Daemon) -> None:
    body = (
        b'[{"id": "\\ud800", "sat": "def sat(x: float): return x != x", "sol": "float(\'nan\')", "note": NaN},'
        b'{"sat": "def sat(x: int): return x == 1", "sol": "1", "limits": {"cpu_seconds": NaN}},'
        b'{"id": 123456789012345678901234567890, "sat": "def sat(x: int): return x == 1", "sol": "1"}, "\n\xc3\xa9"]'
    ).replace(b"\n", b"\\n")
    found = lines(daemon.ask("POST", "/v1/verify/batch", body)[1])
    assert [each["status"] for each in found] == ["accepted", "invalid", "accepted", "invalid"]
    assert (found[0]["id"], found[2]["id"]) == ("\ud800", "123456789012345678901234567890")
