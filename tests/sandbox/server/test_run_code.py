"""`/run_code` in SandboxFusion's shape: its fields and words, and how verl's client reads them.

The models follow RunCodeRequest, RunCodeResponse and CommandRunResult of bytedance/SandboxFusion
(sandbox/server/sandbox_api.py, sandbox/runners/types.py), the reading of a response `_process_single_case` of
volcengine/verl (verl/utils/reward_score/sandbox_fusion/utils.py).
"""

from __future__ import annotations

import base64
import threading
import time
from typing import Any

import msgspec
import pytest

from selftaught.sandbox.program import Run
from tests.sandbox.server.conftest import Daemon


class CommandRunResult(msgspec.Struct, forbid_unknown_fields=True):
    status: str
    execution_time: float | None
    return_code: int | None
    stdout: str | None
    stderr: str | None


class RunCodeResponse(msgspec.Struct, forbid_unknown_fields=True):
    status: str
    message: str
    compile_result: CommandRunResult | None
    run_result: CommandRunResult | None
    executor_pod_name: str | None
    files: dict[str, str]


def run(daemon: Daemon, code: str, stdin: str | None = None, **fields: Any) -> RunCodeResponse:
    """A request as verl sends it."""
    request = {
        "compile_timeout": 10,
        "run_timeout": 10,
        "code": code,
        "stdin": stdin,
        "language": "python",
        "files": {},
        "fetch_files": [],
    }
    status, content, _ = daemon.ask("POST", "/run_code", {**request, **fields})
    assert status == 200, content
    response = msgspec.convert(content, RunCodeResponse)
    assert response.status in ("Success", "Failed", "SandboxError")
    assert response.run_result is None or response.run_result.status in ("Finished", "Error", "TimeLimitExceeded")
    assert response.compile_result is None  # as for an interpreted language there
    return response


def as_verl_reads_it(response: RunCodeResponse, expected: str) -> bool | int:
    """True, False, or -1 the sandbox's fault, -2 an error at run time, -3 out of time."""
    result = response.run_result
    if response.status == "SandboxError":
        return -1
    if response.status == "Failed":
        if result is None:
            return -1
        if result.status == "TimeLimitExceeded":
            return -3
        return -2 if result.status == "Error" or (result.status == "Finished" and result.return_code != 0) else -1
    if result is None or result.status != "Finished":
        return -1
    return (result.stdout or "").rstrip("\n") == expected.rstrip("\n")


@pytest.mark.parametrize(
    ("code", "stdin", "expected", "reading"),
    [
        ("print(int(input()) * 2)", "21\n", "42\n", True),
        ("print(int(input()) * 2)", "21\n", "43\n", False),
        ("import sys\nprint(sum(map(int, sys.stdin.read().split())))", "1 2\n3", "6", True),
        ("print(1 / 0)", "", "", -2),
        ("print(", "", "", -2),
        ("import sys\nprint('right')\nsys.exit(1)", "", "right", -2),
        ("import sys\nprint('right')\nsys.exit(0)", "", "right", True),
        ("import os\nos._exit(0)", "", "anything", False),
        ("input()", "", "", -2),
        ("import os\nos.fork()", "", "", -2),
        ("import subprocess\nsubprocess.run(['true'])", "", "", -2),
        ("x = [0] * 10**12", "", "", -2),
        ("print(open('/etc/passwd').read())", "", "", -2),
    ],
)
def test_a_client_that_knows_sandboxfusion_reads_the_right_thing(
    daemon: Daemon, code: str, stdin: str, expected: str, reading: bool | int
) -> None:
    response = run(daemon, code, stdin)
    assert as_verl_reads_it(response, expected) is reading or as_verl_reads_it(response, expected) == reading, response


def test_a_run_out_of_time_is_failed_with_what_was_printed_and_no_return_code(daemon: Daemon) -> None:
    began = time.monotonic()
    response = run(daemon, "print('begun', flush=True)\nwhile True: pass", run_timeout=0.5)
    assert time.monotonic() - began < 5
    assert as_verl_reads_it(response, "") == -3
    assert response.run_result is not None
    assert (response.run_result.return_code, response.run_result.stdout) == (None, "begun\n")
    assert 0.4 < (response.run_result.execution_time or 0) < 3


def test_output_is_kept_apart_and_the_exit_code_is_as_it_is(daemon: Daemon) -> None:
    response = run(daemon, "import sys\nprint('out')\nprint('err', file=sys.stderr)\nsys.exit(42)")
    assert response.run_result is not None
    assert (response.run_result.stdout, response.run_result.stderr, response.run_result.return_code) == (
        "out\n",
        "err\n",
        42,
    )
    assert (response.status, response.run_result.status) == ("Failed", "Finished")


