"""`/run_code`: SandboxFusion's request and response, in the forms that its clients read rightly.

The fields are those of RunCodeRequest and RunCodeResponse of SandboxFusion (sandbox/server/sandbox_api.py). Its clients
know few forms of an answer, and verl's (verl/utils/reward_score/sandbox_fusion/utils.py) least: it sends a request
again on 504 alone, gives up `run_timeout` + `compile_timeout` + 10 s after it has sent one, and counts every other
refusal, and SandboxError, as a case that did not pass. So load makes a request wait, and then 504; Success is said only
of a whole output; and what the server's limits took from it is SandboxError, never a wrong answer.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import posixpath
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from selftaught.sandbox.program import Ending, Program, Run
from selftaught.sandbox.server.exchange import Refused
from selftaught.sandbox.task import MIB, FunctionTask, Limits
from selftaught.sandbox.verdict import Status, Verdict

PATH = "/run_code"
LANGUAGES = ("python", "pytest")
"""Those served, by SandboxFusion's names. Case does not matter, and ``python3`` is ``python``."""

LEAST_PATIENCE_SECONDS = 8.0
"""So long each client waits at least: verl's waits 10 s more than the timeouts that it asks for."""

ELAPSED_FACTOR = 5
"""How much more elapsed time than CPU time a program gets, within its client's patience: on a busy machine a right
program must not be late.
"""

_CANDIDATE = "candidate"
_ANSWER_SECONDS = 2.0
_NO_TESTS_COLLECTED = 5  # pytest's exit code
_NO_TESTS = ("there are no tests", "the tests have no case")


class RunCodeRequest(Struct):
    """A Python program to run, in SandboxFusion's shape. Unknown fields are ignored, and so is `null`.

    `language` is `python` (also `python3`, `Python`), or `pytest`: then the tests in `code` are run, by our stand-in
    for pytest, without `args`, `files` and `fetch_files`. Nothing is compiled: `compile_timeout` only tells how long
    the client waits. `args` has no meaning for `python`, as in SandboxFusion.
    """

    code: str
    language: Annotated[str, Meta(pattern=r"^([Pp]ython3?|[Pp]ytest)$")]
    stdin: str = ""
    run_timeout: Annotated[
        float,
        Meta(
            gt=0,
            description="Seconds of CPU time; elapsed time may be five times that, within the client's patience. "
            "The maximum is the server's --run-timeout",
        ),
    ] = 10.0
    compile_timeout: float = 10.0
    memory_limit_MB: Annotated[int, Meta(description="The maximum is the server's --run-memory; -1 means that")] = -1
    files: Annotated[
        dict[str, str | None], Meta(description="Content in base64, by path in the folder in which the program runs")
    ] = {}  # msgspec copies the default
    fetch_files: Annotated[list[str], Meta(description="Paths of files to return")] = []
    args: list[str] = []


class CommandRunResult(Struct):
    """A process, in SandboxFusion's shape. `return_code`, chosen by untrusted code, is negative after a signal.

    `Error`: its output is not whole.
    """

    status: Literal["Finished", "Error", "TimeLimitExceeded"]
    execution_time: float | None = None
    return_code: int | None = None
    stdout: str | None = None
    stderr: str | None = None


class RunCodeResponse(Struct):
    """SandboxFusion's response; `message` names what limit was hit, and which were lowered.

    `Failed`: a limit, or an exit code not 0. `SandboxError`: it ended with 0, but its output was longer than the
    server's --run-output, so nobody can tell whether it is right.
    """

    status: Literal["Success", "Failed", "SandboxError"]
    message: str
    compile_result: CommandRunResult | None = None
    run_result: CommandRunResult | None = None
    executor_pod_name: str | None = None
    files: dict[str, str] = {}


