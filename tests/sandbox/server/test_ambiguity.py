"""Ambiguous requests and oversized headers are refused, and responses keep the order of requests."""

from __future__ import annotations

import json
import socket
import time
from contextlib import closing
from typing import Any

import pytest

from tests.sandbox.server.conftest import Daemon, sleeper, task
from tests.sandbox.server.test_requests import answer

BODY = json.dumps(task(1)).encode()
HOST, KIND = b"Host: localhost", b"Content-Type: application/json"
LENGTH = b"Content-Length: %d" % len(BODY)
CHUNKED = b"Transfer-Encoding: chunked"
LIMIT = 64 << 10


def request(*headers: bytes, body: bytes = BODY, line: bytes = b"POST /v1/verify HTTP/1.1") -> bytes:
    return b"\r\n".join([line, *headers]) + b"\r\n\r\n" + body


def chunked(body: bytes, trailers: bytes = b"", extension: bytes = b"") -> bytes:
    return b"%x%b\r\n%b\r\n0\r\n%b\r\n" % (len(body), extension, body, trailers)


def ask(daemon: Daemon, *parts: bytes) -> tuple[int, Any]:
    """Send a request in these parts; return status and content of the only response."""
    with closing(daemon.raw()) as connection:
        for part in parts:
            connection.sendall(part)
            time.sleep(0.05)
        seen = answer(connection)
    head, _, body = seen.partition(b"\r\n\r\n")
    assert seen.count(b"HTTP/1.1 ") == 1, seen
    assert b"content-type: application/json" in head
    return int(head.split()[1]), json.loads(body)


@pytest.mark.parametrize(
    "twice",
    [
        (HOST, b"Host: evil.example"),
        (b"Host: evil.example", HOST),
        (HOST, HOST),
        (HOST, b"hOST: localhost"),
        (HOST, b"Origin: http://localhost", b"Origin: http://evil.example"),
        (HOST, b"Origin: http://evil.example", b"origin: http://localhost"),
        (HOST, b"Authorization: Bearer a", b"Authorization: Bearer b"),
        (HOST, b"Content-Type: text/plain"),
        (HOST, b"Content-Encoding: identity", b"Content-Encoding: gzip"),
        (HOST, LENGTH),
        (HOST, b"Content-Length: 1"),
    ],
)
def test_a_header_that_may_come_once_is_refused_when_it_comes_twice(daemon: Daemon, twice: tuple[bytes, ...]) -> None:
    status, content = ask(daemon, request(*twice, KIND, LENGTH))
    assert (status, content["retryable"]) == (400, False)


@pytest.mark.parametrize("path", [b"GET /healthz", b"GET /", b"GET /v1/config", b"POST /v1/verify/batch"])
@pytest.mark.parametrize(
    "twice", [(HOST, b"Host: evil.example"), (HOST, b"Origin: http://localhost", b"Origin: http://evil.example")]
)
def test_that_is_so_for_every_path(daemon: Daemon, path: bytes, twice: tuple[bytes, ...]) -> None:
    assert ask(daemon, request(*twice, body=b"", line=path + b" HTTP/1.1"))[0] == 400


def test_that_is_so_with_a_token_too(start: Any, tmp_path: Any) -> None:
    (tmp_path / "token").write_text("0123456789abcdef")
    daemon = start("--token-file", str(tmp_path / "token"), "--patience", "1")
    right, wrong = b"Authorization: Bearer 0123456789abcdef", b"Authorization: Bearer x"
    for first, second in ((right, wrong), (wrong, right), (right, right)):
        assert ask(daemon, request(HOST, first, second, KIND, LENGTH))[0] == 400
    assert ask(daemon, request(HOST, b"Host: b", right, KIND, LENGTH))[0] == 400
    assert ask(daemon, request(HOST, right, b"Connection: close", KIND, LENGTH))[0] == 200


def test_a_request_without_host_is_refused(daemon: Daemon) -> None:
    assert ask(daemon, request(KIND, LENGTH))[0] == 400


@pytest.mark.parametrize(
    "target",
    [b"http://evil.example/v1/verify", b"http://localhost@evil.example/v1/verify", b"http://localhost:1/v1/verify"],
)
def test_a_target_that_names_another_host_is_refused(daemon: Daemon, target: bytes) -> None:
    assert ask(daemon, request(HOST, KIND, LENGTH, line=b"POST " + target + b" HTTP/1.1"))[0] == 400
    same = request(HOST, KIND, LENGTH, b"Connection: close", line=b"POST http://localhost/v1/verify HTTP/1.1")
    assert ask(daemon, same)[1]["status"] == "accepted"


@pytest.mark.parametrize(
    "trailer",
    [
        b"Host: evil.example",
        b"Origin: http://evil.example",
        b"Authorization: Bearer x",
        b"X-Any: 1",
        b"Content-Length: 5",
    ],
)
@pytest.mark.parametrize("pieces", [1, 3])
def test_trailers_are_refused(daemon: Daemon, trailer: bytes, pieces: int) -> None:
    whole = request(HOST, KIND, CHUNKED, body=chunked(BODY, trailer + b"\r\n"))
    at = len(whole) - len(trailer) - 4
    assert (
        ask(daemon, *([whole] if pieces == 1 else [whole[: at - 9], whole[at - 9 : at + 3], whole[at + 3 :]]))[0] == 400
    )
    assert (
        ask(daemon, request(HOST, KIND, CHUNKED, b"Connection: close", body=chunked(BODY)))[1]["status"] == "accepted"
    )


