"""Run a solution and its tests in two processes that are connected by a pipe, without a jail or a supervisor."""

from __future__ import annotations

import os
import pickle
import socket
import struct
import sys
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from selftaught.sandbox import codec
from selftaught.sandbox.worker.inside import sharing, testing
from selftaught.sandbox.worker.inside.serving import serve

MOST = 1 << 29
_SIZE = struct.Struct("<Q")


@dataclass
class Report:
    """What the tests' process reports.

    Attributes:
        code: T, a, w, p, n, s, or what a report of the solution's process has.
        text: the message.
        total: how many cases there are.
        case: the one that failed; None if there is none.
        failed: code of each case that failed, of tests that go on after a failure.
        messages: how many requests were relayed.
    """

    code: str
    text: str
    total: int = 0
    case: int | None = None
    failed: dict[int, str] = field(default_factory=dict)
    messages: int = 0


class Pipe:
    """An end of a connection that carries messages."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def send(self, message: bytes) -> None:
        self._end.sendall(_SIZE.pack(len(message)) + message)

    def receive(self) -> bytes | None:
        head = self._read(_SIZE.size)
        return self._read(_SIZE.unpack(head)[0]) if head else None

    def _read(self, size: int) -> bytes:
        parts = []
        while size:
            part = self._end.recv(min(size, 1 << 20))
            if not part:
                return b""
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


def _fork(run: Callable[[Pipe], object]) -> tuple[int, Pipe]:
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child:
        theirs.close()
        return child, Pipe(ours)
    try:
        ours.close()
        warnings.simplefilter("ignore")
        sys.set_int_max_str_digits(0)
        sys.stdin = open(os.devnull)  # noqa: SIM115
        run(Pipe(theirs))
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)


def _solution(pipe: Pipe, sol: str, entry_point: str, prelude: str, answer_bytes: int) -> None:
    def exchange(message: bytes) -> bytes:
        pipe.send(message)
        request = pipe.receive()
        if request is None:
            os._exit(0)
        return request

    report = serve(prelude.encode(), codec.encode((entry_point, sol), MOST), answer_bytes, exchange)
    pipe.send(b"!" + report[0] + report[1])


class Solution:
    """A solution in a process of its own."""

    def __init__(self, sol: str, entry_point: str = "", prelude: str = "", answer_bytes: int = 1 << 25) -> None:
        self._process, self._pipe = _fork(lambda pipe: _solution(pipe, sol, entry_point, prelude, answer_bytes))
        self.ready = self._pipe.receive() or b""

    def __enter__(self) -> Solution:
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe._end.close()
        os.waitpid(self._process, 0)

    def ask(self, message: bytes) -> bytes:
        """Return the reply to a message; b"" if the process has ended."""
        try:
            self._pipe.send(message)
            return self._pipe.receive() or b""
        except OSError:
            return b""

    def call(self, *args: Any, **kwargs: Any) -> tuple[str, Any]:
        """Return the code of the reply to a plain call, and its value or text."""
        reply = self.ask(b"C" + codec.encode((args, kwargs), MOST))
        return reply[:1].decode(), codec.decode(reply[1:]) if reply[:1] == b"V" else reply[1:].decode()


def judge(
    sol: str,
    tests: str,
    entry_point: str = "",
    prelude: str = "",
    *,
    all_cases: bool = False,
    first_case: int = 0,
    replies: Callable[[bytes], bytes] | None = None,
) -> Report:
    """Judge a solution by tests.

    Args:
        sol, tests, entry_point, prelude, all_cases: as in a task.
        first_case: the first to be run.
        replies: changes what the solution's process answers, as hostile code there could.
    """

    def run(pipe: Pipe) -> None:
        with Solution(sol, entry_point, prelude) as solution:
            if solution.ready[:1] != b"R":
                code, text = solution.ready[1:2].decode(), solution.ready[2:].decode()
                pipe.send(pickle.dumps(Report(code, text)))
                return
            report = Report("", "")

            def exchange(message: bytes) -> bytes:
                if message[:1] == b"F":
                    report.failed[int.from_bytes(message[1:5], "little")] = message[5:6].decode()
                    return b""
                report.messages += 1
                reply = solution.ask(b"X" + message[5:])
                return replies(reply) if replies else reply

            kinds = codec.decode(solution.ready[1:])
            payload = codec.encode((prelude, entry_point, kinds, all_cases, first_case), MOST)
            _fill(report, testing.run_tests(tests.encode(), payload, exchange))
        pipe.send(pickle.dumps(report))

    return _ran(run)


def judge_shared(sol: str, tests: str, entry_point: str = "", prelude: str = "", *, all_cases: bool = False) -> Report:
    """Judge a solution by tests in the same process."""

    def run(pipe: Pipe) -> None:
        report = Report("", "")

        def exchange(message: bytes) -> bytes:
            report.failed[int.from_bytes(message[1:5], "little")] = message[5:6].decode()
            return b""

        payload = codec.encode((prelude, entry_point, sol, all_cases), MOST)
        _fill(report, sharing.run_shared(tests.encode(), payload, exchange))
        pipe.send(pickle.dumps(report))

    return _ran(run)


def _ran(run: Callable[[Pipe], object]) -> Report:
    process, pipe = _fork(run)
    received = pipe.receive()
    pipe._end.close()
    os.waitpid(process, 0)
    return pickle.loads(received) if received else Report("died", "")


def _fill(report: Report, made: tuple[bytes, bytes]) -> None:
    code, text = made
    assert code == b"E"
    case = int.from_bytes(text[4:8], "little")
    report.total, report.case = int.from_bytes(text[:4], "little"), None if case == 0xFFFFFFFF else case
    report.code, report.text = text[8:9].decode(), text[9:].decode()
