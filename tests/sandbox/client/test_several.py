"""A client of several daemons: each task has one verdict, whichever of them die, refuse or are slow."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from selftaught.sandbox import AsyncClient, CannotConfine, Client, Ending, Limits, Program, ServerRefused, Status, Task
from selftaught.sandbox.client import daemon as daemon_module
from tests.sandbox.client.conftest import (
    CONFIG,
    FAKE,
    free_port,
    judged,
    task,
    tasks,
    told_once,
    until,
    urls,
)
from tests.sandbox.server.conftest import Daemon


def test_three_daemons_share_a_stream_also_over_a_unix_socket(start: Any, tmp_path: Path) -> None:
    socket_path = tmp_path / "socket"
    two = [start("--workers", "1") for _ in range(2)]
    third = start("--workers", "1", "--uds", str(socket_path))
    third.wait_for("level")
    with Client([*urls(two), f"unix:{socket_path}"]) as client:
        assert told_once(list(client.verify_many(tasks(600))), 600)
        assert sorted(verdict.id for verdict in client.verify_many(tasks(90), ordered=False)) == sorted(
            map(str, range(90))
        )
        assert client.run(Program("p", "print(input())", "hey\n")).stdout == "hey\n"
        shares = [judged(each) for each in two]
        assert all(50 < part < 550 for part in shares), shares
        assert sum(shares) < 650, "the third has judged the others"
        assert [*client.daemons] == [*urls(two), f"unix:{socket_path}"]
        assert client.refused == {}
        assert client.workers == 3
        assert client.level in ("full", "restricted")


def test_a_daemon_killed_in_mid_stream_loses_no_task_and_none_is_told_twice(start: Any) -> None:
    real = [start("--workers", "1") for _ in range(3)]
    with Client(urls(real)) as client:
        found = []
        for verdict in client.verify_many(tasks(1500), ordered=False):
            found.append(verdict)
            if len(found) == 300:
                real[0].process.send_signal(signal.SIGKILL)
        assert told_once(sorted(found, key=lambda verdict: int(verdict.id)), 1500)
        assert [*client.refused] == [real[0].url], client.refused
        assert client.workers == 2


def test_the_order_is_kept_when_two_of_three_are_killed_one_after_the_other(mortals: list[Daemon]) -> None:
    with Client(urls(mortals)) as client:
        found = []
        for verdict in client.verify_many(tasks(4000)):
            found.append(verdict)
            if len(found) in (500, 1500):
                mortals[len(found) // 1000].process.send_signal(signal.SIGKILL)
        assert told_once(found, 4000)
        assert set(client.refused) == set(urls(mortals[:2]))


def test_single_requests_go_elsewhere_when_a_daemon_is_killed(mortals: list[Daemon]) -> None:
    async def main() -> None:
        async with AsyncClient(urls(mortals), deadline_seconds=60) as client:
            asked = [asyncio.create_task(client.verify(task(number))) for number in range(300)]
            await asked[10]
            mortals[1].process.send_signal(signal.SIGKILL)
            assert told_once(await asyncio.gather(*asked), 300)

    asyncio.run(main())
    assert judged(mortals[0]) > 50
    assert judged(mortals[2]) > 50


def test_a_daemon_that_comes_back_is_used_again_in_the_same_stream(start: Any) -> None:
    stays, comes_back = start("--workers", "1", module=FAKE), start("--workers", "1", module=FAKE)
    leave, again = threading.Event(), None
    with Client([stays.url, comes_back.url]) as client:

        def source() -> Iterator[Task]:
            for number in itertools.count():
                if leave.is_set():
                    return
                yield task(number)

        count = 0
        for count, verdict in enumerate(client.verify_many(source()), 1):
            assert verdict.id == str(count - 1)
            if count == 300:
                comes_back.process.send_signal(signal.SIGKILL)
                comes_back.process.wait()
            if count == 2000:
                assert [*client.refused] == [comes_back.url]
                again = start("--workers", "1", port=comes_back.port, module=FAKE)
            if again and count % 200 == 0 and judged(again) > 100:
                leave.set()
            assert count < 400_000, "it is not used again"
        assert client.refused == {}


def test_a_daemon_that_is_not_ready_gets_nothing_and_is_named(fakes: list[Daemon], scripted: Any) -> None:
    down = scripted(503, "no canary was judged")
    with Client([down.url, *urls(fakes[:2])]) as client:
        assert told_once(list(client.verify_many(tasks(300))), 300)
        assert told_once([client.verify(task(number)) for number in range(20)], 20)
        assert client.refused == {down.url: "HTTP 503: no canary was judged"}
        assert set(down.asked) == {"/readyz"}


@pytest.mark.parametrize("status", [503, 500, 429, 401])
def test_a_daemon_that_says_it_is_ready_but_serves_nothing_costs_no_task(
    fakes: list[Daemon], scripted: Any, status: int
) -> None:
    liar = scripted(status, readyz={}, config=CONFIG)
    with Client([liar.url, fakes[0].url], deadline_seconds=60) as client:
        assert told_once(list(client.verify_many(tasks(300))), 300)
        assert told_once([client.verify(task(number)) for number in range(20)], 20)
        assert client.run(Program("p", "print(1)")).ending is not Ending.INVALID


def test_a_slow_daemon_is_given_less_and_does_not_keep_an_ordered_stream_waiting(
    start: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fast = [start("--workers", "1", module=FAKE) for _ in range(2)]
    monkeypatch.setenv("FAKE_WORKER_SECONDS", "0.5")
    slow = start("--workers", "1", module=FAKE)
    with Client([slow.url, *urls(fast)]) as client:
        client.wait_until_ready(20)
        assert told_once(list(client.verify_many(tasks(3000))), 3000)
    assert judged(slow) < 100, "as many as the others would be 1000, and 500 seconds"
    assert all(judged(each) > 500 for each in fast)


def test_a_daemon_that_hangs_is_given_up_and_its_tasks_are_judged_elsewhere(
    mortals: list[Daemon], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that is gone closes no connection."""
    monkeypatch.setattr(daemon_module, "QUIET_SECONDS", 0.3)
    monkeypatch.setattr(daemon_module, "ALIVE_SECONDS", 1.0)
    with Client(urls(mortals)) as client:
        found = []
        for verdict in client.verify_many(tasks(2000)):
            found.append(verdict)
            if len(found) == 500:
                mortals[2].process.send_signal(signal.SIGSTOP)
        assert told_once(found, 2000)
        assert [*client.refused] == [mortals[2].url]
        mortals[2].process.send_signal(signal.SIGCONT)
        until(lambda: client.verify(task(1)) and not client.refused)


