"""The OpenAPI description, made of the types that validate requests and encode responses."""

from __future__ import annotations

from typing import Any

import msgspec

import selftaught
from selftaught import sandbox
from selftaught.sandbox.json_cases import MOST_LITERAL
from selftaught.sandbox.program import Run
from selftaught.sandbox.server.models import (
    FunctionCasesRequest,
    RunRequest,
    StdioTaskRequest,
    TaskRequest,
    TestedFunctionRequest,
)
from selftaught.sandbox.server.nemo_skills import ExecuteRequest, ExecuteResponse
from selftaught.sandbox.server.open_instruct import (
    TestProgramFunctionalRequest,
    TestProgramRequest,
    TestProgramResponse,
    TestProgramStdioRequest,
)
from selftaught.sandbox.server.sandbox_fusion import RunCodeRequest, RunCodeResponse
from selftaught.sandbox.task import Limits
from selftaught.sandbox.verdict import Verdict

_JSON, _LINES = "application/json", "application/x-ndjson"


def _content(schema: dict[str, Any], kind: str = _JSON) -> dict[str, Any]:
    return {kind: {"schema": schema}}


def _answer(description: str, schema: dict[str, Any], kind: str = _JSON) -> dict[str, Any]:
    return {"description": description, "content": _content(schema, kind)}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


_WAIT = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}
_ERROR = _ref("Error")
_REFUSALS: dict[str, Any] = {
    "400": _answer("Not JSON, or ambiguous HTTP.", _ERROR),
    "401": _answer("The token is missing or wrong.", _ERROR),
    "403": _answer("The request comes from a page of another origin.", _ERROR),
    "408": _answer("The body came too slowly.", _ERROR),
    "413": _answer("Too large.", _ERROR),
    "415": _answer("Another Content-Type is needed.", _ERROR),
    "421": _answer("Without a token the server accepts only localhost as host.", _ERROR),
    "422": _answer("Not a valid task; `detail` has the reason.", _ERROR),
    "431": _answer("The headers are too long.", _ERROR),
    "429": {**_answer("The queue is full: try again.", _ERROR), "headers": _WAIT},
}
_PARAMETERS = [
    {
        "name": "order",
        "in": "query",
        "description": "Verdicts in the order of the tasks, or as they are reached.",
        "schema": {"enum": ["input", "completion"], "default": "input"},
    },
    {
        "name": "repeat",
        "in": "query",
        "description": "Judge every task this many times; the status is `unstable` if the verdicts differ.",
        "schema": {"type": "integer", "minimum": 1, "maximum": 100, "default": 1},
    },
]

_TASKS = (TaskRequest, TestedFunctionRequest, FunctionCasesRequest, StdioTaskRequest)
_OTHERS = (
    RunRequest, RunCodeRequest, RunCodeResponse, TestProgramRequest, TestProgramStdioRequest,
    TestProgramFunctionalRequest, TestProgramResponse, ExecuteRequest, ExecuteResponse, Verdict, Run,
)  # fmt: skip
_ENCODED = {
    "type": "string",
    "format": "encoded-value",
    "description": "Base64 of the encoding of a value (selftaught.sandbox.codec).",
}
_CASE: dict[str, Any] = {
    "description": "The arguments and the expected result of a call.",
    "oneOf": [
        {
            "type": "array",
            "description": "Arguments, keyword arguments, expected result.",
            "prefixItems": [{"type": "array"}, {"type": "object"}, {}],
            "items": False,
            "minItems": 3,
            "maxItems": 3,
        },
        {
            "type": "object",
            "required": ["args", "expected"],
            "properties": {"args": {"type": "array"}, "kwargs": {"type": "object"}, "expected": {}},
            "additionalProperties": False,
        },
        {
            "type": "object",
            "required": ["python"],
            "properties": {
                "python": {
                    "type": "string",
                    "format": "python-literal",
                    "maxLength": MOST_LITERAL,
                    "description": "A Python literal: (args, kwargs, expected), for values that JSON lacks.",
                }
            },
            "additionalProperties": False,
        },
        {
            "type": "object",
            "required": ["encoded"],
            "properties": {
                "encoded": {
                    "type": "object",
                    "required": ["args", "expected"],
                    "properties": {
                        "args": {"type": "array", "items": _ENCODED},
                        "kwargs": {"type": "object", "additionalProperties": _ENCODED},
                        "expected": _ENCODED,
                    },
                    "additionalProperties": False,
                }
            },
            "additionalProperties": False,
        },
    ],
}


