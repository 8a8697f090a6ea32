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


def test_output_beyond_the_limit_is_cut_with_a_message(daemon: Daemon) -> None:
    response = run(daemon, "print('x' * 3_000_000)")
    assert response.run_result is not None
    assert len(response.run_result.stdout or "") == 1 << 20
    assert response.status == "Success"
    assert response.message


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
        {"language": "bash"},
        {"language": None},
        {"code": None},
        {"code": 5},
        {"stdin": 5},
        {"run_timeout": 0},
        {"run_timeout": "soon"},
        {"files": {"a.txt": "aGk="}},
        {"files": []},
        {"fetch_files": ["a.txt"]},
    ],
)
def test_what_is_not_supported_is_refused_and_not_ignored(daemon: Daemon, wrong: dict[str, Any]) -> None:
    status, content, _ = daemon.ask("POST", "/run_code", {"code": "print(1)", "language": "python", **wrong})
    assert status == 422
    assert content["detail"]


def test_a_dead_worker_is_a_sandbox_error_and_not_an_exit_code(start: Any) -> None:
    daemon = start("--workers", "1", "--run-timeout", "30")
    answers: list[RunCodeResponse] = []
    thread = threading.Thread(target=lambda: answers.append(run(daemon, "import time\ntime.sleep(20)", run_timeout=30)))
    thread.start()
    killed: set[int] = set()
    while len(killed) < 2:
        time.sleep(0.5)
        for supervisor in daemon.supervisors():
            if supervisor.pid not in killed:
                supervisor.kill()
                killed.add(supervisor.pid)
    thread.join(30)
    (response,) = answers
    assert (response.status, response.run_result) == ("SandboxError", None)
    assert as_verl_reads_it(response, "") == -1


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