def test_when_none_is_left_the_error_names_every_daemon_and_why(scripted: Any) -> None:
    dead, sick = f"http://127.0.0.1:{free_port()}", scripted(503, "no worker starts")
    with Client([dead, sick.url], deadline_seconds=1) as client:
        for verdict in (client.verify(task(1)), *client.verify_many([task(1)])):
            assert (verdict.status, verdict.retryable) == (Status.INTERNAL_ERROR, True)
            assert f"{dead}: ClientConnectorError" in verdict.message
            assert f"{sick.url}: HTTP 503: no worker starts" in verdict.message
        assert client.run(Program("p", "1")).ending is Ending.INTERNAL_ERROR
        with pytest.raises(ConnectionError, match="no worker starts"):
            _ = client.level
        with pytest.raises(ConnectionError, match=dead):
            client.wait_until_ready(0.3)


def test_tasks_wait_for_the_first_daemon_to_start(start: Any) -> None:
    port = free_port()
    with Client([f"http://127.0.0.1:{port}", f"http://127.0.0.1:{free_port()}"]) as client:
        found: list[Any] = []
        waiting = threading.Thread(target=lambda: found.extend(client.verify_many(tasks(50))))
        waiting.start()
        start("--workers", "1", port=port, module=FAKE)
        waiting.join(30)
        assert told_once(found, 50)


def test_the_lowest_level_is_told_and_a_daemon_below_the_required_one_gets_nothing(start: Any) -> None:
    low = start("--workers", "1", "--level", "restricted", module=FAKE)
    high = start("--workers", "1", "--level", "full", module=FAKE)
    both = [low.url, high.url]
    with Client(both) as client:
        assert client.level == "restricted"
    with Client(both, require="full") as client:
        assert client.level == "full"
        assert told_once(list(client.verify_many(tasks(200))), 200)
        assert client.refused == {low.url: "its level is restricted, below full"}
        assert judged(low) == 0
    for only in (low.url, [low.url]):
        with Client(only, require="full") as client:
            for ask in (lambda c: c.verify(task(1)), lambda c: list(c.verify_many(tasks(3))), lambda c: c.level):
                with pytest.raises(CannotConfine, match=f"{low.url}: its level is restricted, below full"):
                    ask(client)


def test_a_daemon_that_refuses_the_token_is_named_and_if_all_do_that_is_an_error(
    fakes: list[Daemon], scripted: Any
) -> None:
    strict = [scripted(401, "wrong token", readyz={}) for _ in range(2)]
    with Client([strict[0].url, fakes[0].url]) as client:
        assert told_once(list(client.verify_many(tasks(100))), 100)
        assert client.refused == {strict[0].url: "HTTP 401: wrong token"}
    with Client([each.url for each in strict]) as client:
        for ask in (lambda c: c.verify(task(1)), lambda c: list(c.verify_many(tasks(3))), lambda c: c.level):
            with pytest.raises(ServerRefused, match=f"{strict[0].url}.*{strict[1].url}.*wrong token"):
                ask(client)


def whole(body: str, *headers: str, status: str = "200 OK") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", body]).encode()


