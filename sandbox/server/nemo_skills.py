"""`/execute`: the request and response of NeMo-Skills' local sandbox, for programs.

The fields are those of `execute` of NVIDIA-NeMo/Skills (nemo_skills/code_execution/local_sandbox/
local_sandbox_server.py), read at commit 0fc72480. Its client (nemo_skills/code_execution/sandbox.py) looks at no status
but 502, sends nothing again, and makes of every failed connection, and of silence, an `error` or `timeout` of the
program, which its evaluators count as wrong. So a request waits however long (`selftaught.sandbox.server.waiting`), and
what was not run has no `process_status`: its evaluators stop with a KeyError, and count nothing.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from selftaught.sandbox.program import Ending, Program, Run
from selftaught.sandbox.server.exchange import Refused
from selftaught.sandbox.server.sandbox_fusion import ELAPSED_FACTOR
from selftaught.sandbox.task import Limits

PATH = "/execute"
_CUT = "<output cut>"


class ExecuteRequest(Struct):
    """A Python program to run, in the shape of NeMo-Skills' sandbox. Unknown fields are ignored.

    Sessions (`ipython`, and the header X-Session-ID) are not served, nor are other languages.
    """

    generated_code: str
    language: Annotated[str, Meta(pattern=r"^python3?$")]
    timeout: Annotated[
        float,
        Meta(
            gt=0,
            description="Seconds of CPU time; elapsed time may be five times that. "
            "The maximum is the server's --run-timeout",
        ),
    ]
    std_input: str = ""
    max_output_characters: Annotated[int, Meta(ge=0, description="What is kept of each output")] = 1000


class ExecuteResponse(Struct):
    """What the program did: `completed` with any exit code, or `timeout`."""

    process_status: Literal["completed", "timeout"]
    stdout: str
    stderr: str


@dataclasses.dataclass(frozen=True)
class Execution:
    """What a request asks for.

    Attributes:
        items: The program.
        request: The request.
        unpacked_bytes: 0: nothing in it is compressed.
    """

    items: list[Program]
    request: ExecuteRequest
    unpacked_bytes: int = 0

    def response(self, found: list[Run]) -> ExecuteResponse:
        """Return the response to what the program did. Raises Refused if it is not valid."""
        (run,), request = found, self.request
        if run.ending is Ending.INVALID:
            raise Refused(422, run.message)
        if run.ending is Ending.TIME_LIMIT:
            return ExecuteResponse("timeout", "", f"Execution timed out after {request.timeout:g} seconds\n")
        stderr = run.stderr + (f"{run.message}\n" if run.message else "")
        return ExecuteResponse("completed", self._kept(run.stdout, run), self._kept(stderr, run))

    def _kept(self, text: str, run: Run) -> str:
        """Return what is kept of an output; that it was cut, here or by the server's limit, is said in it."""
        most, limits = self.request.max_output_characters, self.items[0].limits
        full = run.cut and limits is not None and len(text.encode("utf-8", "replace")) >= limits.output_bytes
        return text[:most] + _CUT if full or len(text) > most else text


def read(fields: Any, ceiling: Limits) -> Execution:
    """Return what a request asks for. A time above the ceiling is lowered.

    Args:
        fields: The JSON value.
        ceiling: The server's limits for programs.

    Raises:
        ValueError: It is not a request, or asks for what is not served.
    """
    if isinstance(fields, dict) and fields.get("language", "ipython") not in ("python", "python3"):
        language = fields.get("language", "ipython")
        raise ValueError(f"the language is 'python' or 'python3', not {language!r}: this server has no sessions")
    if (
        isinstance(fields, dict)
        and isinstance(most := fields.get("max_output_characters"), float)
        and most.is_integer()
    ):
        fields = {**fields, "max_output_characters": int(most)}  # JSON does not distinguish them
    request = msgspec.convert(fields, ExecuteRequest)
    seconds = min(request.timeout, ceiling.cpu_seconds)
    limits = dataclasses.replace(ceiling, cpu_seconds=seconds, wall_seconds=ELAPSED_FACTOR * seconds)
    return Execution([Program("", request.generated_code, request.std_input, limits)], request)
