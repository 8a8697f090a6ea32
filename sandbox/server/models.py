"""The types of requests and responses: requests are validated strictly, and the OpenAPI description is made of them."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from selftaught.sandbox import json_cases, records
from selftaught.sandbox.judging import MOST_CASES
from selftaught.sandbox.program import Program
from selftaught.sandbox.server.exchange import Refused
from selftaught.sandbox.task import MOST_BYTES, MOST_SECONDS, AnyTask, FunctionTask, Limits, StdioTask, Task
from selftaught.sandbox.validation import ENTRY_POINT

_DECODER = json.JSONDecoder()
_BETWEEN = re.compile(r"[\s,]*")
Seconds = Annotated[float, Meta(gt=0, le=MOST_SECONDS)]
Bytes = Annotated[int, Meta(gt=0, le=MOST_BYTES)]
_Id = Annotated[str | int, Meta(description="The id of the verdict, as text; need not be unique")]


class LimitsRequest(Struct, forbid_unknown_fields=True):
    """Limits of each phase, for this task alone. The default of each is the server's, which is also the maximum."""

    cpu_seconds: Seconds | None = None
    wall_seconds: Seconds | None = None
    memory_bytes: Bytes | None = None
    answer_bytes: Bytes | None = None
    output_bytes: Bytes | None = None


class ProgramLimitsRequest(LimitsRequest, forbid_unknown_fields=True):
    """Limits of a program. The default of each is the server's, which is also the maximum."""


class TaskRequest(Struct):
    """A puzzle and a solution to judge. Unknown fields are ignored."""

    sat: Annotated[str, Meta(description="Source of the puzzle: def sat(answer: T, ...) -> bool")]
    sol: Annotated[str, Meta(description="Source of the solution: def sol(...), or a bare expression")]
    id: _Id = ""
    limits: LimitsRequest | None = None


_EntryPoint = Annotated[
    str, Meta(pattern=ENTRY_POINT, description="What is called: a function, or Class.method of an instance Class()")
]
_Prelude = Annotated[str, Meta(description="Source that is loaded before the solution and before the tests")]
_Compare = Annotated[
    str, Meta(description="How outputs are compared with what is expected", extra_json_schema={"format": "comparison"})
]
_Checker = Annotated[
    Annotated[str, Meta(min_length=1)] | None,
    Meta(description="Source of check(input, output, expected) -> bool or float, which judges in place of `compare`"),
]


class _Request(Struct, kw_only=True):
    """What functions and programs to judge have in common."""

    sol: Annotated[str, Meta(description="Source of the solution")]
    id: _Id = ""
    all_cases: Annotated[bool, Meta(description="Judge every case or test, also after one has failed")] = False
    limits: LimitsRequest | None = None
    sat: None = None


class TestedFunctionRequest(_Request, kw_only=True):
    """A function to judge by tests.

    Unknown fields are ignored, and so is `null` for a field of another kind.
    """

    entry_point: _EntryPoint
    tests: Annotated[
        str, Meta(description="Source of tests: def check(candidate), functions test_..., or assert statements")
    ]
    prelude: _Prelude = ""
    isolation: Annotated[
        Literal["process", "shared"], Meta(description="shared: tests and solution in one process; it can cheat")
    ] = "process"
    cases: None = None
    compare: Literal["exact"] = "exact"
    checker: None = None


class FunctionCasesRequest(_Request, kw_only=True):
    """A function to judge by cases.

    Unknown fields are ignored, and so is `null` for a field of another kind.
    """

    entry_point: _EntryPoint
    cases: Annotated[list[Any], Meta(min_length=1, max_length=MOST_CASES)]
    prelude: _Prelude = ""
    compare: _Compare = "exact"
    checker: _Checker = None
    tests: None = None
    isolation: Literal["process"] = "process"


class StdioTaskRequest(_Request, kw_only=True):
    """A program to judge by what it writes to standard output.

    Unknown fields are ignored, and so is `null` for a field of another kind.
    """

    cases: Annotated[
        list[tuple[str, str]],
        Meta(min_length=1, max_length=MOST_CASES, description="Standard input and expected standard output of each"),
    ]
    compare: _Compare = "lines"
    checker: _Checker = None
    entry_point: None = None


_Content = Annotated[bytes, Meta(extra_json_schema={"format": "byte"})]