@dataclasses.dataclass(frozen=True)
class ProgramRequest:
    """What a request asks for.

    Attributes:
        item: The program to run, or the tests.
        patience_seconds: So long its client waits for the response, less what the way takes.
        notes: What it asked for and does not get.
        names: How the request names the files to return: by path.
    """

    item: Program | FunctionTask
    patience_seconds: float
    notes: list[str]
    names: dict[str, str]


class Unprocessable(Refused):
    """Refused as SandboxFusion refuses it: 422 with FastAPI's list of errors as `detail`."""

    def __init__(self, message: str, field: str = "", kind: str = "value_error", **more: Any) -> None:
        super().__init__(422, message)
        self._errors = [{"type": kind, "loc": ["body", field] if field else ["body"], "msg": message, **more}]

    def content(self) -> dict[str, Any]:
        """See `Refused.content`."""
        return {**super().content(), "detail": self._errors}


def gateway_timeout(refusal: Refused) -> Refused:
    """Return the refusal as these clients understand it: 504 is what they send again."""
    return refusal if refusal.retry_after is None else dataclasses.replace(refusal, status=504)


def read(fields: Any, ceiling: Limits) -> ProgramRequest:
    """Return what a request asks for. Limits above the ceiling are lowered, and said so.

    Args:
        fields: The JSON value.
        ceiling: The server's limits for programs.

    Raises:
        Unprocessable: It is not a request, or asks for what is not served.
    """
    if not isinstance(fields, dict):
        raise Unprocessable("the request is a JSON object")
    language = _language(fields.get("language"))
    given = {name: value for name, value in fields.items() if value is not None}
    try:
        request = msgspec.convert({**given, "language": language}, RunCodeRequest, strict=False)
    except msgspec.ValidationError as error:
        raise Unprocessable(str(error)) from error
    patience = request.run_timeout + max(request.compile_timeout, 0.0) + LEAST_PATIENCE_SECONDS
    limits, notes = _limits(request, ceiling, patience)
    if language == "pytest":
        return ProgramRequest(_tests(request, limits), patience, notes, {})
    files = {_path(path): _content(path, text) for path, text in request.files.items() if text is not None}
    names = {_path(path): path for path in request.fetch_files}
    return ProgramRequest(Program("", request.code, request.stdin, limits, files, list(names)), patience, notes, names)


def _language(given: object) -> str:
    name = given.lower() if isinstance(given, str) else ""
    name = "python" if name == "python3" else name
    if name not in LANGUAGES:
        served = " or ".join(map(repr, LANGUAGES))
        raise Unprocessable(
            f"Input should be {served}: this server runs Python alone",
            "language",
            "missing" if given is None else "literal_error",
            input=given,
            ctx={"expected": served},
        )
    return name


def _limits(request: RunCodeRequest, ceiling: Limits, patience_seconds: float) -> tuple[Limits, list[str]]:
    """Return the limits of a run, and what was asked for beyond the ceiling."""
    seconds, memory, notes = request.run_timeout, request.memory_limit_MB * MIB, list[str]()
    if seconds > ceiling.cpu_seconds:
        seconds = ceiling.cpu_seconds
        notes.append(f"run_timeout of {request.run_timeout:g} s was lowered to the server's {seconds:g} s")
    if memory > ceiling.memory_bytes:
        given = ceiling.memory_bytes / MIB
        notes.append(f"memory_limit_MB of {request.memory_limit_MB:,} was lowered to the server's {given:,.0f}")
    memory = min(memory, ceiling.memory_bytes) if memory > 0 else ceiling.memory_bytes
    elapsed = min(ELAPSED_FACTOR * seconds, max(seconds, patience_seconds - _ANSWER_SECONDS))
    return dataclasses.replace(ceiling, cpu_seconds=seconds, wall_seconds=elapsed, memory_bytes=memory), notes


