"""Tasks of every kind over HTTP, told apart by their fields; refusals say what to change."""

from __future__ import annotations

import json
from typing import Any

import pytest

from selftaught.sandbox import Verdict
from tests.sandbox.server.conftest import LINES, Daemon, lines, task

ADD = "def f(a, b=1): return a + b"
KINDS: dict[str, dict[str, Any]] = {
    "puzzle": task(1),
    "names of generate": {"puzzle": task(1)["sat"], "solution": task(1)["sol"], "text": "other fields"},
    "tests": {"sol": ADD, "entry_point": "f", "tests": "def check(candidate): assert candidate(1) == 2"},
    "cases": {
        "sol": ADD,
        "entry_point": "f",
        "cases": [[[1], {}, 2], {"args": [1], "kwargs": {"b": 2}, "expected": 3}],
    },
    "literals": {
        "sol": "def f(a): return {a: 1}",
        "entry_point": "f",
        "cases": [{"python": "([(1,)], {}, {(1,): 1})"}],
    },
    "program": {"sol": "print(int(input()) + 1)", "cases": [["1\n", "2\n"], ["2\n", "3\n"]]},
    "nulls": {
        "sol": "print(1)",
        "cases": [["", "1"]],
        "sat": None,
        "entry_point": None,
        "checker": None,
        "limits": None,
    },
    "other fields": {"sol": ADD, "entry_point": "f", "cases": [[[1], {}, 2]], "difficulty": "easy"},
}


@pytest.mark.parametrize("fields", KINDS.values(), ids=KINDS)
def test_a_task_is_judged_by_what_its_fields_say(unconfined: Daemon, fields: dict[str, Any]) -> None:
    status, content, _ = unconfined.ask("POST", "/v1/verify", {**fields, "id": "x"})
    verdict = Verdict.from_dict(content)
    assert (status, verdict.id, verdict.status) == (200, "x", "accepted")
    assert verdict.passed == verdict.total == len(fields.get("cases") or fields.get("tests", "")[:1])


@pytest.mark.parametrize("by_lines", [False, True])
def test_a_batch_mixes_them(unconfined: Daemon, by_lines: bool) -> None:
    batch = [{**fields, "id": name} for name, fields in KINDS.items()]
    body = b"\n".join(json.dumps(each).encode() for each in batch) if by_lines else batch
    found = lines(unconfined.ask("POST", "/v1/verify/batch", body, LINES if by_lines else None)[1])
    assert [(each["id"], each["status"]) for each in found] == [(name, "accepted") for name in KINDS]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "nothing that judges": ({"sol": ADD}, "a task has 'sat' (a puzzle), 'entry_point' with 'tests' or 'cases'"),
    "tests without an entry point": ({"sol": ADD, "tests": "assert f(1)"}, "'entry_point' with 'tests' or 'cases'"),
    "no tests and no cases": ({"sol": ADD, "entry_point": "f"}, "either 'tests' or 'cases', and this one neither"),
    "tests and cases": (
        {"sol": ADD, "entry_point": "f", "tests": "", "cases": [[[], {}, 1]]},
        "either 'tests' or 'cases', and this one both",
    ),
    "no solution": ({"entry_point": "f", "tests": ""}, "`sol`"),
    "no name": ({"sol": ADD, "entry_point": "f(1)", "tests": ""}, "$.entry_point"),
    "a newline after a name": ({"sol": ADD, "entry_point": "f\n", "tests": ""}, "entry_point must be the name"),
    "no cases": ({"sol": ADD, "cases": []}, "$.cases"),
    "a case of a program for a function": ({"sol": ADD, "entry_point": "f", "cases": [["1", "2"]]}, "cases[0]"),
    "a case of a function for a program": ({"sol": ADD, "cases": [[[1], {}, 2]]}, "$.cases[0]"),
    "a comparison beside tests": ({"sol": ADD, "entry_point": "f", "tests": "", "compare": "approx"}, "$.compare"),
    "a checker beside tests": ({"sol": ADD, "entry_point": "f", "tests": "", "checker": "x"}, "$.checker"),
    "shared isolation for cases": (
        {"sol": ADD, "entry_point": "f", "cases": [[[], {}, 1]], "isolation": "shared"},
        "$.isolation",
    ),
    "an unknown comparison": ({"sol": ADD, "cases": [["", ""]], "compare": "fuzzy"}, "'fuzzy'"),
    "a limit above the server's": (
        {"sol": ADD, "cases": [["", ""]], "limits": {"cpu_seconds": 99}},
        "above the server's",
    ),
    "a number for all_cases": ({"sol": ADD, "cases": [["", ""]], "all_cases": 1}, "$.all_cases"),
    "an empty checker": ({"sol": ADD, "cases": [["", ""]], "checker": ""}, "$.checker"),
}


@pytest.mark.parametrize(("fields", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_task_is_refused_with_a_reason(unconfined: Daemon, fields: dict[str, Any], reason: str) -> None:
    status, content, _ = unconfined.ask("POST", "/v1/verify", fields)
    assert status == 422
    assert reason in content["detail"]
    (found,) = lines(unconfined.ask("POST", "/v1/verify/batch", [{**fields, "id": "x"}])[1])
    assert (found["status"], found["id"]) == ("invalid", "x")
    assert reason in found["message"]


def test_identical_tasks_of_a_batch_are_judged_once(unconfined: Daemon) -> None:
    before = unconfined.metric("selftaught_run_seconds_count")
    batch = [{**KINDS[name], "id": str(n)} for n in range(20) for name in ("tests", "cases", "program")]
    found = lines(unconfined.ask("POST", "/v1/verify/batch", batch)[1])
    assert [(each["index"], each["status"]) for each in found] == [(n, "accepted") for n in range(60)]
    assert unconfined.metric("selftaught_run_seconds_count") - before == 3


def test_a_required_isolation_refuses_shared_tasks(start: Any) -> None:
    shared = {**KINDS["tests"], "isolation": "shared"}
    for options, required, status in (((), "shared", 200), (("--require-isolation", "process"), "process", 422)):
        daemon = start("--workers", "1", *options, module="tests.sandbox.fake_worker")
        assert daemon.ask("GET", "/v1/config")[1]["required_isolation"] == required
        assert daemon.ask("POST", "/v1/verify", KINDS["tests"])[0] == 200
        found, content, _ = daemon.ask("POST", "/v1/verify", shared)
        assert found == status
        (line,) = lines(daemon.ask("POST", "/v1/verify/batch", [shared])[1])
        if status == 200:
            assert content["isolation"] == line["isolation"] == "shared"
        else:
            assert "require_isolation" in content["detail"] and "require_isolation" in line["message"]
            assert line["status"] == "invalid"
