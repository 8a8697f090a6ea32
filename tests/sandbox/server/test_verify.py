"""Tasks over HTTP: single and many, limits that may only be lowered, the daemon's configuration and metrics."""

from __future__ import annotations

import http.client
import json
import threading
import time
from typing import Any

import orjson
import pytest

from selftaught.sandbox import Limits, Status, Task, Verdict, Verifier
from tests.sandbox.server.conftest import JSON, LINES, Daemon, endless, lines, task


def test_a_task_gets_the_verdict_that_the_library_gives(daemon: Daemon) -> None:
    asked = [
        task(1),
        task(2, sol="def sol(): return 5"),
        task(3, sol="def sol(): return 'x'"),
        task(4, sol="def sol(): return 1 / 0"),
        task(5, sat="def sat(x): raise ValueError"),
        task(6, sol="import os\ndef sol(): return os.fork()"),
        task(7, sol="def sol(): return [0] * 10**12"),
        task(8, sol="def"),
    ]
    with Verifier(workers=1, require="restricted") as verifier:
        for fields in asked:
            status, content, _ = daemon.ask("POST", "/v1/verify", fields)
            expected = verifier.verify(Task(fields["id"], fields["sat"], fields["sol"]))
            found = Verdict.from_dict(content)
            assert status == 200
            for name in ("id", "status", "phase", "message", "answer_sha256", "level", "verifier", "retryable"):
                assert getattr(found, name) == getattr(expected, name), name


def test_a_verdict_survives_the_way_there_and_back() -> None:
    with Verifier(workers=1, require="restricted") as verifier:
        loop = Task("1", "def sat(x): return True", "def sol():\n    while True: pass", Limits(cpu_seconds=0.1))
        for verdict in (verifier.verify(loop), verifier.verify(Task("2", "def sat(x): return True", "1"))):
            assert Verdict.from_dict(orjson.loads(orjson.dumps(verdict))) == verdict


def test_a_limit_may_be_lowered(daemon: Daemon) -> None:
    status, verdict, _ = daemon.ask("POST", "/v1/verify", endless(limits={"cpu_seconds": 0.1}))
    assert (status, verdict["status"]) == (200, "time_limit")
    assert verdict["limit"]["configured"] == 0.1


@pytest.mark.parametrize("name", ["cpu_seconds", "wall_seconds", "memory_bytes", "answer_bytes", "output_bytes"])
def test_no_limit_may_be_raised(daemon: Daemon, name: str) -> None:
    most = daemon.ask("GET", "/v1/config")[1]["limits"][name]
    assert daemon.ask("POST", "/v1/verify", task(1, limits={name: most}))[0] == 200
    status, content, _ = daemon.ask("POST", "/v1/verify", task(1, limits={name: most + 1}))
    assert status == 422
    assert name in content["detail"]
    assert not content["retryable"]


@pytest.mark.parametrize(
    "limits",
    [
        {"cpu": 1},
        {"cpu_seconds": "1"},
        {"cpu_seconds": 0},
        {"cpu_seconds": -1},
        {"memory_bytes": 1.5},
        {"cpu_seconds": True},
        [],
    ],
)
def test_an_invalid_limit_is_refused_and_not_ignored(daemon: Daemon, limits: Any) -> None:
    assert daemon.ask("POST", "/v1/verify", task(1, limits=limits))[0] == 422


def test_an_array_comes_back_in_order_with_errors_in_place(daemon: Daemon) -> None:
    batch = [task(1), 5, task(2), {"id": "x", "sat": 1, "sol": ""}, task(3, limits={"cpu_seconds": 99}), task(4)]
    status, content, headers = daemon.ask("POST", "/v1/verify/batch", batch)
    found = lines(content)
    assert status == 200
    assert headers["content-type"] == "application/x-ndjson"
    assert [each["index"] for each in found] == list(range(6))
    assert [each["status"] for each in found] == ["accepted", "invalid", "accepted", "invalid", "invalid", "accepted"]
    assert [each["id"] for each in found] == ["1", "", "2", "x", "3", "4"]
    assert "$.sat" in found[3]["message"]


def test_json_lines_may_be_broken_in_any_place(daemon: Daemon) -> None:
    good = [json.dumps(task(number)).encode() for number in range(3)]
    body = b"\n".join([good[0], b"", b"{", b"\xff", good[1] + b"\r", b"[" * 2000, b"null", good[2]])
    found = lines(daemon.ask("POST", "/v1/verify/batch", body, LINES)[1])
    assert [each["status"] for each in found] == [
        "accepted",
        "invalid",
        "invalid",
        "accepted",
        "invalid",
        "invalid",
        "accepted",
    ]


