"""Slow clients: disconnected by pauses and by total time, unless it is the daemon that is slow.

The shared daemon has --patience 1: 3 s for a whole body or line.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psutil
import pytest

from tests.sandbox.server.conftest import Daemon, sleeper, task
from tests.sandbox.server.test_requests import HEAD, answer

BODY = json.dumps(task(1)).encode()
STREAM = (
    b"POST /v1/verify/batch HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def trickle(connection: socket.socket, data: Iterator[bytes], pause: float, seconds: float) -> float:
    """Send piece by piece until a response or the end; return the elapsed time."""
    began = time.monotonic()
    connection.settimeout(pause)
    for piece in data:
        assert time.monotonic() - began < seconds, "still waited for"
        try:
            connection.sendall(piece)
            if not connection.recv(1, socket.MSG_PEEK):
                break
        except TimeoutError:
            continue
        except OSError:
            break
        if not connection.recv(1 << 16, socket.MSG_PEEK).startswith(b"HTTP/1.1 200"):
            break
        time.sleep(pause)
    return time.monotonic() - began


def endless(piece: bytes) -> Iterator[bytes]:
    while True:
        yield piece


@pytest.mark.parametrize("framing", ["length", "chunked", "extension"])
@pytest.mark.parametrize("path", ["/v1/verify", "/v1/run", "/run_code", "/v1/verify/batch"])
def test_a_body_that_trickles_in_without_a_pause_is_refused(daemon: Daemon, path: str, framing: str) -> None:
    head = HEAD.replace(b"/v1/verify", path.encode())
    start, piece = {
        "length": (b"Content-Length: 1000\r\n\r\n", b" "),
        "chunked": (b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        "extension": (b"Transfer-Encoding: chunked\r\n\r\n1;", b"x"),
    }[framing]
    with closing(daemon.raw()) as connection:
        connection.sendall(head + start)
        assert trickle(connection, endless(piece), 0.2, 8) < 6
        assert b" 408 " in answer(connection)


def test_a_body_that_is_slow_but_comes_is_judged(daemon: Daemon) -> None:
    with closing(daemon.raw()) as connection:
        connection.sendall(HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(BODY))
        for at in range(0, len(BODY), 20):
            connection.sendall(BODY[at : at + 20])
            time.sleep(0.25)
        assert b'"accepted"' in answer(connection)


@pytest.mark.parametrize("before", [b"", BODY + b"\n"])
def test_a_line_that_trickles_in_ends_the_stream_with_all_verdicts_before_it(daemon: Daemon, before: bytes) -> None:
    with closing(daemon.raw()) as connection:
        connection.sendall(STREAM + (chunk(before) if before else b""))
        assert trickle(connection, endless(chunk(b" ")), 0.2, 8) < 6
        seen = answer(connection)
    assert seen.endswith(b"0\r\n\r\n")
    assert seen.count(b'"accepted"') == bool(before)
    assert seen.count(b'"index"') == bool(before)


def test_a_line_that_stops_ends_the_stream(daemon: Daemon) -> None:
    with closing(daemon.raw()) as connection:
        connection.sendall(STREAM + chunk(b'{"sat": '))
        began = time.monotonic()
        assert answer(connection).endswith(b"0\r\n\r\n")
        assert 0.5 < time.monotonic() - began < 5


def test_pauses_between_lines_are_allowed(daemon: Daemon) -> None:
    with closing(daemon.raw()) as connection:
        connection.sendall(STREAM)
        for _ in range(3):
            time.sleep(1.7)
            connection.sendall(chunk(BODY + b"\n"))
        connection.sendall(b"0\r\n\r\n")
        connection.settimeout(2)
        seen = b""
        while not seen.endswith(b"0\r\n\r\n"):
            seen += connection.recv(1 << 16)
    assert seen.count(b'"accepted"') == 3


def test_a_stream_whose_verdicts_are_slow_is_not_cut(start: Any) -> None:
    """Not for its age, nor for the silence of a waiting client, nor for a line that the daemon does not read."""
    daemon = start("--workers", "1", "--patience", "0.1", "--cpu-limit", "30", "--max-body", "64K")
    slow = [{**sleeper(1), "id": str(number), "sat": f"def sat(x): return x != -{number + 1}"} for number in range(9)]
    padding = [{**task(number), "note": "x" * 20_000} for number in range(200)]
    text = b"".join(json.dumps(each).encode() + b"\n" for each in slow + padding)
    with closing(daemon.raw()) as connection:
        connection.sendall(STREAM)
        connection.settimeout(60)
        connection.sendall(b"".join(chunk(text[at : at + 7000]) for at in range(0, len(text), 7000)) + b"0\r\n\r\n")
        seen = b""
        while not seen.endswith(b"0\r\n\r\n"):
            part = connection.recv(1 << 16)
            assert part, seen[-500:]
            seen += part
    assert seen.count(b'"accepted"') == 209


def test_a_stream_that_is_idle_for_long_is_ended(start: Any) -> None:
    daemon = start("--workers", "1", "--patience", "0.05")
    for first, lasts in ((b"", 3.0), (chunk(BODY + b"\n"), 3.0), (chunk(json.dumps(sleeper(5)).encode() + b"\n"), 5.0)):
        with closing(daemon.raw()) as connection:
            began = time.monotonic()
            connection.sendall(STREAM + first)
            seen = answer(connection)
        assert lasts * 0.9 < time.monotonic() - began < lasts + 6
        assert seen.endswith(b"0\r\n\r\n")
        assert seen.count(b'"accepted"') == bool(first)


def test_an_earlier_request_is_not_cut_short_by_the_slow_headers_of_a_later_one(daemon: Daemon) -> None:
    body = json.dumps(sleeper(2.5)).encode()
    with closing(daemon.raw()) as connection:
        connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body + b"GET /heal")
        began = time.monotonic()
        assert b'"accepted"' in answer(connection)
        assert 2 < time.monotonic() - began < 6


@pytest.mark.parametrize("piece", [b"\r\n", b"G"])
def test_what_trickles_in_between_requests_keeps_no_connection(daemon: Daemon, piece: bytes) -> None:
    with closing(daemon.raw()) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200 OK" in connection.recv(1 << 16)
        began = time.monotonic()
        with pytest.raises(OSError):
            while time.monotonic() - began < 10:
                connection.sendall(piece)
                time.sleep(0.2)
        assert time.monotonic() - began < 5


def test_a_connection_is_not_idle_forever_after_a_body_that_was_refused_before_it_came(daemon: Daemon) -> None:
    with closing(daemon.raw()) as connection:
        connection.sendall(HEAD.replace(b"json", b"xml") + b"Content-Length: 9\r\n\r\n")
        assert b" 415 " in connection.recv(1 << 16)
        time.sleep(0.1)
        connection.sendall(b"123456789")
        began = time.monotonic()
        answer(connection)
        assert time.monotonic() - began < 5


def connections(daemon: Daemon) -> int:
    return len([each for each in psutil.Process(daemon.process.pid).net_connections("tcp") if each.status != "LISTEN"])


def small_window(daemon: Daemon, size: int = 4096) -> socket.socket:
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
    connection.connect(("127.0.0.1", daemon.port))
    return connection


@pytest.mark.parametrize("last", [b"", b"Connection: close\r\n"])
def test_an_answer_that_is_not_read_is_not_kept(start: Any, last: bytes) -> None:
    daemon = start("--workers", "1", "--patience", "0.5", "--output-limit", "8M")
    body = json.dumps({"code": "print('x' * 8_000_000)"}).encode()
    with closing(small_window(daemon)) as connection:
        connection.sendall(
            HEAD.replace(b"/v1/verify", b"/v1/run") + last + b"Content-Length: %d\r\n\r\n" % len(body) + body
        )
        daemon.until('selftaught_programs_total{ending="exited"}', 1)
        time.sleep(0.3)
        assert daemon.metric("selftaught_buffered_bytes") > 1 << 20, "it was read: nothing was tested"
        daemon.until("selftaught_buffered_bytes", 0, within_seconds=5)
        deadline = time.monotonic() + 5
        while connections(daemon):
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_an_answer_that_is_read_slowly_arrives_whole(start: Any) -> None:
    daemon = start("--workers", "1", "--patience", "0.5", "--output-limit", "8M")
    body = json.dumps({"code": "print('x' * 4_000_000)"}).encode()
    with closing(small_window(daemon, 1 << 18)) as connection:
        connection.sendall(
            HEAD.replace(b"/v1/verify", b"/v1/run")
            + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
            + body
        )
        began, seen = time.monotonic(), 0
        while part := connection.recv(1 << 16):
            seen += len(part)
            time.sleep(len(part) / 800_000)
    assert seen > 4_000_000
    assert time.monotonic() - began > 3


def test_a_stream_whose_verdicts_are_not_read_is_ended(start: Any) -> None:
    daemon = start("--workers", "1", "--patience", "0.05", "--max-body", "64K")
    line = json.dumps(task(1, id="x" * 5000)).encode() + b"\n"
    with closing(small_window(daemon)) as connection:
        connection.sendall(STREAM)
        connection.settimeout(3)
        began = time.monotonic()
        with pytest.raises(OSError):  # a time-out, since it reads no more; then a reset
            while time.monotonic() - began < 20:
                connection.sendall(chunk(line) * 10)
        assert daemon.metric("selftaught_buffered_bytes") > 1 << 16, "all was read: nothing was tested"
        daemon.until("selftaught_buffered_bytes", 0, within_seconds=15)
        daemon.until("selftaught_tasks", 0)
