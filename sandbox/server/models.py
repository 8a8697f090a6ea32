"""What may be asked over HTTP: checked strictly, and read from here into the OpenAPI description."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from selftaught.sandbox import records
from selftaught.sandbox.program import Ending, Program, Run
from selftaught.sandbox.server.exchange import Refused
from selftaught.sandbox.task import MIB, MOST_BYTES, MOST_SECONDS, Limits, Task

_DECODER = json.JSONDecoder()
_BETWEEN = re.compile(r"[\s,]*")
Seconds = Annotated[float, Meta(gt=0, le=MOST_SECONDS)]
Bytes = Annotated[int, Meta(gt=0, le=MOST_BYTES)]


class LimitsRequest(Struct, forbid_unknown_fields=True):
    """Limits of each phase, for this task alone. What is missing is as the server has it; nothing may be above that."""

    cpu_seconds: Seconds | None = None
    wall_seconds: Seconds | None = None
    memory_bytes: Bytes | None = None
    answer_bytes: Bytes | None = None
    output_bytes: Bytes | None = None


class ProgramLimitsRequest(LimitsRequest, forbid_unknown_fields=True):
    """Limits of a program. What is missing is as the server has it; nothing may be above that."""


class TaskRequest(Struct):
    """A puzzle and a solution to judge. Fields that are not named here are ignored."""

    sat: Annotated[str, Meta(description="Source of the puzzle: def sat(answer: T, ...) -> bool")]
    sol: Annotated[str, Meta(description="Source of the solution: def sol(...), or a bare expression")]
    id: Annotated[str | int, Meta(description="Comes back in the verdict, as text; need not be unique")] = ""
    limits: LimitsRequest | None = None


class ProgramRequest(Struct):
    """A Python program to run, in the shape of SandboxFusion's `/run_code`.

    There are no files in the jail: `files` and `fetch_files` must be empty. `compile_timeout` and `args` mean nothing for Python.
    """

    code: str
    language: Literal["python"]
    stdin: str | None = None
    run_timeout: Annotated[float, Meta(gt=0, description="Seconds; at most the server's --run-timeout counts")] = 10.0
    memory_limit_MB: Annotated[int, Meta(description="At most the server's --memory counts; -1 means that")] = -1
    compile_timeout: float = 10.0
    files: dict[str, str | None] = {}  # msgspec copies it
    fetch_files: Annotated[list[str], Meta(max_length=0)] = []
    args: list[str] = []


class RunRequest(Struct):
    """A Python program to run as ``__main__``; `stdin` is what it reads."""

    code: str
    stdin: str = ""
    id: Annotated[str | int, Meta(description="Comes back in the answer, as text")] = ""
    limits: ProgramLimitsRequest | None = None


class CommandRunResult(Struct):
    """SandboxFusion's account of a process. `return_code` is the program's own claim; minus a signal's number if that ended it."""

    status: Literal["Finished", "Error", "TimeLimitExceeded"]
    execution_time: float | None = None
    return_code: int | None = None
    stdout: str | None = None
    stderr: str | None = None


class ProgramResponse(Struct):
    """SandboxFusion's answer. `Failed`: stopped, or ended with another code than 0. `SandboxError`: our fault; try again."""

    status: Literal["Success", "Failed", "SandboxError"]
    message: str
    compile_result: CommandRunResult | None = None
    run_result: CommandRunResult | None = None
    executor_pod_name: str | None = None
    files: dict[str, str] = {}


def parse(body: bytes) -> Any:
    """A JSON value. Raises Refused."""
    try:
        return records.parse(body)
    except ValueError as error:
        raise Refused(400, f"the request is not JSON: {error}") from error


def array(body: bytes) -> str:
    """The text of an array that has been found to be one: as values it may take thirty times the memory. Raises Refused."""
    values = parse(body)
    if not isinstance(values, list):
        raise Refused(
            422,
            f"a batch is an array of tasks, not {type(values).__name__}; or send JSON lines as application/x-ndjson",
        )
    return body.decode(json.detect_encoding(body), "surrogatepass")


def elements(text: str) -> Iterator[Any]:
    """The values in the text of an array, one after the other."""
    at = text.index("[") + 1
    while text[at := _BETWEEN.match(text, at).end()] != "]":  # type: ignore[union-attr]  # it matches nothing too
        value, at = _DECODER.raw_decode(text, at)
        yield value


def task(fields: Any, ceiling: Limits) -> Task:
    """The task in these fields, with limits no higher than the ceiling. Raises ValueError."""
    request = msgspec.convert(_whole(fields), TaskRequest)
    return Task(str(request.id), request.sat, request.sol, _limits(request.limits, ceiling) if request.limits else None)


def _whole(fields: Any) -> Any:
    """With numbers such as 1.0 within its objects as integers, which they are in JSON."""
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
    wanted = {name: value for name, value in msgspec.structs.asdict(asked).items() if value is not None}
    for name, value in wanted.items():
        if value > (most := getattr(ceiling, name)):
            raise ValueError(
                f"{name} of {value:g} is above the server's {most:g}: ask for less, or start it with a higher limit"
            )
    if "cpu_seconds" in wanted and "wall_seconds" not in wanted:
        wanted["wall_seconds"] = min(Limits(wanted["cpu_seconds"]).wall_seconds, ceiling.wall_seconds)
    return dataclasses.replace(ceiling, **wanted)


def run(fields: Any, ceiling: Limits) -> Program:
    """The program in these fields, with limits no higher than the ceiling. Raises ValueError."""
    request = msgspec.convert(_whole(fields), RunRequest)
    return Program(str(request.id), request.code, request.stdin, _limits(request.limits or LimitsRequest(), ceiling))


def program(fields: Any, ceiling: Limits) -> Program:
    """The program in these fields. Limits above the ceiling are lowered: clients of SandboxFusion always ask. Raises ValueError."""
    request = msgspec.convert(_whole({"": fields})[""], ProgramRequest)
    if any(content is not None for content in request.files.values()):
        raise ValueError("files are not supported: a program here has standard input and the standard library")
    seconds = min(request.run_timeout, ceiling.wall_seconds)
    memory = request.memory_limit_MB * MIB if request.memory_limit_MB > 0 else ceiling.memory_bytes
    limits = dataclasses.replace(
        ceiling, cpu_seconds=seconds, wall_seconds=seconds, memory_bytes=min(memory, ceiling.memory_bytes)
    )
    return Program("", request.code, request.stdin or "", limits)


def program_response(run: Run) -> ProgramResponse:
    """A run in SandboxFusion's words."""
    if run.ending in (Ending.CANCELLED, Ending.INTERNAL_ERROR, Ending.INVALID):
        return ProgramResponse("SandboxError", run.message or run.ending.value)
    out_of_time = run.ending is Ending.TIME_LIMIT
    result = CommandRunResult(
        "TimeLimitExceeded" if out_of_time else "Finished",
        run.usage.wall_seconds,
        run.return_code,
        run.stdout,
        run.stderr,
    )
    notes = [run.message] if run.message else []
    if run.cut:
        notes.append("the output was longer than is kept")
    return ProgramResponse("Success" if run.return_code == 0 else "Failed", "; ".join(notes), run_result=result)