class RunRequest(Struct):
    """A Python program to run as ``__main__``; `stdin` is what it reads. `files` are in its folder."""

    code: str
    stdin: str = ""
    id: Annotated[str | int, Meta(description="The id of the run, as text")] = ""
    limits: ProgramLimitsRequest | None = None
    files: Annotated[dict[str, _Content], Meta(description="Content in base64 by relative path")] = {}
    fetch: Annotated[list[str], Meta(description="Paths of the files to return, if they exist in the end")] = []


def parse(body: bytes) -> Any:
    """Parse the body of a request as JSON. Raises Refused."""
    try:
        return records.parse(body)
    except ValueError as error:
        raise Refused(400, f"the request is not JSON: {error}") from error


def array(body: bytes) -> str:
    """Return the text of a valid JSON array; its values could need thirty times the memory. Raises Refused."""
    values = parse(body)
    if not isinstance(values, list):
        raise Refused(
            422,
            f"a batch is an array of tasks, not {type(values).__name__}; or send JSON lines as application/x-ndjson",
        )
    return body.decode(json.detect_encoding(body), "surrogatepass")


def elements(text: str) -> Iterator[Any]:
    """Yield the values of a JSON array, parsed one by one."""
    at = text.index("[") + 1
    while text[at := _BETWEEN.match(text, at).end()] != "]":  # type: ignore[union-attr]  # it always matches
        value, at = _DECODER.raw_decode(text, at)
        yield value


def task(fields: Any, ceiling: Limits) -> AnyTask:
    """Return the task in a request. Its fields say of which kind it is.

    Args:
        fields: The JSON value.
        ceiling: The server's limits.

    Raises:
        ValueError: It is not a task, or has a limit above the ceiling.
    """
    fields = records.renamed(fields) if isinstance(fields, dict) else fields
    kind = records.kind_of(fields) if isinstance(fields, dict) else Task
    if kind is FunctionTask:
        tested = fields.get("tests") is not None
        if tested == (fields.get("cases") is not None):
            raise ValueError(
                f"a function has either 'tests' or 'cases', and this one {'both' if tested else 'neither'}"
            )
        arguments = _arguments(fields, TestedFunctionRequest if tested else FunctionCasesRequest, ceiling)
        return FunctionTask(**arguments if tested else {**arguments, "cases": json_cases.read(arguments["cases"])})
    if kind is StdioTask:
        return StdioTask(**_arguments(fields, StdioTaskRequest, ceiling))
    request = msgspec.convert(_whole(fields), TaskRequest)
    return Task(str(request.id), request.sat, request.sol, _own_limits(request, ceiling))


def _arguments(fields: Any, kind: type[_Request], ceiling: Limits) -> dict[str, Any]:
    """Return the fields of a request as those of a task. Raises ValueError."""
    request = msgspec.convert(_whole(fields), kind)
    given = msgspec.structs.asdict(request)
    absent = ("sat", "entry_point") if kind is StdioTaskRequest else ("sat",)
    given.update(id=str(request.id), limits=_own_limits(request, ceiling))
    return {name: value for name, value in given.items() if name not in absent}


def _own_limits(request: TaskRequest | _Request, ceiling: Limits) -> Limits | None:
    return _limits(request.limits, ceiling) if request.limits else None


def _whole(fields: Any) -> Any:
    """Return the fields with numbers such as 1.0 in their objects as integers: JSON does not distinguish them."""
    if not isinstance(fields, dict):
        return fields
    return {
        name: {
            key: int(number) if type(number) is float and number.is_integer() else number
            for key, number in value.items()
        }
        if isinstance(value, dict)
        else value
        for name, value in fields.items()
    }


def _limits(asked: LimitsRequest, ceiling: Limits) -> Limits:
    limits = {name: value for name, value in msgspec.structs.asdict(asked).items() if value is not None}
    for name, value in limits.items():
        if value > (most := getattr(ceiling, name)):
            raise ValueError(
                f"{name} of {value:g} is above the server's {most:g}: ask for less, or start it with a higher limit"
            )
    if "cpu_seconds" in limits and "wall_seconds" not in limits:
        limits["wall_seconds"] = min(Limits(limits["cpu_seconds"]).wall_seconds, ceiling.wall_seconds)
    return dataclasses.replace(ceiling, **limits)


def run(fields: Any, ceiling: Limits) -> Program:
    """Return the program in a request to /v1/run.

    Args:
        fields: The JSON value.
        ceiling: The server's limits for programs.

    Raises:
        ValueError: It is not a program, or has a limit above the ceiling.
    """
    request = msgspec.convert(_whole(fields), RunRequest)
    limits = _limits(request.limits or LimitsRequest(), ceiling)
    return Program(str(request.id), request.code, request.stdin, limits, request.files, request.fetch)