def test_a_cut_output_is_neither_a_success_nor_a_wrong_answer(daemon: Daemon) -> None:
    code = "import sys\nfor _ in range(10):\n    sys.stdout.write('x' * 1_000_000)\n"
    response = run(daemon, code)
    assert response.run_result is not None
    assert len(response.run_result.stdout or "") == 8 << 20
    assert (response.status, response.run_result.status) == ("SandboxError", "Error")
    assert "--run-output" in response.message
    assert as_verl_reads_it(response, "x" * 10_000_000) == -1


def test_a_long_output_below_the_limit_is_judged(daemon: Daemon) -> None:
    for size in (3_000_000, 5_000_000):
        response = run(daemon, f"print('x' * {size})")
        assert as_verl_reads_it(response, "x" * size) is True
        assert as_verl_reads_it(response, "x" * (size - 1)) is False


def test_a_cut_output_hides_no_failure(daemon: Daemon) -> None:
    flood = "import sys\nfor _ in range(10):\n    sys.stdout.write('x' * 1_000_000)\n"
    assert as_verl_reads_it(run(daemon, flood + "sys.exit(3)"), "") == -2
    assert as_verl_reads_it(run(daemon, flood + "while True: pass", run_timeout=2), "") == -3


def test_only_code_and_language_are_needed(daemon: Daemon) -> None:
    status, content, _ = daemon.ask("POST", "/run_code", {"code": "print('hello')", "language": "python"})
    assert (status, content["status"], content["run_result"]["stdout"]) == (200, "Success", "hello\n")


def test_a_memory_limit_applies_and_minus_one_means_the_servers(daemon: Daemon) -> None:
    code = "x = bytearray(200 << 20)\nprint(len(x))"
    assert run(daemon, code).status == "Success"
    assert run(daemon, code, memory_limit_MB=-1).status == "Success"
    small = run(daemon, code, memory_limit_MB=50)
    assert small.status == "Failed"
    assert small.run_result is not None
    assert "MemoryError" in (small.run_result.stderr or "")


def test_a_time_above_the_servers_is_lowered_and_not_refused(start: Any) -> None:
    daemon = start("--workers", "1", "--run-timeout", "0.5")
    began = time.monotonic()
    assert as_verl_reads_it(run(daemon, "while True: pass", run_timeout=3600), "") == -3
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "wrong",
    [
        {"language": "cpp"},
        {"language": "Python2"},
        {"language": 3},
        {"language": "bash"},
        {"language": None},
        {"code": None},
        {"code": 5},
        {"stdin": 5},
        {"run_timeout": 0},
        {"run_timeout": "soon"},
        {"files": []},
        {"files": {"a.txt": "aGk"}},
        {"files": {"../a.txt": "aGk="}},
        {"files": {"a.txt": 5}},
        {"fetch_files": ["/etc/passwd"]},
        {"language": "pytest", "args": ["-k", "one"]},
        {"language": "pytest", "files": {"a.txt": "aGk="}},
    ],
)
def test_what_is_not_supported_is_refused_and_not_ignored(daemon: Daemon, wrong: dict[str, Any]) -> None:
    status, content, _ = daemon.ask("POST", "/run_code", {"code": "print(1)", "language": "python", **wrong})
    assert status == 422
    (error,) = content["detail"]  # FastAPI's shape
    assert error["msg"] and error["type"] and error["loc"][0] == "body"
    assert not content["retryable"]


@pytest.mark.parametrize("language", ["python", "python3", "Python", "Python3", "PYTHON"])
def test_python_goes_by_several_names(daemon: Daemon, language: str) -> None:
    assert as_verl_reads_it(run(daemon, "print(6 * 7)", language=language), "42") is True


def test_null_and_unknown_fields_are_ignored(daemon: Daemon) -> None:
    absent = dict.fromkeys(("run_timeout", "compile_timeout", "memory_limit_MB", "files", "fetch_files", "args"))
    assert as_verl_reads_it(run(daemon, "print(1)", **absent, trace_id="x", provider=None), "1") is True


def test_numbers_may_be_strings_as_pydantic_has_it(daemon: Daemon) -> None:
    assert as_verl_reads_it(run(daemon, "print(1)", run_timeout="5", memory_limit_MB="512"), "1") is True
    assert as_verl_reads_it(run(daemon, "print(1)", memory_limit_MB=512.0), "1") is True


def test_files_go_into_the_folder_of_the_program_and_come_back(start: Any) -> None:
    daemon = start("--workers", "1", "--require", "full")
    code = "text = open('data/in.txt').read()\nopen('out.txt', 'w').write(text * 2)\nprint(text)"
    files = {"data/in.txt": base64.b64encode(b"hi").decode(), "absent.txt": None}
    response = run(daemon, code, files=files, fetch_files=["./out.txt", "data/in.txt", "none.txt"])
    assert as_verl_reads_it(response, "hi") is True, response
    content = {path: base64.b64decode(text) for path, text in response.files.items()}
    assert content == {"./out.txt": b"hihi", "data/in.txt": b"hi"}
    assert run(daemon, "print(open('out.txt').read())").status == "Failed"


