"""`/test_program` and its siblings: open-instruct's requests to test a program, and its answers.

The fields are those of `TestRequest` of allenai/open-instruct (open_instruct/code_utils/api.py), read at commit
06539411. Its client (open_instruct/ground_truth_utils.py, `CodeVerifier`) makes 0.0 of every failure: its list of
statuses to retry is not applied to POST. So a request waits however long (`selftaught.sandbox.server.waiting`), and
what the server failed to judge is judged again here. What then fails is 503, and counted in the metrics.

What its own server does and this one does not: run the tests in the program's process, where the program can decide
them; refuse programs whose text has ``import os`` or ``threading``; end a right program because the machine is busy.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from selftaught.sandbox.formats import literals, pairs, pickled, preludes, sources
from selftaught.sandbox.formats.problem import Malformed, Problem
from selftaught.sandbox.judging import MOST_CASES
from selftaught.sandbox.server.exchange import Refused
from selftaught.sandbox.server.sandbox_fusion import ELAPSED_FACTOR
from selftaught.sandbox.task import AnyTask, FunctionTask, Limits, Task
from selftaught.sandbox.validation import ENTRY_POINT
from selftaught.sandbox.verdict import CaseResult, Status, Verdict

PATHS = ("/test_program", "/test_program_stdio", "/test_program_functional")

MOST_TESTS = 1000
MOST_TEST_CHARACTERS = 20_000
"""Maximum length of a test of the first path: it is parsed in this process."""

_MOST_BYTES = 64 << 20
_Program = Annotated[str, Meta(description="Source of the program")]
_ENCODED = "The same as JSON, or as base64 of zlib of a pickle of plain data"
_Seconds = Annotated[
    float,
    Meta(
        gt=0,
        description="CPU time of each test; elapsed time may be five times that. The maximum is the server's "
        "--run-timeout",
    ),
]


_Source = Annotated[str, Meta(description="At most 20,000 characters", extra_json_schema={"format": "assertion"})]
_EncodedSources = Annotated[str, Meta(description=_ENCODED, extra_json_schema={"format": "encoded-sources"})]
_EncodedOutputs = Annotated[str, Meta(description=_ENCODED, extra_json_schema={"format": "encoded-outputs"})]
_EncodedCalls = Annotated[str, Meta(description=_ENCODED, extra_json_schema={"format": "encoded-calls"})]


class TestProgramRequest(Struct):
    """A program and the tests that it must pass, in open-instruct's shape. Unknown fields are ignored."""

    program: _Program
    tests: Annotated[
        Annotated[list[_Source], Meta(min_length=1, max_length=MOST_TESTS)] | _EncodedSources,
        Meta(description="Assert statements, or other sources that call a function of the program"),
    ]
    max_execution_time: _Seconds = 1.0


class StdioTest(Struct):
    """What a program reads, and what it must print, compared as LiveCodeBench does."""

    input: str | list[str]
    output: str


class TestProgramStdioRequest(Struct):
    """A program and its inputs and outputs, in open-instruct's shape. Unknown fields are ignored."""

    program: _Program
    tests: Annotated[list[StdioTest], Meta(min_length=1, max_length=MOST_CASES)] | _EncodedOutputs
    max_execution_time: _Seconds = 1.0


class FunctionalTest(Struct):
    """The arguments of a call, JSON in a line each, and the result as JSON. One test names the function for all."""

    input: str
    output: str
    fn_name: Annotated[str, Meta(pattern=ENTRY_POINT)] | None = None


class TestProgramFunctionalRequest(Struct):
    """A program with a function, or a class Solution, and its calls, in open-instruct's shape.

    Unknown fields are ignored.
    """

    program: _Program
    tests: Annotated[list[FunctionalTest], Meta(min_length=1, max_length=MOST_CASES)] | _EncodedCalls
    max_execution_time: _Seconds = 1.0


class TestProgramResponse(Struct):
    """For each test 1 if the program passed it, else 0; and the CPU time in seconds, -1 if it did not pass."""

    results: list[int]
    runtimes: list[float]


