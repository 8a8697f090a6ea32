"""Daemons behind a name: every address of it is one."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
from typing import Any

import pytest

from selftaught.sandbox import Client
from selftaught.sandbox.client import daemons as daemons_module
from selftaught.sandbox.client import lookup
from tests.sandbox.client.conftest import (
    FAKE,
    free_port,
    judged,
    task,
    tasks,
    told_once,
    until,
)
from tests.sandbox.server.conftest import Daemon


def test_every_address_of_a_name_is_a_daemon_and_those_that_come_and_go_are_followed(
    start: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    port = free_port()
    hosts = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
    pods = {host: start("--workers", "1", host=host, port=port, module=FAKE) for host in hosts}
    known = ["127.0.0.1", "127.0.0.2"]
    resolve = socket.getaddrinfo

    def resolved(host: Any, *arguments: Any, **named: Any) -> Any:
        if host != "localhost":
            return resolve(host, *arguments, **named)
        if not known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [found for each in known for found in resolve(each, *arguments, **named)]

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    monkeypatch.setattr(daemons_module, "LOOKUP_SECONDS", 0.1)
    with Client(f"dns+http://localhost:{port}") as client:
        assert told_once(list(client.verify_many(tasks(300))), 300)
        assert [*client.daemons] == [f"http://127.0.0.1:{port}", f"http://127.0.0.2:{port}"]
        assert client.workers == 2
        known[:] = ["127.0.0.2", "127.0.0.3"]
        until(lambda: client.verify(task(1)) and [*client.daemons][-1:] == [f"http://127.0.0.3:{port}"])
        before = judged(pods["127.0.0.1"])
        assert told_once(list(client.verify_many(tasks(300))), 300)
        assert judged(pods["127.0.0.1"]) == before
        assert judged(pods["127.0.0.3"]) > 10, "it is used, from little on: its pace was not known"
        known.clear()
        assert told_once(list(client.verify_many(tasks(100))), 100), "those that are known are kept"


def test_a_name_that_does_not_resolve_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        Client("dns+http://no-such-name.invalid:8000", deadline_seconds=1) as client,
        pytest.raises(ConnectionError, match=r"no-such-name\.invalid:8000: its name can't be resolved"),
    ):
        _ = client.level
    verdict = Client("dns+http://no-such-name.invalid:8000", deadline_seconds=0.5).verify(task(1))
    assert "its name can't be resolved" in verdict.message


def test_a_daemon_has_one_address_even_if_its_name_has_one_of_each_family(monkeypatch: pytest.MonkeyPatch) -> None:
    both = [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("fd00::1", 8000, 0, 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.2", 8000)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.1", 8000)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
    assert asyncio.run(lookup.addresses("dns+http://pods:8000")) == ["10.0.0.1", "10.0.0.2"]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both[:1])
    assert asyncio.run(lookup.addresses("dns+http://pods:8000")) == ["fd00::1"]


def test_the_two_addresses_of_localhost_are_one_daemon(fakes: list[Daemon]) -> None:
    with Client(f"http://localhost:{fakes[0].port}") as client:
        assert told_once(list(client.verify_many(tasks(50))), 50)
        assert client.daemons == {}
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", fakes[0].port, timeout=10)) as connection:
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 200