def _again(description: str, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the description of a refusal after which the client tries again."""
    return {**_answer(description, {"anyOf": [schema, _ERROR]} if schema else _ERROR), "headers": _WAIT}


def _asked(operation: str, summary: str, body: dict[str, Any], responses: dict[str, Any]) -> dict[str, Any]:
    """Return the description of a path that takes a body of these kinds."""
    body = {"required": True, "content": body}
    return {"post": {"operationId": operation, "summary": summary, "requestBody": body, "responses": responses}}


def _waiting(operation: str, summary: str, kind: str) -> dict[str, Any]:
    """Return the description of a path whose clients wait, however long (`selftaught.sandbox.server.waiting`)."""
    found = _ref("ExecuteResponse" if kind == "Execute" else "TestProgramResponse")
    late = "An Error in a body with status 200: the server failed, or shut down, after the response had begun."
    responses = {
        "200": _answer(f"What came of it. {late}", {"anyOf": [found, _ERROR]}),
        **{status: refusal for status, refusal in _REFUSALS.items() if status != "429"},
        "503": _again("The server failed, or shuts down."),
    }
    summary += " It waits however long, and sends blanks until then."
    return _asked(operation, summary, _content(_ref(f"{kind}Request")), responses)


def _judging() -> dict[str, Any]:
    """Return the paths that judge or run, in our shapes."""
    unjudged = _again("Not judged (`cancelled`, `internal_error`): try again.", _ref("Verdict"))
    not_run = _again("The server failed or shut down: try again.", _ref("Run"))
    shutting = _again("The server is shutting down, or has no memory for more requests: try again.")
    lines = {"description": "One verdict on each line, with the `index` of its task. An item that is not a task is "
             "`invalid`. If the stream ends early, the remaining tasks were not judged.",
             "content": {_LINES: {}}}  # fmt: skip
    batch_body = {
        **_content({"type": "array", "items": {"description": "An AnyTaskRequest; anything else is `invalid`."}}),
        **_content({"type": "string"}, _LINES),
    }
    batch = _asked(
        "verify_batch",
        "Judge many tasks: a JSON array, or any number of JSON lines while verdicts arrive.",
        batch_body,
        {"200": lines, **_REFUSALS, "503": shutting},
    )
    batch["post"]["parameters"] = _PARAMETERS
    return {
        "/v1/verify": _asked(
            "verify",
            "Judge one task.",
            _content(_ref("AnyTaskRequest")),
            {"200": _answer("The verdict.", _ref("Verdict")), **_REFUSALS, "503": unjudged},
        ),
        "/v1/verify/batch": batch,
        "/v1/run": _asked(
            "run",
            "Run a Python program and return what it did. This judges nothing.",
            _content(_ref("RunRequest")),
            {"200": _answer("What it did.", _ref("Run")), **_REFUSALS, "503": not_run},
        ),
    }


def _of_others() -> dict[str, Any]:
    """Return the paths in shapes of other services."""
    late = _again("It waited as long as the client does, or the server failed or shuts down: send it again.")
    return {
        "/run_code": _asked(
            "run_code",
            "Run a Python program, in SandboxFusion's shape. Its exit code is not a verdict.",
            _content(_ref("RunCodeRequest")),
            {
                "200": _answer("What it did.", _ref("RunCodeResponse")),
                **{status: refusal for status, refusal in _REFUSALS.items() if status not in ("422", "429")},
                "422": _answer("Another language, or not a valid request.", _ref("UnprocessableRequest")),
                "504": late,
            },
        ),
        "/test_program": _waiting(
            "test_program", "Test a program by sources that call it, in open-instruct's shape.", "TestProgram"
        ),
        "/test_program_stdio": _waiting(
            "test_program_stdio", "Test a program by inputs and outputs, in open-instruct's shape.", "TestProgramStdio"
        ),
        "/test_program_functional": _waiting(
            "test_program_functional", "Test a function by calls, in open-instruct's shape.", "TestProgramFunctional"
        ),
        "/execute": _waiting("execute", "Run a Python program, in NeMo-Skills' shape. This judges nothing.", "Execute"),
    }


def _told(operation: str, summary: str, responses: dict[str, Any], public: bool = False) -> dict[str, Any]:
    """Return the description of a path that tells something of the server; a public one needs no token."""
    security: dict[str, Any] = {"security": []} if public else {}
    return {"get": {"operationId": operation, "summary": summary, **security, "responses": responses}}


def _of_the_server() -> dict[str, Any]:
    """Return the paths that tell something of the server."""
    free, unknown = {"type": "object"}, {"401": _REFUSALS["401"]}
    alive = {"200": _answer("Alive.", free)}
    ready = {"200": _answer("Ready.", free), "503": _answer("Not ready; `status` has the reason.", free)}
    return {
        "/health": _told(
            "health",
            "Alive: the same as /healthz, where clients of open-instruct and NeMo-Skills ask.",
            alive,
            public=True,
        ),
        "/healthz": _told("healthz", "Alive.", alive, public=True),
        "/readyz": _told("readyz", "Ready: canaries were judged correctly, at the required level.", ready, public=True),
        "/v1/config": _told(
            "config",
            "Version, limits, confinement level, engine, and every protection with its evidence.",
            {"200": _answer("The configuration.", free), **unknown},
        ),
        "/metrics": _told(
            "metrics",
            "Prometheus' text format.",
            {"200": _answer("Metrics.", {"type": "string"}, "text/plain"), **unknown},
        ),
    }


def description(token: bool, limits: Limits, program_limits: Limits) -> dict[str, Any]:
    """Return the description of a server.

    Args:
        token: It requires a token.
        limits: Its limits for tasks.
        program_limits: Its limits for programs.
    """
    _, schemas = msgspec.json.schema_components((*_TASKS, *_OTHERS), ref_template="#/components/schemas/{name}")
    for name, ceiling in (("LimitsRequest", limits), ("ProgramLimitsRequest", program_limits)):
        for limit, described in schemas[name]["properties"].items():
            kinds = [kind for kind in described["anyOf"] if kind["type"] != "null"]
            kinds[0]["maximum"] = getattr(ceiling, limit)
    for name, kind in schemas["RunCodeRequest"]["properties"].items():
        if name not in ("code", "language"):
            schemas["RunCodeRequest"]["properties"][name] = {"anyOf": [kind, {"type": "null"}]}
    schemas["FunctionCasesRequest"]["properties"]["cases"]["items"] = _CASE
    schemas["AnyTaskRequest"] = {
        "description": "A puzzle has `sat`, a function `entry_point` with `tests` or `cases`, a program only `cases`.",
        "oneOf": [_ref(kind.__name__) for kind in _TASKS],
    }
    schemas["Error"] = {
        "type": "object",
        "required": ["detail", "retryable"],
        "properties": {"detail": {"type": "string"}, "retryable": {"type": "boolean"}},
    }
    schemas["UnprocessableRequest"] = {
        "type": "object",
        "required": ["detail", "retryable"],
        "properties": {
            "detail": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["type", "loc", "msg"],
                    "properties": {"type": {"type": "string"}, "loc": {"type": "array"}, "msg": {"type": "string"}},
                },
            },
            "retryable": {"const": False},
        },
    }
    components: dict[str, Any] = {"schemas": schemas}
    if token:
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "selftaught",
            "version": selftaught.__version__,
            "description": sandbox.__doc__.split("\n")[0],
        },
        "paths": {**_judging(), **_of_others(), **_of_the_server()},
        "components": components,
        "security": [{"token": []}] if token else [],
    }
