"""The client has the verifier's methods and returns the same verdicts."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from selftaught.sandbox import (
    AsyncClient,
    Client,
    Ending,
    Limits,
    Program,
    ServerRefused,
    Status,
    Task,
    Verdict,
    Verifier,
)
from tests.sandbox.malformed import MALFORMED, ODD
from tests.sandbox.server.conftest import Daemon, daemon  # noqa: F401  # a fixture


def task(number: int, sol: str | None = None) -> Task:
    sat = f"def sat(x: int, a={number}): return x == a + 1"
    return Task(str(number), sat, sol or f"def sol(a={number}): return a + 1")


@pytest.fixture
def client(daemon: Daemon) -> Iterator[Client]:  # noqa: F811
    with Client(daemon.url) as made:
        yield made


def test_it_has_every_method_of_a_verifier_with_the_same_parameters() -> None:
    local_only = {
        "worker_pids",
        "submit",
        "from_config",
        "shared",
        "name",
        "proof",
        "queued",
        "restarts",
        "counters",
    }  # for the process that owns the workers
    for name, method in inspect.getmembers(Verifier):
        if name.startswith("_") or name in local_only:
            continue
        other = getattr(Client, name)
        if callable(method):
            assert [*inspect.signature(method).parameters] == [*inspect.signature(other).parameters], name


def test_verdicts_are_the_librarys(client: Client) -> None:
    tasks = [
        task(1),
        task(2, "5"),
        task(3, "'x'"),
        task(4, "def"),
        Task("5", "\ud800", "1"),
        Task("ö\ud800", "def sat(x): return True", "1"),
        Task("6", "def sat(x): return True", "def sol():\n    while True: pass", Limits(cpu_seconds=0.2)),
        "no task",
        Task("7", 5, "x"),  # type: ignore[arg-type]
        Task("8", "x", "x", "limits"),  # type: ignore[arg-type]
    ]
    with Verifier(workers=1, require="restricted") as verifier:
        expected = list(verifier.verify_many(tasks))  # type: ignore[arg-type]
    for found in (list(client.verify_many(tasks)), [client.verify(each) for each in tasks]):  # type: ignore[arg-type]
        for one, other in zip(found, expected, strict=True):
            for name in ("id", "status", "phase", "message", "answer_sha256", "level"):
                assert getattr(one, name) == getattr(other, name), (name, one, other)
            assert (one.limit and one.limit.name) == (other.limit and other.limit.name)


Ask = Callable[[Client, list[Any]], list[Verdict]]


async def _ask_each(client: Client, items: list[Any]) -> list[Verdict]:
    return [await client.averify(item) for item in items]


async def _ask_all(client: Client, items: list[Any]) -> list[Verdict]:
    return [verdict async for verdict in client.averify_many(items)]


async def _ask_all_in_the_loop(client: Client, items: list[Any]) -> list[Verdict]:
    async with AsyncClient(client.url) as other:
        return [verdict async for verdict in other.verify_many(items)]


DOORS: dict[str, Ask] = {
    "verify": lambda client, items: [client.verify(item) for item in items],
    "averify": lambda client, items: asyncio.run(_ask_each(client, items)),
    "verify_many": lambda client, items: list(client.verify_many(items)),
    "verify_many with repeats": lambda client, items: list(client.verify_many(items, repeat=3)),
    "averify_many": lambda client, items: asyncio.run(_ask_all(client, items)),
    "AsyncClient": lambda client, items: asyncio.run(_ask_all_in_the_loop(client, items)),
}


@pytest.mark.parametrize("ask", DOORS.values(), ids=DOORS)
def test_malformed_tasks_are_invalid_at_every_entry_point_and_the_rest_is_judged(client: Client, ask: Ask) -> None:
    items = [
        item for number, make in enumerate(MALFORMED.values()) for item in (make(), task(number), make(), task(number))
    ]
    found = ask(client, items)
    assert [verdict.status for verdict in found] == ["invalid", "accepted"] * (2 * len(MALFORMED))


@pytest.mark.parametrize("ask", DOORS.values(), ids=DOORS)
def test_a_task_of_unusual_types_is_judged_at_every_entry_point(client: Client, ask: Ask) -> None:
    found = ask(client, [make() for make in ODD.values() for _ in range(2)])
    assert [verdict.status for verdict in found] == ["accepted"] * (2 * len(ODD)), found
    assert {(type(verdict.id), verdict.id.rstrip("\ud800")) for verdict in found} == {(str, "x")}


def test_a_malformed_program_is_invalid(client: Client) -> None:
    program: Any = Program
    bad: list[Any] = ["print(1)", program("x", 5), program("x", "", limits="none"), object.__new__(Program)]
    for program in bad:
        assert client.run(program).ending is asyncio.run(client.arun(program)).ending is Ending.INVALID


@pytest.mark.parametrize("ask", DOORS.values(), ids=DOORS)
def test_a_task_that_is_too_large_for_the_server_is_invalid_under_its_own_id(client: Client, ask: Ask) -> None:
    large, long = Task("large", "#" * (2 << 20), "1"), Task("i" * (2 << 20), "def sat(x): return True", "1")
    found = ask(client, [large, task(1), long, task(2)])
    assert [verdict.status for verdict in found] == ["invalid", "accepted", "invalid", "accepted"]
    assert [verdict.id for verdict in found] == [large.id, "1", long.id, "2"]


def test_a_stream_comes_back_in_order_or_as_it_is_ready(client: Client) -> None:
    assert [verdict.id for verdict in client.verify_many(map(task, range(300)))] == list(map(str, range(300)))
    slow = Task("slow", "def sat(x): return x == 2", "def sol():\n    while True: pass", Limits(cpu_seconds=0.6))
    ids = [verdict.id for verdict in client.verify_many([slow, *map(task, range(30))], ordered=False)]
    assert sorted(ids) == sorted(["slow", *map(str, range(30))])
    assert ids[0] != "slow"


def test_an_endless_stream_is_read_only_as_far_as_needed_and_can_be_left(daemon: Daemon) -> None:  # noqa: F811
    taken = 0

    def endless() -> Iterator[Task]:
        nonlocal taken
        while True:
            taken += 1
            yield task(taken)

    with Client(daemon.url, in_flight=20) as client:
        stream = client.verify_many(endless())
        for _ in range(100):
            assert next(stream).accepted
        stream.close()  # type: ignore[attr-defined]
        assert taken <= 100 + 20 + 1
        daemon.until("selftaught_tasks", 0)


def test_a_stream_that_raises_raises_to_the_caller(client: Client) -> None:
    def broken() -> Iterator[Task]:
        yield task(1)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        list(client.verify_many(broken()))

    async def main() -> None:
        async with AsyncClient(client.url) as other:
            with pytest.raises(KeyError, match="mine"):
                [verdict async for verdict in other.verify_many(broken())]
        with pytest.raises(KeyError, match="mine"):
            [verdict async for verdict in client.averify_many(broken())]

    asyncio.run(main())


def test_repeats_work_as_in_the_library(client: Client) -> None:
    lucky = Task("lucky", "def sat(x: int): return x < 5", "import random\ndef sol(): return random.randrange(10)")
    assert [verdict.status for verdict in client.verify_many([lucky, task(1)], repeat=20)] == ["unstable", "accepted"]
    with pytest.raises(ValueError, match="repeat"):
        next(client.verify_many([task(1)], repeat=0))


def test_coroutines_threads_and_forks_share_a_client(client: Client) -> None:
    async def source() -> AsyncIterator[Task]:
        for number in range(100):
            yield task(number)

    async def main() -> None:
        assert (await client.averify(task(1))).accepted
        assert [verdict.id async for verdict in client.averify_many(source())] == list(map(str, range(100)))
        assert (await client.arun(Program("p", "print(1)"))).stdout == "1\n"

    asyncio.run(main())
    found: list[Verdict] = []
    threads = [threading.Thread(target=lambda: found.extend(map(client.verify, map(task, range(5))))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 20
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if client.verify(task(2)).accepted else 2
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert client.verify(task(3)).accepted


def test_a_program_is_run(client: Client) -> None:
    found = client.run(Program("p", "import sys\nprint(input())\nsys.exit(3)", "hey\n", Limits(cpu_seconds=0.5)))
    assert (found.id, found.ending, found.return_code, found.stdout) == ("p", Ending.EXITED, 3, "hey\n")
    assert client.run(Program("p", "while True: pass", limits=Limits(cpu_seconds=0.2))).ending is Ending.TIME_LIMIT
    assert client.run(Program("p", "1", limits=Limits(cpu_seconds=50))).ending is Ending.INVALID


def test_files_of_a_program_travel(client: Client) -> None:
    code = "open('b', 'wb').write(open('a', 'rb').read() * 2)"
    found = client.run(Program("p", code, files={"a": b"\xff\0"}, fetch=["b", "c"]))
    assert (found.ending, found.files) == (Ending.EXITED, {"b": b"\xff\0" * 2}), found
    assert "'..'" in client.run(Program("p", code, files={"../a": b""})).message


def test_the_servers_configuration_is_available(client: Client) -> None:
    assert client.level in ("full", "restricted")
    assert client.workers == 2
    assert client.limits == Limits()


def test_a_limit_above_the_servers_is_invalid_with_that_reason(client: Client) -> None:
    too_much = Task("1", "def sat(x): return True", "1", Limits(cpu_seconds=99))
    for verdict in (client.verify(too_much), *client.verify_many([too_much])):
        assert verdict.status is Status.INVALID
        assert "above the server's" in verdict.message


def test_a_cancelled_coroutine_is_cancelled_at_the_server(daemon: Daemon, client: Client) -> None:  # noqa: F811
    async def main() -> None:
        nap = Task("nap", "def sat(x): return True", "import time\ndef sol(): time.sleep(9)")
        for ask in (client.averify(nap), _first(client.averify_many([nap]))):
            running = asyncio.create_task(ask)  # type: ignore[arg-type]
            await asyncio.to_thread(daemon.until, "selftaught_tasks", 1)
            running.cancel()
            await asyncio.to_thread(daemon.until, "selftaught_tasks", 0, 3)

    asyncio.run(main())


async def _first(stream: AsyncIterator[Verdict]) -> Verdict:
    async for verdict in stream:
        return verdict
    raise AssertionError


def test_a_closed_client_raises(daemon: Daemon) -> None:  # noqa: F811
    client = Client(daemon.url)
    assert client.verify(task(1)).accepted
    client.close()
    client.close()
    with pytest.raises(ValueError, match="closed"):
        client.verify(task(1))


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://x", ""])
def test_an_invalid_address_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="unix:PATH"):
        Client(url)


def test_an_unreachable_server_is_an_infrastructure_failure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with Client(f"http://127.0.0.1:{port}", deadline_seconds=0.5) as client:
        for verdict in (client.verify(task(1)), *client.verify_many([task(1)])):
            assert (verdict.status, verdict.retryable, verdict.judged) == (Status.INTERNAL_ERROR, True, False)
        assert client.run(Program("p", "1")).ending is Ending.INTERNAL_ERROR
        with pytest.raises(ConnectionError):
            _ = client.level


def test_deadlines_that_come_one_right_after_the_other_end_no_stream() -> None:
    """The second one may come while the request of the first is still ending."""

    def begin(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # it is closed
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=answer_nothing, args=(connection,), daemon=True).start()

    def answer_nothing(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.recv(1 << 16)
            head = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
            connection.sendall(head)
            while connection.recv(1 << 16):
                pass

    def source() -> Iterator[Task]:
        for number in range(400):
            time.sleep(0.0005)
            yield task(number)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=begin, args=(listener,), daemon=True).start()
        for _ in range(8):
            with Client(f"http://127.0.0.1:{listener.getsockname()[1]}", deadline_seconds=0.2) as client:
                verdicts = list(client.verify_many(source()))
            assert {verdict.status for verdict in verdicts} == {Status.INTERNAL_ERROR} and len(verdicts) == 400


Script = Callable[[int], tuple[int, dict[str, str], Any]]


@pytest.fixture
def scripted() -> Iterator[Callable[[Script], tuple[str, list[int]]]]:
    """A server that answers by a script, which gets the number of the request."""
    servers: list[ThreadingHTTPServer] = []

    def begin(script: Script) -> tuple[str, list[int]]:
        asked: list[int] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("content-length", 0)))
                asked.append(len(asked))
                status, headers, content = script(asked[-1])
                body = json.dumps(content).encode()
                self.send_response(status)
                for name, value in {**headers, "content-length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}", asked

    yield begin
    for server in servers:
        server.shutdown()
        server.server_close()


ACCEPTED = Verdict("1", Status.ACCEPTED).to_dict()
UNJUDGED = Verdict("1", Status.INTERNAL_ERROR, message="worker gone", retryable=True).to_dict()


def test_retryable_failures_are_retried(scripted: Any) -> None:
    answers = [
        (429, {"retry-after": "0"}, {"detail": "full"}),
        (503, {}, UNJUDGED),
        (504, {"retry-after": "0"}, {}),
        (200, {}, ACCEPTED),
    ]
    url, asked = scripted(lambda number: answers[number])
    with Client(url, deadline_seconds=20) as client:
        assert client.verify(task(1)).accepted
    assert len(asked) == 4


def test_other_failures_are_not_retried(scripted: Any) -> None:
    url, asked = scripted(lambda number: (200, {}, Verdict("1", Status.TIME_LIMIT).to_dict()))
    with Client(url) as client:
        assert client.verify(task(1)).status is Status.TIME_LIMIT
    url, more = scripted(lambda number: (422, {}, {"detail": "no"}))
    with Client(url) as client:
        assert client.verify(task(1)).status is Status.INVALID
    assert (len(asked), len(more)) == (1, 1)


def test_an_internal_error_is_final_after_three_attempts(scripted: Any) -> None:
    url, asked = scripted(lambda number: (503, {}, UNJUDGED))
    with Client(url, deadline_seconds=30) as client:
        verdict = client.verify(task(1))
    assert (verdict.status, verdict.retryable, len(asked)) == (Status.INTERNAL_ERROR, True, 3)
    assert "worker gone" in verdict.message


def test_retry_after_is_respected(scripted: Any) -> None:
    url, asked = scripted(
        lambda number: (200, {}, ACCEPTED) if number else (429, {"retry-after": "1"}, {"detail": "full"})
    )
    began = time.monotonic()
    with Client(url) as client:
        assert client.verify(task(1)).accepted
    assert time.monotonic() - began > 0.7
    assert len(asked) == 2


@pytest.mark.parametrize("status", [401, 403, 404, 421, 500])
def test_a_server_that_refuses_the_client_is_an_error_and_not_a_verdict(scripted: Any, status: int) -> None:
    url, _ = scripted(lambda number: (status, {}, {"detail": "go away"}))
    with Client(url) as client:
        with pytest.raises(ServerRefused, match="go away"):
            client.verify(task(1))
        with pytest.raises(ServerRefused, match="go away"):
            list(client.verify_many([task(1)]))


def test_without_the_extra_a_client_names_it(tmp_path: Path) -> None:
    (tmp_path / "aiohttp.py").write_text("raise ImportError('no')")
    for source in ("import selftaught; selftaught.Client", "from selftaught import Verifier; Verifier.shared()"):
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-c", source], capture_output=True, text=True, env=environment, timeout=60, check=False
        )
        assert "pip install 'selftaught[client]'" in done.stderr