@pytest.mark.parametrize(
    ("code", "status", "return_code"),
    [
        ("def test_one(): assert 1 + 1 == 2\ndef test_two(monkeypatch): pass", "Success", 0),
        ("def test_one(): assert 1 + 1 == 2\ndef test_two(): assert 1 + 1 == 3", "Failed", 1),
        ("import pytest\ndef test_one():\n    with pytest.raises(KeyError): {}[1]", "Success", 0),
        ("class TestX:\n    def test_one(self): raise ValueError('no')", "Failed", 1),
        ("def helper(): pass", "Failed", 5),
        ("def test_one(: pass", "Failed", 2),
    ],
)
def test_pytest_runs_the_tests_in_the_code(daemon: Daemon, code: str, status: str, return_code: int) -> None:
    response = run(daemon, code, language="pytest")
    assert response.run_result is not None
    assert (response.status, response.run_result.return_code) == (status, return_code), response


def test_tests_out_of_time_are_told_apart(daemon: Daemon) -> None:
    response = run(daemon, "def test_one():\n    while True: pass", language="pytest", run_timeout=0.5)
    assert as_verl_reads_it(response, "") == -3


def test_elapsed_time_and_cpu_time_are_told_apart(daemon: Daemon) -> None:
    slept = run(daemon, "import time\ntime.sleep(9)", run_timeout=0.5)
    looped = run(daemon, "while True: pass", run_timeout=0.5)
    assert as_verl_reads_it(slept, "") == as_verl_reads_it(looped, "") == -3
    assert "2.5 s of elapsed time" in slept.message
    assert "of CPU time" in looped.message


def test_what_its_clients_ask_for_by_default_is_given(daemon: Daemon) -> None:
    _, config, _ = daemon.ask("GET", "/v1/config")
    assert config["program_limits"]["cpu_seconds"] == 30
    most = config["program_limits"]["memory_bytes"] >> 20
    code = f"x = bytearray({most - 60} << 20)\nprint(len(x) >> 20)"
    response = run(daemon, code, memory_limit_MB=1024)
    assert as_verl_reads_it(response, str(most - 60)) is True
    assert ("lowered" in response.message) == (most < 1024)


def test_a_lowered_limit_says_what_was_asked_and_what_is_given(daemon: Daemon) -> None:
    response = run(daemon, "print(1)", run_timeout=60, memory_limit_MB=1 << 20)
    assert "run_timeout of 60 s was lowered to the server's 30 s" in response.message
    assert "memory_limit_MB of 1,048,576 was lowered" in response.message
    assert as_verl_reads_it(response, "1") is True


def test_a_program_that_costs_two_workers_is_to_be_sent_again(start: Any) -> None:
    daemon = start("--workers", "1", "--run-timeout", "30")
    answers: list[Any] = []
    request = {"code": "import time\ntime.sleep(20)", "language": "python", "run_timeout": 30}
    thread = threading.Thread(target=lambda: answers.append(daemon.ask("POST", "/run_code", request)))
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
    assert (status, content["retryable"], headers["retry-after"]) == (504, True, "1")


def test_v1_run_returns_what_the_library_returns(daemon: Daemon) -> None:
    status, content, _ = daemon.ask("POST", "/v1/run", {"code": "print(input())", "stdin": "hey", "id": 7})
    found = Run.from_dict(content)
    assert (status, found.id, found.ending, found.stdout) == (200, "7", "exited", "hey\n")
    assert daemon.ask("POST", "/v1/run", {"code": "print(1)", "limits": {"cpu_seconds": 99}})[0] == 422


def test_v1_run_takes_files_and_returns_those_to_fetch(daemon: Daemon) -> None:
    code = "open('out', 'wb').write(open('d/in', 'rb').read()[::-1])"
    files = {"d/in": base64.b64encode(b"\0\1\xff").decode()}
    status, content, _ = daemon.ask("POST", "/v1/run", {"code": code, "files": files, "fetch": ["out", "none"]})
    assert (status, content["files"]) == (200, {"out": base64.b64encode(b"\xff\1\0").decode()}), content
    assert Run.from_dict(content).files == {"out": b"\xff\1\0"}
    for wrong in ({"files": {"a": "no base64!"}}, {"files": {"a": 1}}, {"fetch": "out"}):
        assert daemon.ask("POST", "/v1/run", {"code": "1", **wrong})[0] == 422, wrong
    status, content, _ = daemon.ask("POST", "/v1/run", {"code": "1", "files": {"../a": ""}})
    assert (status, content["ending"]) == (200, "invalid") or status == 422, content
    assert "'..'" in (content.get("message") or content["detail"])