@pytest.mark.parametrize(
    "coding", [b"gzip, chunked", b"chunked, chunked", b"identity", b"gzip", b"chunked;x=1", b"xchunked"]
)
def test_another_coding_than_chunked_is_refused(daemon: Daemon, coding: bytes) -> None:
    assert ask(daemon, request(HOST, KIND, b"Transfer-Encoding: " + coding, body=chunked(BODY)))[0] == 400


def test_two_codings_are_refused_even_if_the_last_is_chunked(daemon: Daemon) -> None:
    assert ask(daemon, request(HOST, KIND, b"Transfer-Encoding: gzip", CHUNKED, body=chunked(BODY)))[0] == 400


@pytest.mark.parametrize(
    "long", [b"X-Long: " + b"x" * LIMIT, b"\r\n".join(b"X-%d: %b" % (n, b"x" * 90) for n in range(800))]
)
def test_headers_over_the_limit_are_refused_however_few_reads_they_come_in(daemon: Daemon, long: bytes) -> None:
    whole = request(HOST, KIND, long, LENGTH)
    for pieces in ([whole], [whole[:1], whole[1:]], [whole[:60_000], whole[60_000:]]):
        status, content = ask(daemon, *pieces)
        assert (status, content["retryable"]) == (431, False)
    assert ask(daemon, request(HOST, KIND, LENGTH, line=b"POST /v1/verify?" + b"x" * LIMIT + b" HTTP/1.1"))[0] == 431


def test_headers_just_under_the_limit_are_read(daemon: Daemon) -> None:
    whole = request(HOST, KIND, b"X-Long: " + b"x" * 60_000, b"Connection: close", LENGTH)
    assert ask(daemon, whole)[1]["status"] == "accepted"


@pytest.mark.parametrize("where", ["first", "behind another request", "behind a body in the same read"])
def test_the_limit_applies_to_every_request_of_a_connection(daemon: Daemon, where: str) -> None:
    first = {"first": b"", "behind another request": request(HOST, line=b"GET /healthz HTTP/1.1", body=b"")}.get(
        where, request(HOST, KIND, LENGTH)
    )
    with closing(daemon.raw()) as connection:
        connection.sendall(first + request(HOST, b"X-Long: " + b"x" * LIMIT, line=b"GET /healthz HTTP/1.1", body=b""))
        seen = answer(connection)
    assert seen.count(b"HTTP/1.1 200 OK") <= (where != "first")
    assert seen.split(b"HTTP/1.1 ")[-1].startswith(b"431") or seen == b""


@pytest.mark.parametrize("extension", [b";x=" + b"y" * (LIMIT + 20_000), b";" + b"a=b;" * 30_000])
def test_what_surrounds_chunks_is_limited_too(daemon: Daemon, extension: bytes) -> None:
    assert ask(daemon, request(HOST, KIND, CHUNKED, body=chunked(BODY, extension=extension)))[0] == 431
    short = request(HOST, KIND, CHUNKED, b"Connection: close", body=chunked(BODY, extension=b";x=y"))
    assert ask(daemon, short)[1]["status"] == "accepted"


def test_a_body_in_chunks_of_a_byte_is_accepted(daemon: Daemon) -> None:
    body = json.dumps(task(1, note="x" * 20_000)).encode()
    tiny = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    assert ask(daemon, request(HOST, KIND, CHUNKED, b"Connection: close", body=tiny))[1]["status"] == "accepted"


@pytest.mark.parametrize(
    "garbage", [b"\x00\x01\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", request(HOST, b"X: " + b"x" * LIMIT, body=b"")]
)
def test_a_refusal_of_a_later_request_does_not_replace_an_earlier_response(daemon: Daemon, garbage: bytes) -> None:
    body = json.dumps(sleeper(0.5)).encode()
    with closing(daemon.raw()) as connection:
        connection.sendall(request(HOST, KIND, b"Content-Length: %d" % len(body), body=body))
        time.sleep(0.1)
        connection.sendall(garbage)
        seen = answer(connection)
    assert seen == b"" or seen.startswith(b"HTTP/1.1 200"), seen


def test_garbage_in_a_stream_of_tasks_does_not_end_up_in_the_stream_of_verdicts(daemon: Daemon) -> None:
    with closing(daemon.raw()) as connection:
        connection.sendall(
            request(
                HOST,
                b"Content-Type: application/x-ndjson",
                CHUNKED,
                body=b"%x\r\n%b\n\r\n" % (len(BODY) + 1, BODY),
                line=b"POST /v1/verify/batch HTTP/1.1",
            )
        )
        seen = connection.recv(1 << 16)
        connection.sendall(b"zz\r\n")
        seen += answer(connection)
    assert seen.count(b"HTTP/1.1") == 1
    assert not seen.endswith(b"0\r\n\r\n"), "what was cut off must not look whole"


def test_thousands_of_pipelined_requests_are_answered_in_order_and_use_little_memory(start: Any) -> None:
    daemon = start("--patience", "5")
    body = json.dumps(sleeper(1)).encode()
    with closing(daemon.raw()) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        many = request(HOST, line=b"GET /healthz HTTP/1.1", body=b"") * 5000
        connection.sendall(request(HOST, KIND, b"Content-Length: %d" % len(body), body=body) + many)
        time.sleep(0.3)
        assert daemon.metric("selftaught_buffered_bytes") < 1 << 20
        connection.sendall(request(HOST, b"Connection: close", line=b"GET /nowhere HTTP/1.1", body=b""))
        seen = answer(connection)
    assert seen.split(b"\r\n\r\n", 1)[1].startswith(b'{"id"')
    assert seen.count(b"HTTP/1.1 200 OK") == 5001
    assert seen.count(b"HTTP/1.1 404") == 1
