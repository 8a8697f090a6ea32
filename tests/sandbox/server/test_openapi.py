"""The description is correct: schemathesis makes valid and invalid requests and checks every response against it."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from selftaught.sandbox import Limits, Verifier
from selftaught.sandbox.server.app import Settings, make
from selftaught.sandbox.server.openapi import description
from tests.sandbox.server.conftest import Daemon

CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.response_headers_conformance,
    checks.negative_data_rejection,
    checks.positive_data_acceptance,
]
FORMATS = {
    "comparison": st.sampled_from(["exact", "lines", "approx", "approx(rel=0.1, abs=1e-6)"]),
    "python-literal": st.sampled_from(["((1, 2), {}, {3})", "([], {'a': {1: (2,)}}, None)"]),
    "assertion": st.sampled_from(["assert f(1) == 2", "import math\nassert math.isclose(f(x=0.5), 1)"]),
    "encoded-sources": st.sampled_from(['["assert f(1) == 2"]']),
    "encoded-outputs": st.sampled_from(['[{"input": "1", "output": "2"}]']),
    "encoded-calls": st.sampled_from(['[{"input": "1", "output": "2", "fn_name": "f"}]']),
    "encoded-value": st.sampled_from([b"\x00", b"\xb1\x05", b"\xa1x"]).map(lambda data: b64encode(data).decode()),
}
for name, values in FORMATS.items():
    schemathesis.openapi.format(name, values)
DESCRIPTION = description(False, Limits(), Limits())
OPERATIONS = sorted(DESCRIPTION["paths"])


def operation(daemon: Daemon, path: str) -> Any:
    schema = schemathesis.openapi.from_url(f"{daemon.url}/openapi.json")
    return next(iter(schema[path].values()))


def is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def is_served(path: str, body: Any) -> bool:
    """Return False for what is refused though each of its fields is valid: the schema can't say that.

    Tests for /run_code take no arguments and files, contents are base64, and paths lead nowhere else. One of the calls
    of /test_program_functional names the function, and arguments and results are JSON.
    """
    if path == "/test_program_functional":
        tests = json.loads(body["tests"]) if isinstance(body["tests"], str) else body["tests"]
        texts = [text for test in tests for text in (*test["input"].split("\n"), test["output"])]
        return any(test.get("fn_name") for test in tests) and all(map(is_json, texts))
    if path != "/run_code" or not isinstance(body, dict):
        return True
    others = [body.get(name) for name in ("args", "files", "fetch_files")]
    return not any(others[0 if body.get("language", "").lower() == "pytest" else 1 :])


@pytest.mark.parametrize("path", OPERATIONS)
def test_valid_requests_get_responses_as_described(daemon: Daemon, path: str) -> None:
    described = operation(daemon, path)

    @given(case=described.as_strategy(generation_mode=GenerationMode.POSITIVE))
    @settings(max_examples=30, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    def check(case: schemathesis.Case) -> None:
        assume(is_served(path, case.body))
        case.call_and_validate(checks=CHECKS)

    check()


@pytest.mark.parametrize("path", [path for path in OPERATIONS if "post" in DESCRIPTION["paths"][path]])
def test_invalid_requests_are_refused_as_described(daemon: Daemon, path: str) -> None:
    described = operation(daemon, path)

    @given(case=described.as_strategy(generation_mode=GenerationMode.NEGATIVE))
    @settings(max_examples=30, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    def check(case: schemathesis.Case) -> None:
        case.call_and_validate(checks=CHECKS)

    check()


def test_every_path_that_is_served_is_described() -> None:
    with Verifier(workers=1, require="restricted") as verifier:
        served = {route.path for route in make(verifier, Settings())[0].routes}  # type: ignore[attr-defined]
    assert served - set(OPERATIONS) == {"/", "/page.js", "/page.css", "/openapi.json"}
    assert DESCRIPTION["openapi"] == "3.1.0"
