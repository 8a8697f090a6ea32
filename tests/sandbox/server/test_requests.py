"""Malformed requests, clients that leave, and more work than is admitted."""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import closing
from typing import Any

import psutil
import pytest

from tests.sandbox.server.conftest import LINES, Daemon, descriptors, endless, sleeper, task

HEAD = b"POST /v1/verify HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def answer(connection: socket.socket) -> bytes:
    """Return all that the daemon sends until it closes or is silent for long."""
    connection.settimeout(15)
    parts = []
    try:
        while part := connection.recv(1 << 16):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"\xff\xfe", 400),
        (b"\x00" * 100, 400),
        (b"[" * 100_000, 400),
        (b'{"a":' * 600 + b"1" + b"}" * 600, 400),
        (b"NaN", 422),
        (b"null", 422),
        (b"[]", 422),
        (b"5", 422),
        (b'"text"', 422),
        (b"{}", 422),
        (b'{"sat": null, "sol": "1"}', 422),
        (b'{"sat": ["x"], "sol": "1"}', 422),
        (b'{"sat": "x", "sol": 1}', 422),
        (b'{"sat": "x", "sol": "1", "id": {}}', 422),
        (b'{"sat": "x", "sol": "1", "id": true}', 422),
        (b'{"sat": "x", "sol": "1", "limits": 5}', 422),
        (b'{"sat": "x", "sol": "1", "limits": {"cpu_seconds": 1e999}}', 422),
        (b'{"sat": "x", "sol": "1", "limits": {"memory_bytes": ' + b"9" * 100 + b"}}", 422),
        (b'{"sat": "x", "sol": "1", "limits": {"memory_bytes": ' + b"9" * 5000 + b"}}", 400),
    ],
)
def test_a_malformed_task_is_refused_with_a_reason(daemon: Daemon, body: bytes, status: int) -> None:
    seen, content, _ = daemon.ask("POST", "/v1/verify", body)
    assert (seen, content["retryable"]) == (status, False)
    assert content["detail"]


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""]
)
@pytest.mark.parametrize("path", ["/v1/verify", "/v1/verify/batch", "/run_code", "/v1/run"])
def test_what_a_web_form_can_send_is_not_read(daemon: Daemon, path: str, kind: str) -> None:
    assert daemon.ask("POST", path, json.dumps(task(1)).encode(), {"Content-Type": kind})[0] == 415


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/v1/verify", 405), ("DELETE", "/", 405), ("GET", "/v2", 404)]
)
def test_wrong_methods_and_paths_are_answered_as_json(daemon: Daemon, method: str, path: str, status: int) -> None:
    seen, content, _ = daemon.ask(method, path)
    assert (seen, content["retryable"]) == (status, False)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x00\x01\x02\x03\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/verify HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"POST /v1/verify HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/verify HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"POST /v1/verify HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/verify HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
        b"Content-Type: application/json\r\n\r\nzz\r\n",
        b"GET http://[ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET \xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nBad Header\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_what_is_not_http_ends_the_connection_and_nothing_else(daemon: Daemon, request_bytes: bytes) -> None:
    with closing(daemon.raw()) as connection:
        connection.sendall(request_bytes)
        connection.shutdown(socket.SHUT_WR)
        seen = answer(connection)
    assert seen == b"" or seen.split()[1].startswith(b"4"), seen
    assert daemon.ask("GET", "/healthz")[0] == 200


def test_headers_without_end_are_cut_off(daemon: Daemon) -> None:
    with closing(daemon.raw()) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n")
        sent = 0
        with pytest.raises(OSError):  # reset, or a broken pipe
            while sent < 1 << 24:
                connection.sendall(b"X-Name: " + b"x" * 1000 + b"\r\n")
                sent += 1000
        assert sent < 1 << 22


@pytest.mark.parametrize("part", [b"", b"P", b"POST /v1/verify HTTP/1.1\r\nHost: loc"])
def test_headers_that_come_too_slowly_are_not_waited_for(daemon: Daemon, part: bytes) -> None:
    with closing(daemon.raw()) as connection:
        connection.sendall(part)
        began = time.monotonic()
        assert answer(connection) == b""
        assert 0.5 < time.monotonic() - began < 5