def test_an_empty_batch_has_an_empty_answer(daemon: Daemon) -> None:
    assert daemon.ask("POST", "/v1/verify/batch", [])[:2] == (200, b"")
    assert daemon.ask("POST", "/v1/verify/batch", b"", LINES)[:2] == (200, b"")


def test_verdicts_can_come_as_they_are_ready(daemon: Daemon) -> None:
    batch = [endless(limits={"cpu_seconds": 0.5}), *map(task, range(1, 20))]
    found = lines(daemon.ask("POST", "/v1/verify/batch?order=completion", batch)[1])
    assert sorted(each["index"] for each in found) == list(range(20))
    assert found[0]["index"] != 0
    assert lines(daemon.ask("POST", "/v1/verify/batch?order=input", batch)[1])[0]["index"] == 0


def test_identical_tasks_of_a_batch_are_judged_once_and_each_gets_the_verdict_under_its_own_id(start: Any) -> None:
    daemon = start("--workers", "1")
    wrong, other = task(1, sol="5"), task(1, limits={"cpu_seconds": 0.5})
    batch = [{**each, "id": str(number)} for number, each in enumerate([task(1), wrong, task(1), other] * 50)]
    for query in ("", "?order=completion", "?repeat=2"):
        before = daemon.metric("selftaught_run_seconds_count")
        found = sorted(lines(daemon.ask("POST", f"/v1/verify/batch{query}", batch)[1]), key=lambda each: each["index"])
        assert [(each["index"], each["id"]) for each in found] == [(number, str(number)) for number in range(200)]
        assert [each["status"] for each in found] == ["accepted", "rejected", "accepted", "accepted"] * 50
        assert daemon.metric("selftaught_run_seconds_count") - before == 3
    assert daemon.metric('selftaught_verdicts_total{status="accepted"}') == 3 * 150
    assert daemon.metric('selftaught_verdicts_total{status="rejected"}') == 3 * 50


def test_identical_tasks_occupy_one_slot(start: Any) -> None:
    daemon = start("--workers", "1", "--queue", "2")
    batch = [{**endless(limits={"cpu_seconds": 1}), "id": str(number)} for number in range(50)]
    answers: list[bytes] = []
    thread = threading.Thread(target=lambda: answers.append(daemon.ask("POST", "/v1/verify/batch", batch)[1]))
    thread.start()
    daemon.until("selftaught_tasks", 1)
    assert daemon.ask("POST", "/v1/verify", task(1))[0] == 200
    thread.join()
    assert {(each["id"], each["status"]) for each in lines(answers[0])} == {
        (str(number), "time_limit") for number in range(50)
    }


def test_repeats_that_differ_are_unstable(daemon: Daemon) -> None:
    lucky = {
        "id": "1",
        "sat": "def sat(x: int): return x < 5",
        "sol": "import random\ndef sol(): return random.randrange(10)",
    }
    found = lines(daemon.ask("POST", "/v1/verify/batch?repeat=20", [lucky, task(1)])[1])
    assert [each["status"] for each in found] == ["unstable", "accepted"]


@pytest.mark.parametrize(
    "query", ["order=random", "repeat=0", "repeat=-1", "repeat=101", "repeat=x", "repeat=1.5", "repeat=%31%30%30%30"]
)
def test_options_of_a_batch_are_checked(daemon: Daemon, query: str) -> None:
    assert daemon.ask("POST", f"/v1/verify/batch?{query}", [])[0] == 422


def test_verdicts_come_while_the_stream_of_tasks_goes_on(daemon: Daemon) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=30)
    connection.putrequest("POST", "/v1/verify/batch")
    connection.putheader("Content-Type", LINES["Content-Type"])
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    response = None
    for number in range(3):
        line = json.dumps(task(number)).encode() + b"\n"
        connection.send(b"%x\r\n%b\r\n" % (len(line), line))
        response = response or connection.getresponse()
        assert json.loads(response.readline())["id"] == str(number)
    connection.send(b"0\r\n\r\n")
    assert response.read() == b""
    connection.close()


def test_a_client_may_send_all_before_it_reads_anything(daemon: Daemon) -> None:
    """3,000 verdicts exceed the sockets' buffers: the daemon must read on though it can't write."""
    body = b"".join(json.dumps(task(number)).encode() + b"\n" for number in range(3000))
    with daemon.raw() as connection:
        head = (
            "POST /v1/verify/batch HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n"
            "Connection: close\r\nContent-Length: "
        )
        connection.sendall(f"{head}{len(body)}\r\n\r\n".encode() + body)
        time.sleep(0.5)
        connection.settimeout(120)
        answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    assert answer.count(b'"status":"accepted"') == 3000


