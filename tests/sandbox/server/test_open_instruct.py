"""`/test_program` and its siblings, asked as open-instruct's `CodeVerifier` asks, and what it makes of the answers.

`reward` is what allenai/open-instruct does in open_instruct/ground_truth_utils.py, `CodeVerifier._get_session` and
`async_call` (Apache License, Version 2.0), with the settings that it has by default. The package itself asks for vLLM.
"""

from __future__ import annotations

import base64
import json
import pickle
import threading
import time
import zlib
from collections.abc import Callable
from typing import Any

import pytest
import requests

from selftaught.sandbox.server import open_instruct
from selftaught.sandbox.server.exchange import Refused
from selftaught.sandbox.verdict import Status, Verdict
from tests.sandbox.server.conftest import Daemon

ADD = "def add(a, b):\n    return a + b\n"
PRINT = "a, b = map(int, input().split())\nprint(a + b)"


def session() -> requests.Session:
    """open-instruct's session."""
    made = requests.Session()
    retries = requests.adapters.Retry(total=3, backoff_factor=0.3, status_forcelist=[500, 502, 503, 504])
    made.mount("http://", requests.adapters.HTTPAdapter(max_retries=retries))
    return made


def reward(url: str, program: str, tests: Any, max_execution_time: float = 1.0, timeout: float = 30) -> float:
    """Return open-instruct's score of a program, or raise what it makes 0.0 of."""
    payload = {"program": program, "tests": tests, "max_execution_time": max_execution_time}
    headers = {"Content-Type": "application/json"}
    with session() as client:
        response = client.post(url, json=payload, headers=headers, timeout=timeout)
        response.raise_for_status()
        passes = response.json()["results"]
        assert len(response.json()["runtimes"]) == len(passes)
    return sum(passes) / len(passes) if passes else 0.0


def answer(daemon: Daemon, path: str, program: str, tests: Any, **fields: Any) -> dict[str, Any]:
    status, content, _ = daemon.ask("POST", path, {"program": program, "tests": tests, **fields})
    assert status == 200, content
    assert set(content) == {"results", "runtimes"}
    assert [time < 0 for time in content["runtimes"]] == [not passed for passed in content["results"]]
    return dict(content)


def test_the_example_of_open_instructs_own_tests_gets_its_answer(daemon: Daemon) -> None:
    tests = ["assert add(1, 2) == 3", "assert add(-1, 1) == 0", "assert add(0, 0) == 1"]
    assert answer(daemon, "/test_program", ADD, tests)["results"] == [1, 1, 0]
    assert reward(f"{daemon.url}/test_program", ADD, tests) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    "program",
    [
        "class Yes:\n    def __eq__(self, other): return True\ndef add(a, b): return Yes()",
        "import builtins\nbuiltins.AssertionError = Exception\ndef add(a, b): return 0",
        "import os\ndef add(a, b): os._exit(0)",
        "import sys\ndef add(a, b): sys.exit(0)",
        "import sys\ndef add(a, b):\n    sys._getframe(1).f_globals['add'] = lambda a, b: a + b\n    return 0",
        "raise SystemExit",
        "def add(a, b:",
    ],
)
def test_no_program_passes_by_a_trick(daemon: Daemon, program: str) -> None:
    assert answer(daemon, "/test_program", program, ["assert add(1, 2) == 3"])["results"] == [0]


def test_each_test_has_its_own_time_and_process(daemon: Daemon) -> None:
    program = "n = 0\ndef add(a, b):\n    global n\n    n += 1\n    while a == 0: pass\n    return a + b + n - 1"
    tests = ["assert add(0, 2) == 2", "assert add(1, 2) == 3", "assert add(2, 2) == 4"]
    assert answer(daemon, "/test_program", program, tests, max_execution_time=0.3)["results"] == [0, 1, 1]


def test_a_test_may_be_any_source_that_calls_the_program(daemon: Daemon) -> None:
    program = "class Stack:\n    def __init__(self): self.items = []\n    def push(self, x): self.items.append(x)\n"
    tests = [
        "stack = Stack()\nstack.push(1)\nassert stack.items == [1]",
        "import math\nfor x in range(3):\n    s = Stack(); s.push(x)\n    assert math.isclose(s.items[0], x)",
        "try:\n    Stack(1)\nexcept TypeError:\n    pass\nelse:\n    raise AssertionError",
    ]
    assert answer(daemon, "/test_program", program, tests)["results"] == [1, 1, 1]


def test_programs_that_open_instruct_does_not_run_are_run_here(daemon: Daemon) -> None:
    program = "import os\nimport threading\n" + ADD
    assert answer(daemon, "/test_program", program, ["assert add(1, 2) == 3"])["results"] == [1]