@pytest.fixture
def foreign() -> Iterator[Callable[[bytes], str]]:
    """Return a function that starts a service which answers everything with these bytes, and returns its address."""
    listeners: list[socket.socket] = []

    def answer(listener: socket.socket, said: bytes) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, contextlib.suppress(OSError):
                    connection.recv(1 << 16)
                    connection.sendall(said)

    def begin(said: bytes) -> str:
        listeners.append(socket.create_server(("127.0.0.1", 0)))
        threading.Thread(target=answer, args=(listeners[-1], said), daemon=True).start()
        return f"http://127.0.0.1:{listeners[-1].getsockname()[1]}"

    yield begin
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@pytest.mark.parametrize(
    "said",
    [
        b"SSH-2.0-OpenSSH_9\r\n",
        whole("", "Location: http://[::1", status="302 Found"),
        whole('{"level": "full", "workers": null}'),
        whole('{"level": "full", "workers": "many"}'),
        whole("[]"),
        whole("{}", "A: " + "a" * 100_000),
    ],
    ids=["no HTTP", "a redirection", "no number", "a word", "no configuration", "a long header"],
)
def test_another_service_at_an_address_is_left_out_and_named(
    fakes: list[Daemon], foreign: Callable[[bytes], str], said: bytes
) -> None:
    url = foreign(said)
    with Client([url, fakes[0].url]) as client:
        client.wait_until_ready(20)  # it has been asked, and not given up in silence
        assert told_once(list(client.verify_many(tasks(100))), 100)
        assert set(client.refused) == {url}
    for one in (Client(url), Client(url, require="restricted")):
        with one as client:
            with pytest.raises(ServerRefused, match=url):
                client.verify(task(1))
            with pytest.raises(ServerRefused, match=url):
                list(client.verify_many(tasks(3)))


def test_what_no_daemon_would_take_is_an_error_of_the_call_and_not_of_the_daemons(fakes: list[Daemon]) -> None:
    with Client(urls(fakes)) as client:
        client.wait_until_ready(20)
        with pytest.raises(ServerRefused, match="repeat is a number from 1 to 100"):
            list(client.verify_many(tasks(3), repeat=101))
        assert client.refused == {}


def test_identical_tasks_of_a_stream_are_judged_once_by_one_daemon(fakes: list[Daemon]) -> None:
    same = [Task(str(number), "def sat(x: int): return x == 1", "1") for number in range(300)]
    before = sum(judged(each) for each in fakes)
    with Client(urls(fakes)) as client:
        assert [verdict.id for verdict in client.verify_many(same)] == [each.id for each in same]
    assert sum(judged(each) for each in fakes) == before + 1


def test_leaving_a_stream_cancels_it_at_every_daemon_and_reads_no_more_than_the_window(
    start: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FAKE_WORKER_SECONDS", "0.05")
    slow = [start("--workers", "1", module=FAKE) for _ in range(2)]
    taken = 0

    def endless() -> Iterator[Task]:
        nonlocal taken
        while True:
            taken += 1
            yield task(taken)

    with Client(urls(slow), in_flight=20) as client:
        stream = client.verify_many(endless())
        for _ in range(20):
            next(stream)
        stream.close()  # type: ignore[attr-defined]
        assert taken <= 20 + 2 * 20 + 1
        for each in slow:
            each.until("selftaught_tasks", 0)


def test_threads_coroutines_and_forks_share_a_client_of_several(fakes: list[Daemon]) -> None:
    with Client(urls(fakes)) as client:

        async def main() -> None:
            assert (await client.averify(task(1))).accepted
            assert told_once([verdict async for verdict in client.averify_many(tasks(100))], 100)

        asyncio.run(main())
        child = os.fork()
        if child == 0:
            status = 1
            with contextlib.suppress(BaseException):
                status = 0 if told_once(list(client.verify_many(tasks(50))), 50) else 2
            os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        assert client.verify(task(3)).accepted


def test_limits_for_tasks_without_limits_travel_with_them(fakes: list[Daemon]) -> None:
    with Client(urls(fakes), limits=Limits(cpu_seconds=99)) as client:
        for verdict in (client.verify(task(1)), *client.verify_many([task(1)])):
            assert verdict.status is Status.INVALID
            assert "cpu_seconds" in verdict.message
        assert client.limits == Limits(cpu_seconds=99)
        own = Task("1", task(1).sat, task(1).sol, Limits(cpu_seconds=0.5))
        assert client.verify(own).accepted


@pytest.mark.parametrize("given", [[], ["http://a", "ftp://b"], ["127.0.0.1:8000"], "dns+unix:x"])
def test_invalid_addresses_are_refused_at_once(given: Any) -> None:
    with pytest.raises(ValueError, match="http://HOST:PORT"):
        Client(given)


def test_an_unknown_level_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="no level 'utter': choose from full, container, restricted"):
        Client(["http://a", "http://b"], require="utter")
