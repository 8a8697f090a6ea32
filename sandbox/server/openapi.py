"""The OpenAPI description. What is asked and answered is described by the very types that check and make it."""

from __future__ import annotations

from typing import Any

import msgspec

import selftaught
from selftaught import sandbox
from selftaught.sandbox.program import Run
from selftaught.sandbox.server.models import ProgramRequest, ProgramResponse, RunRequest, TaskRequest
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
    "400": _answer("Not JSON, or not HTTP that can be read in one way only.", _ERROR),
    "401": _answer("The token is missing or wrong.", _ERROR),
    "403": _answer("A page of another origin asks.", _ERROR),
    "408": _answer("The body came too slowly.", _ERROR),
    "413": _answer("Too large.", _ERROR),
    "415": _answer("Another Content-Type is needed.", _ERROR),
    "421": _answer("Without a token the server answers to localhost only.", _ERROR),
    "422": _answer("Not a task; the reason is said.", _ERROR),
    "431": _answer("The headers are too long.", _ERROR),
    "429": {**_answer("The queue is full: try again.", _ERROR), "headers": _WAIT},
}
_PARAMETERS = [
    {
        "name": "order",
        "in": "query",
        "description": "Verdicts in the order of the tasks, or as they come.",
        "schema": {"enum": ["input", "completion"], "default": "input"},
    },
    {
        "name": "repeat",
        "in": "query",
        "description": "Judge every task this often, with other random seeds; differing verdicts are `unstable`.",
        "schema": {"type": "integer", "minimum": 1, "maximum": 100, "default": 1},
    },
]


def _paths() -> dict[str, Any]:
    unjudged = {
        **_answer("Not judged (`cancelled`, `internal_error`): try again.", {"anyOf": [_ref("Verdict"), _ERROR]}),
        "headers": _WAIT,
    }
    not_run = {
        **_answer("Not run to an end of its own: try again.", {"anyOf": [_ref("Run"), _ERROR]}),
        "headers": _WAIT,
    }
    shutting = {
        **_answer("The server shuts down, or has no memory for more requests: try again.", _ERROR),
        "headers": _WAIT,
    }
    lines = {"description": "A verdict a line, each with the `index` of its task. What is no task is `invalid`, in its place. "
             "A stream that ends early has judged no more than it says.", "content": {_LINES: {}}}  # fmt: skip
    batch_body = {
        **_content(
            {"type": "array", "items": {"description": "A TaskRequest; what is none is `invalid` in its place."}}
        ),
        **_content({"type": "string"}, _LINES),
    }
    free = {"type": "object"}
    return {
        "/v1/verify": {
            "post": {
                "operationId": "verify",
                "summary": "Judge one task.",
                "requestBody": {"required": True, "content": _content(_ref("TaskRequest"))},
                "responses": {"200": _answer("The verdict.", _ref("Verdict")), **_REFUSALS, "503": unjudged},
            }
        },
        "/v1/verify/batch": {
            "post": {
                "operationId": "verify_batch",
                "summary": "Judge many tasks: an array, or a stream of JSON lines of any length that may go on while verdicts come.",
                "parameters": _PARAMETERS,
                "requestBody": {"required": True, "content": batch_body},
                "responses": {"200": lines, **_REFUSALS, "503": shutting},
            }
        },
        "/v1/run": {
            "post": {
                "operationId": "run",
                "summary": "Run a Python program and say what it did. This judges nothing.",
                "requestBody": {"required": True, "content": _content(_ref("RunRequest"))},
                "responses": {"200": _answer("What it did.", _ref("Run")), **_REFUSALS, "503": not_run},
            }
        },
        "/run_code": {
            "post": {
                "operationId": "run_code",
                "summary": "Run a Python program, in SandboxFusion's shape. Its exit code is reported as it is and is no verdict.",
                "requestBody": {"required": True, "content": _content(_ref("ProgramRequest"))},
                "responses": {"200": _answer("What it did.", _ref("ProgramResponse")), **_REFUSALS, "503": shutting},
            }
        },
        "/healthz": {
            "get": {
                "operationId": "healthz",
                "summary": "Alive.",
                "security": [],
                "responses": {"200": _answer("Alive.", free)},
            }
        },
        "/readyz": {
            "get": {
                "operationId": "readyz",
                "summary": "Ready: a canary was just judged right, at the required level.",
                "security": [],
                "responses": {"200": _answer("Ready.", free), "503": _answer("Not ready; the reason is said.", free)},
            }
        },
        "/v1/config": {
            "get": {
                "operationId": "config",
                "summary": "Version, limits, confinement level, engine, and each protection with its evidence.",
                "responses": {"200": _answer("The configuration.", free), "401": _REFUSALS["401"]},
            }
        },
        "/metrics": {
            "get": {
                "operationId": "metrics",
                "summary": "Prometheus' text format.",
                "responses": {"200": _answer("Metrics.", {"type": "string"}, "text/plain"), "401": _REFUSALS["401"]},
            }
        },
    }


def description(token: bool, limits: Limits, program_limits: Limits) -> dict[str, Any]:
    """The description of a server with these limits; token: whether it asks for one."""
    types = (TaskRequest, RunRequest, ProgramRequest, ProgramResponse, Verdict, Run)
    _, schemas = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    for name, ceiling in (("LimitsRequest", limits), ("ProgramLimitsRequest", program_limits)):
        for limit, described in schemas[name]["properties"].items():
            kinds = [kind for kind in described["anyOf"] if kind["type"] != "null"]
            kinds[0]["maximum"] = getattr(ceiling, limit)
    schemas["ProgramRequest"]["properties"]["files"]["additionalProperties"] = {"type": "null"}
    schemas["Error"] = {
        "type": "object",
        "required": ["detail", "retryable"],
        "properties": {"detail": {"type": "string"}, "retryable": {"type": "boolean"}},
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
        "paths": _paths(),
        "components": components,
        "security": [{"token": []}] if token else [],
    }