def test_headers_that_trickle_in_are_not_waited_for_either(daemon: Daemon) -> None:
    with closing(daemon.raw()) as connection:
        began = time.monotonic()
        with pytest.raises(OSError):
            while time.monotonic() - began < 10:
                connection.sendall(b"X")
                time.sleep(0.1)
        assert time.monotonic() - began < 5


@pytest.mark.parametrize("length", [b"Content-Length: 100\r\n\r\n{", b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"])
def test_a_body_that_comes_too_slowly_is_refused(daemon: Daemon, length: bytes) -> None:
    with closing(daemon.raw()) as connection:
        connection.sendall(HEAD + length)
        began = time.monotonic()
        assert b" 408 " in answer(connection)
        assert 0.5 < time.monotonic() - began < 5


def test_a_body_over_the_limit_is_refused_before_it_is_sent(daemon: Daemon) -> None:
    with closing(daemon.raw()) as connection:
        connection.sendall(HEAD + b"Expect: 100-continue\r\nContent-Length: 9999999999\r\n\r\n")
        seen = answer(connection)
    assert b" 413 " in seen
    assert b"100 Continue" not in seen


def test_a_body_without_a_length_is_cut_off_at_the_limit(daemon: Daemon) -> None:
    with closing(daemon.raw()) as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        sent = 0
        try:
            while sent < 1 << 26:
                connection.sendall(b"10000\r\n" + b" " * 65536 + b"\r\n")
                sent += 65536
        except OSError:
            pass
    assert sent < 1 << 25


def test_a_refused_body_is_not_read_endlessly(daemon: Daemon) -> None:
    with closing(daemon.raw()) as connection:
        connection.sendall(HEAD.replace(b"json", b"xml") + b"Transfer-Encoding: chunked\r\n\r\n")
        sent = 0
        try:
            while sent < 1 << 26:
                connection.sendall(b"10000\r\n" + b" " * 65536 + b"\r\n")
                sent += 65536
        except OSError:
            pass
    assert sent < 1 << 25


def test_a_line_over_the_limit_is_invalid_and_the_rest_is_judged(daemon: Daemon) -> None:
    good = json.dumps(task(1)).encode()
    for long in (b"x" * 3_000_000, b"x" * ((1 << 20) + 1), json.dumps(task(1, note="x" * 2_000_000)).encode()):
        content = daemon.ask("POST", "/v1/verify/batch", b"\n".join([good, long, good]), LINES)[1]
        assert [json.loads(line)["status"] for line in content.splitlines()] == ["accepted", "invalid", "accepted"]


def test_a_large_task_within_the_limit_is_judged(daemon: Daemon) -> None:
    status, verdict, _ = daemon.ask("POST", "/v1/verify", task(1, sol="# " + "x" * 900_000 + "\ndef sol(): return 2"))
    assert (status, verdict["status"]) == (200, "accepted")


def cpu_seconds(processes: list[psutil.Process]) -> float:
    """Return the CPU time of those that are alive."""
    return sum(sum(process.cpu_times()[:2]) for process in processes if process.is_running())


@pytest.mark.parametrize("leave", ["close", "half-close", "reset"])
@pytest.mark.parametrize("path", ["/v1/verify", "/v1/verify/batch", "/v1/run"])
def test_a_client_that_leaves_frees_its_slot_and_its_run_ends(start: Any, path: str, leave: str) -> None:
    daemon = start("--workers", "1", "--queue", "1", "--cpu-limit", "30", "--run-timeout", "30")
    code = "while True: pass"
    content = {
        "/v1/run": {"code": code},
        "/v1/verify": endless(),
        "/v1/verify/batch": [endless()],
    }[path]
    body = json.dumps(content).encode()
    with closing(daemon.raw()) as connection:
        head = (
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        connection.sendall(head.encode() + body)
        daemon.until("selftaught_tasks", 1)
        time.sleep(0.3)
        running = daemon.supervisors()[0].children(recursive=True)
        assert daemon.ask("POST", "/v1/verify", task(1))[0] == 429
        began = time.monotonic()
        if leave == "half-close":
            connection.shutdown(socket.SHUT_WR)
        elif leave == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            connection.close()
        else:
            connection.close()
        while (seen := daemon.ask("POST", "/v1/verify", task(1)))[0] == 429:
            assert time.monotonic() - began < 5
            time.sleep(0.02)
        assert seen[1]["status"] == "accepted"
        assert time.monotonic() - began < 5
        used = cpu_seconds(running)
        time.sleep(0.3)
        assert cpu_seconds(running) - used < 0.1
    daemon.until("selftaught_tasks", 0)


@pytest.mark.parametrize(
    "ahead",
    [
        b"",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 500,
    ],
)
def test_a_client_that_leaves_is_noticed_though_it_has_pipelined_requests(start: Any, ahead: bytes) -> None:
    daemon = start("--workers", "1", "--cpu-limit", "30")
    body = json.dumps(endless()).encode()
    with closing(daemon.raw()) as connection:
        connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body + ahead)
        daemon.until("selftaught_tasks", 1)
        time.sleep(0.3)
    daemon.until("selftaught_tasks", 0, within_seconds=5)
    daemon.until("selftaught_buffered_bytes", 0, within_seconds=5)


def test_a_batch_whose_client_leaves_frees_all_its_slots(start: Any) -> None:
    daemon = start("--workers", "1", "--cpu-limit", "30")
    with closing(daemon.raw()) as connection:
        connection.sendall(
            b"POST /v1/verify/batch HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for number in range(300):
            line = json.dumps(endless(sat=f"def sat(x): return x == {number}")).encode() + b"\n"
            connection.sendall(b"%x\r\n%b\r\n" % (len(line), line))
        daemon.until("selftaught_tasks", 64)  # a window, not all that was sent
    daemon.until("selftaught_tasks", 0)
    assert daemon.ask("POST", "/v1/verify", task(1))[1]["status"] == "accepted"


def test_a_full_queue_is_refused_at_once_with_retry_after(start: Any) -> None:
    daemon = start("--workers", "1", "--queue", "3", "--cpu-limit", "20")
    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda: answers.append(daemon.ask("POST", "/v1/verify", sleeper(2))[0]))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    daemon.until("selftaught_tasks", 3)
    for path, content in (
        ("/v1/verify", task(1)),
        ("/v1/verify/batch", [task(1)]),
        ("/v1/run", {"code": ""}),
    ):
        began = time.monotonic()
        status, refusal, headers = daemon.ask("POST", path, content)
        assert time.monotonic() - began < 1
        assert (status, refusal["retryable"]) == (429, True)
        assert int(headers["retry-after"]) >= 1
    for thread in threads:
        thread.join(30)
    assert answers == [200, 200, 200]
    assert daemon.ask("POST", "/v1/verify", task(1))[0] == 200


def test_a_batch_larger_than_the_queue_waits_for_slots_instead_of_failing(start: Any) -> None:
    daemon = start("--workers", "1", "--queue", "2")
    content = daemon.ask("POST", "/v1/verify/batch", [task(number) for number in range(50)])[1]
    assert content.count(b'"accepted"') == 50


def test_thousands_of_idle_and_broken_connections_leave_nothing_behind(daemon: Daemon) -> None:
    daemon.ask("POST", "/v1/verify", task(1))
    time.sleep(0.2)
    before = descriptors(daemon.process.pid)
    for _ in range(20):
        many = [daemon.raw() for _ in range(100)]
        for number, connection in enumerate(many):
            connection.sendall(
                (
                    b"",
                    b"GET / HT",
                    HEAD + b"Content-Length: 9\r\n\r\n{",
                    b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
                )[number % 4]
            )
        for connection in many:
            connection.close()
    assert daemon.ask("POST", "/v1/verify", task(1))[1]["status"] == "accepted"
    deadline = time.monotonic() + 10
    while descriptors(daemon.process.pid) > before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert descriptors(daemon.process.pid) <= before


def test_pipelined_requests_are_answered_in_order(daemon: Daemon) -> None:
    with closing(daemon.raw()) as connection:
        for number in range(5):
            body = json.dumps(task(number)).encode()
            last = b"Connection: close\r\n" if number == 4 else b""
            connection.sendall(HEAD + last + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        seen = answer(connection)
    ids = [json.loads(part.split(b"\r\n\r\n", 1)[1])["id"] for part in seen.split(b"HTTP/1.1 200 OK")[1:]]
    assert ids == ["0", "1", "2", "3", "4"]
