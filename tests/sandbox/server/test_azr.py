"""Absolute Zero Reasoner's executor against a daemon, through the client that it uses, SandboxFusion's own from PyPI.

Its SandboxfusionExecutor (absolute_zero_reasoner/utils/code_utils) sends a program that ends in printing a marker and
the representation of what is asked: an output (deduction), whether an input gives an output (abduction), or an output
that two calls agree on (a proposed task). It reads what follows the last marker if the status is Success, and takes
everything else as an error. The programs here have that form. The client is loaded from ``out/peers``, or else
installed there by pip.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sandbox.server.conftest import Daemon

ROOT = Path(__file__).parents[3]
MARKER = "<FINAL_REPR_SYMBOL>"
TIMEOUT = 2
CLIENT = """
import json, sys, warnings
from concurrent.futures import ThreadPoolExecutor
warnings.simplefilter("ignore")
sys.path.append(sys.argv[1])
from sandbox_fusion import RunCodeRequest, RunStatus, run_code, set_endpoint
set_endpoint(sys.argv[2])

def apply(code):
    request = RunCodeRequest(code=code, language="python", compile_timeout=TIMEOUT, run_timeout=TIMEOUT)
    try:
        response = run_code(request, max_attempts=2)
    except Exception as error:
        return str(error), "error"
    if response.status != RunStatus.Success:
        return "", "error"
    return response.run_result.stdout.split("MARKER")[-1][1:-1], "done"

with ThreadPoolExecutor(8) as executor:
    print(json.dumps(list(executor.map(apply, json.load(sys.stdin)))))
""".replace("TIMEOUT", str(TIMEOUT)).replace("MARKER", MARKER)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the client."""
    folder = ROOT / "out" / "peers"
    if not (folder / "sandbox_fusion").exists():
        folder = tmp_path_factory.mktemp("peers")
        pins = (ROOT / "tests" / "benchmarks" / "peers.txt").read_text()
        wanted = re.findall(r"^(?:sandbox-fusion|tenacity)==\S+$", pins, re.M)
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder), *wanted]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            pytest.skip(f"{wanted} can't be installed here: {done.stderr.strip()[-300:]}")
    return folder


def answers(daemon: Daemon, client: Path, programs: list[str]) -> list[tuple[str, str]]:
    """Return what the executor reads of each program: a text, and ``done`` or ``error``."""
    command = [sys.executable, "-c", CLIENT, str(client), daemon.url]
    done = subprocess.run(command, input=json.dumps(programs), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return [(text, status) for text, status in json.loads(done.stdout)]


def output(code: str, inputs: str) -> str:
    """A program that prints f's output: deduction, and the first look at a proposed task."""
    return f"{code}\nprint('{MARKER}', repr(f({inputs})))"


def gives(code: str, inputs: str, wanted: str) -> str:
    """A program that prints whether an input gives an output: abduction."""
    return f"{code}\nprint('{MARKER}', repr({wanted} == f({inputs})))"


def twice(code: str, inputs: str) -> str:
    """A program that prints f's output if two calls agree, and else fails: determinism."""
    return f"{code}\nfirst = f({inputs})\nassert first == f({inputs})\nprint('{MARKER}', repr(first))"


SORTED = "def f(words):\n    return sorted(words, key=len)"


def test_outputs_are_read_as_their_representation(daemon: Daemon, client: Path) -> None:
    programs = [
        output(SORTED, "['plum', 'fig']"),
        output("def f(s, n=2):\n    return s * n + \"'\"", "'it', 3"),
        output("import math\nfrom collections import Counter\ndef f(x):\n    return Counter(x), math.inf", "'aab'"),
        output(f"def f(a):\n    print('a line of its own', 'and {MARKER} before')\n    return {{a: None}}", "(1, 2.5)"),
        output("def f(a):\n    return None", "0"),
    ]  # fmt: skip
    assert answers(daemon, client, programs) == [
        ("['fig', 'plum']", "done"),
        ('"ititit\'"', "done"),
        ("(Counter({'a': 2, 'b': 1}), inf)", "done"),
        ("{(1, 2.5): None}", "done"),
        ("None", "done"),
    ]


def test_inputs_are_right_or_wrong(daemon: Daemon, client: Path) -> None:
    programs = [gives(SORTED, "['plum', 'fig']", "['fig', 'plum']"), gives(SORTED, "[]", "['fig']")]
    assert answers(daemon, client, programs) == [("True", "done"), ("False", "done")]


@pytest.mark.parametrize(
    "code",
    [
        "import random\ndef f(x):\n    return random.random()",
        "import time\ndef f(x):\n    return time.time_ns()",
        "calls = []\ndef f(x):\n    calls.append(x)\n    return len(calls)",
        "def f(x):\n    return object()",
    ],
    ids=["random", "clock", "state", "identity"],
)
def test_a_task_that_does_not_repeat_itself_is_an_error_and_one_that_does_is_none(
    code: str, daemon: Daemon, client: Path
) -> None:
    found = answers(daemon, client, [twice(code, "1"), twice("def f(x):\n    return {x, 'a', 2.5}", "1")])
    assert [status for _, status in found] == ["error", "done"]


@pytest.mark.parametrize(
    "program",
    [
        output("def f(x):\n    return x[5]", "[]"),
        output("def f(x)\n    return x", "1"),
        output("def f(x):\n    return x", "12eee"),
        output("def f(x):\n    raise SystemExit(3)", "1"),
        output("import os\ndef f(x):\n    os.kill(os.getpid(), 9)", "1"),
        output("import socket\ndef f(x):\n    return socket.create_connection(('127.0.0.1', 80))", "1"),
        output("def f(x):\n    return [0] * 10 ** 11", "1"),
    ],
    ids=["exception", "no syntax", "no input", "exit", "signal", "network", "memory"],
)
def test_what_fails_is_an_error(program: str, daemon: Daemon, client: Path) -> None:
    assert answers(daemon, client, [program]) == [("", "error")]


def test_endless_loops_are_errors_that_are_not_asked_again(daemon: Daemon, client: Path) -> None:
    loop = output("def f(x):\n    while True:\n        pass", "1")
    quick = [output("def f(x):\n    return x + 1", str(number)) for number in range(20)]
    ran = 'selftaught_programs_total{ending="time_limit"}'
    found = answers(daemon, client, [loop, *quick, loop])
    assert found == [("", "error"), *((str(number + 1), "done") for number in range(20)), ("", "error")]
    assert daemon.metric(ran) == 2, "the client sends neither again"