def _tests(request: RunCodeRequest, limits: Limits) -> FunctionTask:
    """Return the tests of a request in language pytest. Raises Unprocessable."""
    for name in ("args", "files", "fetch_files"):
        if getattr(request, name):
            raise Unprocessable(f"{name} are not served for pytest: send tests that need none", name)
    sol = f"def {_CANDIDATE}(): pass"
    return FunctionTask("", sol, _CANDIDATE, tests=request.code, isolation="shared", all_cases=True, limits=limits)


def _path(path: str) -> str:
    """Return a path without parts that change nothing, such as ``./``."""
    return posixpath.normpath(path) if path and not path.startswith("/") else path


def _content(path: str, text: str) -> bytes:
    try:
        return base64.b64decode(text)
    except (binascii.Error, ValueError) as error:
        raise Unprocessable(f"files[{path[:60]!r}] is not base64: {error}", "files") from error


def response(asked: ProgramRequest, found: Run | Verdict) -> RunCodeResponse:
    """Return the response.

    Args:
        asked: What the request asked for.
        found: What came of it.

    Raises:
        Unprocessable: It could not be run.
        Refused: The server failed, or shuts down: the client may send it again.
    """
    if found.retryable:
        raise Refused(504, found.message or "the server failed: send it again", retry_after=1)
    answer = _of_run(found, asked) if isinstance(found, Run) else _of_tests(found)
    answer.message = "; ".join([note for note in (answer.message, *asked.notes) if note])
    return answer


def _of_run(run: Run, asked: ProgramRequest) -> RunCodeResponse:
    if run.ending is Ending.INVALID:
        raise Unprocessable(run.message)
    out_of_time, message = run.ending is Ending.TIME_LIMIT, run.message
    if out_of_time:
        message += f" (used {run.usage.cpu_seconds:.2f} s of CPU time in {run.usage.wall_seconds:.2f} s)"
    succeeded, whole = not out_of_time and run.return_code == 0, not run.cut
    if run.cut:
        most = asked.item.limits.output_bytes if asked.item.limits else 0
        cut = f"the output was longer than the server's {most:,} bytes and was cut: start it with a higher --run-output"
        message = f"{message}; {cut}" if message else cut
    ended = run.ending in (Ending.MEMORY_LIMIT, Ending.FORBIDDEN)
    status: Literal["Success", "Failed", "SandboxError"] = "Failed"
    if succeeded and not ended:
        status = "Success" if whole else "SandboxError"
    result = CommandRunResult(
        "TimeLimitExceeded" if out_of_time else "Error" if status == "SandboxError" else "Finished",
        run.usage.wall_seconds,
        run.return_code or (1 if ended else run.return_code),
        run.stdout,
        run.stderr,
    )
    files = {asked.names.get(path, path): base64.b64encode(content).decode() for path, content in run.files.items()}
    return RunCodeResponse(status, message, run_result=result, files=files)


def _of_tests(verdict: Verdict) -> RunCodeResponse:
    """Return what pytest would make of it: its exit codes, and a line for each test that failed."""
    if verdict.status is Status.INVALID:
        raise Unprocessable(verdict.message)
    failed = [(number, case) for number, case in enumerate(verdict.cases) if case.status is not Status.ACCEPTED]
    lines = [f"test {number}: {case.status}: {case.message}" for number, case in failed]
    lines.append(f"{len(failed)} failed, {verdict.passed} passed" if failed else f"{verdict.passed} passed")
    out_of_time = verdict.status is Status.TIME_LIMIT
    code: int | None = 0 if verdict.accepted else 1
    if verdict.status is Status.TESTS_ERROR and not verdict.cases:
        code = _NO_TESTS_COLLECTED if verdict.message in _NO_TESTS else 2
    result = CommandRunResult(
        "TimeLimitExceeded" if out_of_time else "Finished",
        verdict.usage.wall_seconds,
        None if out_of_time else code,
        "\n".join(lines) + "\n",
        "" if verdict.accepted else verdict.message + "\n",
    )
    return RunCodeResponse("Success" if verdict.accepted else "Failed", verdict.message, run_result=result)