def test_many_connections_at_once_get_each_their_own_verdicts(daemon: Daemon) -> None:
    problems: list[str] = []

    def work(base: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=60)
        for number in range(base, base + 15):
            connection.request("POST", "/v1/verify", json.dumps(task(number)), JSON)
            verdict = json.loads(connection.getresponse().read())
            if (verdict["id"], verdict["status"]) != (str(number), Status.ACCEPTED):
                problems.append(str(verdict))
        connection.close()

    threads = [threading.Thread(target=work, args=(100 * number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems


def test_strange_text_is_judged_and_not_mangled(daemon: Daemon) -> None:
    status, verdict, _ = daemon.ask(
        "POST", "/v1/verify", {"id": "☃\u0000\ud800", "sat": "def sat(x: str): return x == '☃'", "sol": "'☃'"}
    )
    assert (status, verdict["status"], verdict["id"]) == (200, "accepted", "☃\u0000\ud800")
    assert daemon.ask("POST", "/v1/verify", task(1, sol="'\ud800'"))[1]["status"] == "solution_error"


def test_the_daemon_reports_its_configuration(daemon: Daemon) -> None:
    status, config, _ = daemon.ask("GET", "/v1/config")
    assert status == 200
    assert config["workers"] == 2
    assert config["max_body_bytes"] == 1 << 20
    assert config["limits"] == Limits().to_dict()
    assert {"Landlock", "system calls", "memory limit"} <= {proof["mechanism"] for proof in config["protections"]}
    assert all(proof["holds"] and proof["evidence"] for proof in config["protections"])
    assert daemon.ask("GET", "/healthz")[:2] == (200, {"status": "alive"})
    assert daemon.ask("GET", "/readyz")[:2] == (200, {"status": "ready", "level": config["level"]})


def test_metrics_count_what_was_done(start: Any) -> None:
    daemon = start("--workers", "1")
    daemon.ask("POST", "/v1/verify/batch", [task(1), task(2), task(3, sol="5"), {}])
    daemon.ask("POST", "/run_code", {"code": "print(1)", "language": "python"})
    daemon.ask("GET", "/no/such/path")
    assert daemon.metric('selftaught_verdicts_total{status="accepted"}') == 2
    assert daemon.metric('selftaught_verdicts_total{status="rejected"}') == 1
    assert daemon.metric('selftaught_programs_total{ending="exited"}') == 1
    assert daemon.metric("selftaught_run_seconds_count") == 4
    assert daemon.metric("selftaught_queue_seconds_count") == 4
    assert daemon.metric("selftaught_run_seconds_sum") > 0
    assert daemon.metric('selftaught_http_responses_total{path="other",status="404"}') == 1
    assert daemon.metric("selftaught_worker_restarts_total") == 0
    daemon.supervisors()[0].kill()
    assert daemon.ask("POST", "/v1/verify", task(1))[1]["status"] == "accepted"
    assert daemon.metric("selftaught_worker_restarts_total") == 1


@pytest.mark.parametrize(("engine", "given_up"), [("snapshot", 1), ("fork", 0)])
def test_the_engine_is_reported_and_its_work_is_counted(start: Any, engine: str, given_up: int) -> None:
    daemon = start("--workers", "1", "--engine", engine)
    assert daemon.ask("GET", "/v1/config")[1]["engine"] == engine
    assert daemon.metric("selftaught_snapshot_given_up_total") == 0
    forbidden = task(1, sol="import os\ndef sol(): return os.fork()")
    assert daemon.ask("POST", "/v1/verify", forbidden)[1]["status"] == "forbidden"
    assert daemon.metric("selftaught_snapshot_given_up_total") == given_up
    assert daemon.metric("selftaught_snapshot_mismatches_total") == 0


def test_a_worker_that_dies_under_a_task_is_503_and_not_a_verdict(start: Any) -> None:
    daemon = start("--workers", "1")
    answers: list[tuple[int, Any, dict[str, str]]] = []
    napping = task(0, sol="import time\ndef sol(): time.sleep(10)")
    thread = threading.Thread(target=lambda: answers.append(daemon.ask("POST", "/v1/verify", napping)))
    thread.start()
    killed: set[int] = set()
    while len(killed) < 2:
        time.sleep(0.5)
        for supervisor in daemon.supervisors():
            if supervisor.pid not in killed:
                supervisor.kill()
                killed.add(supervisor.pid)
    thread.join(30)
    ((status, content, headers),) = answers
    assert (status, content["status"], content["retryable"]) == (503, "internal_error", True)
    assert headers["retry-after"]
    assert daemon.ask("POST", "/v1/verify", task(1))[1]["status"] == "accepted"