@dataclasses.dataclass(frozen=True)
class ProgramTest:
    """What a request asks for.

    Attributes:
        items: The tasks: one for each test, or one whose cases are the tests.
        total: How many tests there are.
        seconds: The time of each.
        unpacked_bytes: The size of the tests if they came compressed, else 0.
    """

    items: list[AnyTask]
    total: int
    seconds: float
    unpacked_bytes: int = 0

    def response(self, found: list[Verdict]) -> TestProgramResponse:
        """Return the response to the verdicts on the tasks. Raises Refused if one was not judged."""
        for verdict in found:
            if not verdict.judged:
                raise Refused(422, f"{verdict.status}: {verdict.message}")
        cases: list[Verdict | CaseResult] = [*(found if len(found) == self.total else found[0].cases)]
        passed = [case.status is Status.ACCEPTED for case in cases[: self.total]]
        passed += [False] * (self.total - len(passed))  # a program that does not load has no cases
        times = [
            min(case.usage.cpu_seconds, self.seconds) if right else -1.0
            for case, right in zip(cases, passed, strict=False)
        ]
        return TestProgramResponse([*map(int, passed)], times + [-1.0] * (self.total - len(times)))


def reader(path: str) -> Callable[[Any, Limits], ProgramTest]:
    """Return the function that reads the requests of a path."""
    return dict(zip(PATHS, (_asserts, _stdio, _functional), strict=True))[path]


def _asserts(fields: Any, ceiling: Limits) -> ProgramTest:
    """Return what a request asks for: a task for each test, as each has its own time. Raises ValueError."""
    request = msgspec.convert(_decoded(fields), TestProgramRequest)
    limits, items = _limits(request.max_execution_time, ceiling), list[AnyTask]()
    for number, source in enumerate(request.tests):
        if len(source) > MOST_TEST_CHARACTERS:
            raise Malformed(f"tests[{number}] has {len(source):,} characters: send at most {MOST_TEST_CHARACTERS:,}")
        test, name = sources.tests_and_entry_point(source, f"tests[{number}]")
        items.append(FunctionTask("", request.program, name, tests=test, limits=limits))
    return ProgramTest(items, len(items), limits.cpu_seconds, _unpacked_bytes(fields, request.tests))


def _stdio(fields: Any, ceiling: Limits) -> ProgramTest:
    request = msgspec.convert(_decoded(fields), TestProgramStdioRequest)
    return _cases(request, fields, ceiling, None)


def _functional(fields: Any, ceiling: Limits) -> ProgramTest:
    request = msgspec.convert(_decoded(fields), TestProgramFunctionalRequest)
    name = next((test.fn_name for test in request.tests if isinstance(test, FunctionalTest) and test.fn_name), None)
    if name is None:
        raise Malformed("no test names the function in fn_name")
    return _cases(request, fields, ceiling, name)


def _cases(
    request: TestProgramStdioRequest | TestProgramFunctionalRequest, fields: Any, ceiling: Limits, function: str | None
) -> ProgramTest:
    tests = [test for test in request.tests if not isinstance(test, str)]
    problem: Problem = pairs.problem(
        "",
        [test.input for test in tests],
        [test.output for test in tests],
        compare="livecodebench",
        function=function,
        imports=preludes.CONTEST,
    )
    limits = _limits(request.max_execution_time, ceiling)
    task = problem.task(request.program)
    assert not isinstance(task, Task)  # inputs and outputs make no puzzle
    task = dataclasses.replace(task, all_cases=True, limits=limits)
    return ProgramTest([task], len(tests), limits.cpu_seconds, _unpacked_bytes(fields, request.tests))


def _decoded(fields: Any) -> Any:
    """Return the fields of a request with its tests as a list. Raises Malformed."""
    if not isinstance(fields, dict) or not isinstance(tests := fields.get("tests"), str):
        return fields
    try:
        found = literals.from_json(tests, "tests")
    except Malformed:
        found = pickled.decode_data(tests, "tests", _MOST_BYTES)
    if not isinstance(found, list):
        raise Malformed(f"tests must be a list, not {type(found).__name__}")
    return {**fields, "tests": found}


def _unpacked_bytes(fields: Any, tests: Iterable[str | StdioTest | FunctionalTest]) -> int:
    """Return the size of tests that came as a text."""
    if not isinstance(fields["tests"], str):
        return 0
    texts = (test if isinstance(test, str) else f"{test.input}{test.output}" for test in tests)
    return sum(len(text.encode("utf-8", "replace")) for text in texts)


def _limits(seconds: float, ceiling: Limits) -> Limits:
    """Return the limits of a test. A time above the ceiling is lowered."""
    seconds = min(seconds, ceiling.cpu_seconds)
    return dataclasses.replace(ceiling, cpu_seconds=seconds, wall_seconds=ELAPSED_FACTOR * seconds)