@pytest.mark.parametrize("encode", [json.dumps, lambda tests: packed(pickle.dumps(tests))])
def test_tests_may_be_encoded(daemon: Daemon, encode: Callable[[Any], str]) -> None:
    assert answer(daemon, "/test_program", ADD, encode(["assert add(1, 2) == 3"]))["results"] == [1]
    cases = [{"input": "1 2", "output": "3"}, {"input": "1 2", "output": "4"}]
    assert answer(daemon, "/test_program_stdio", PRINT, encode(cases))["results"] == [1, 0]


def packed(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content)).decode()


class Harmful:
    def __reduce__(self) -> Any:
        return print, ("harm",)


@pytest.mark.parametrize(
    "tests",
    [
        packed(pickle.dumps([Harmful()])),
        packed(pickle.dumps(["assert f(1)"])[:-4]),
        packed(b"\x80\x04]r\xff\xff\xff\x7f."),  # a number that would take 16 GiB
        packed(pickle.dumps({"a": 1})),
        packed(b"\x80\x04](" + b"]" * 3_000_000 + b"e."),
        packed(pickle.dumps([["x" * 100_000] * 1000])),
        base64.b64encode(b"no zlib").decode(),
        "no base64!",
        [],
        None,
        5,
        ["assert True"],
        ["assert add("],
        ["assert add(1, 2) == 3" + " " * 20_000],
        [3],
    ],
)
def test_what_is_no_test_is_refused_and_fails_no_program(daemon: Daemon, tests: Any) -> None:
    status, content, _ = daemon.ask("POST", "/test_program", {"program": ADD, "tests": tests})
    assert (status, content["retryable"]) == (422, False)
    with pytest.raises(requests.HTTPError, match="422"):
        reward(f"{daemon.url}/test_program", ADD, tests)


def test_programs_read_and_print(daemon: Daemon) -> None:
    cases = [
        {"input": "5 3", "output": "8"},
        {"input": ["1 1"], "output": " 2.0 \n"},  # compared as LiveCodeBench does
        {"input": "1 x", "output": "1"},
    ]
    assert answer(daemon, "/test_program_stdio", PRINT, cases)["results"] == [1, 1, 0]
    assert answer(daemon, "/test_program_stdio", "print(", cases)["results"] == [0, 0, 0]
    assert answer(daemon, "/test_program_stdio", "print(gcd(4, 6))", [{"input": "", "output": "2"}])["results"] == [1]


@pytest.mark.parametrize("program", [ADD, "class Solution:\n    def add(self, a, b): return a + b"])
def test_functions_are_called(daemon: Daemon, program: str) -> None:
    cases = [{"input": "1\n2", "output": "3", "fn_name": "add"}, {"input": "[1]\n[2]", "output": "[1, 3]"}]
    assert answer(daemon, "/test_program_functional", program, cases)["results"] == [1, 0]
    assert answer(daemon, "/test_program_functional", "x = 1", cases)["results"] == [0, 0]


def test_load_makes_requests_wait_longer_than_their_client_and_fails_none(start: Any) -> None:
    daemon = start("--workers", "1", "--queue", "1")
    rewards: list[float] = []

    def ask() -> None:
        program = "import time\ndef add(a, b):\n    time.sleep(2.5)\n    return a + b"
        rewards.append(reward(f"{daemon.url}/test_program", program, ["assert add(1, 2) == 3"], timeout=4))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert rewards == [1.0] * 4


def test_a_failure_of_the_server_is_never_a_result(start: Any) -> None:
    daemon = start("--workers", "1")
    program = "import time\ndef add(a, b):\n    time.sleep(4)\n    return a + b"
    request = {"program": program, "tests": ["assert add(1, 2) == 3"], "max_execution_time": 1.0}
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(daemon.ask("POST", "/test_program", request)))
    thread.start()
    end = time.monotonic() + 60
    while thread.is_alive() and time.monotonic() < end:
        time.sleep(0.5)
        for supervisor in daemon.supervisors():
            supervisor.kill()
    thread.join(30)
    ((_, content, _),) = answers
    assert "results" not in content
    assert content["retryable"] is True


@pytest.mark.parametrize("status", [status for status in Status if not status.judged])
def test_what_was_not_judged_is_never_a_failed_test(status: Status) -> None:
    asked = open_instruct.ProgramTest([], 2, 1.0)
    with pytest.raises(Refused, match=status.value):
        asked.response([Verdict("", status, message="why")])


def test_compressed_tests_count_as_the_memory_that_they_take(start: Any) -> None:
    daemon = start("--workers", "1", "--max-body", "1M", "--max-buffered", "4M")
    cases = [{"input": "1 2" + " " * 5_000_000, "output": "3"}]
    request = {"program": PRINT, "tests": packed(pickle.dumps(cases))}
    status, content, _ = daemon.ask("POST", "/test_program_stdio", request)
    assert (status, content["retryable"]) == (503, True) and "--max-buffered" in content["detail"]
    assert answer(daemon, "/test_program_stdio", PRINT, [{"input": "1 2", "output": "3"}])["results"] == [1]
