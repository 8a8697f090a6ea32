"""The application: routes and their handlers."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from importlib import resources
from typing import Any, TypeVar

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

import selftaught
from selftaught.sandbox.server import (
    batch,
    models,
    nemo_skills,
    open_instruct,
    openapi,
    sandbox_fusion,
    waiting,
)
from selftaught.sandbox.server.admission import Admission
from selftaught.sandbox.server.body import Pace, Stream, grow, read_whole
from selftaught.sandbox.server.exchange import Gone, Refused, encode, media_type, reply
from selftaught.sandbox.server.guard import Guard
from selftaught.sandbox.server.memory import Memory
from selftaught.sandbox.server.metrics import CONTENT_TYPE, Measured
from selftaught.sandbox.task import MIB, Limits, Task
from selftaught.sandbox.verdict import Status
from selftaught.sandbox.verifier import Verifier

T = TypeVar("T")

MOST_REPEATS = 100
READY_SECONDS = 10.0
"""The daemon is not ready if its canaries are not judged within this time."""

_JSON = ("application/json",)
_LINES = ("application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines")
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
)


@dataclass(frozen=True)
class Settings:
    """The settings of the daemon.

    Attributes:
        queue: The most tasks that are queued or running at a time.
        max_body: The most bytes of a request, of a line in a stream, and of the part of a stream that is read ahead.
        max_buffered: The most bytes of all requests in memory, and of responses that clients have not read.
        program_seconds: The most time that a program gets.
        program_memory: The most memory of a program in bytes; None for 1 GiB, or less on a small machine.
        program_output: The most bytes that are kept of each output of a program.
        drain_seconds: How long a shutdown waits for admitted tasks.
        patience_seconds: The most time for headers, and for a pause in a body or line;
            `selftaught.sandbox.server.body` derives other timeouts from it.
        require: The lowest acceptable confinement level, for ``/v1/config``.
        token: What clients must send; None if they need not.
        any_host: Accept any Host header without a token.
    """

    queue: int = 1000
    max_body: int = 16 * MIB
    max_buffered: int = 256 * MIB
    program_seconds: float = 30.0
    program_memory: int | None = None
    program_output: int = 8 * MIB
    drain_seconds: float = 30.0
    patience_seconds: float = 10.0
    require: str = "full"
    token: bytes | None = None
    any_host: bool = False


class Service:
    """The handlers of all routes.

    Args:
        verifier: Judges the tasks.
        settings: The settings.
    """

    def __init__(self, verifier: Verifier, settings: Settings) -> None:
        self.verifier, self.settings = verifier, settings
        self.measured = Measured(verifier)
        self.admission = Admission(self.measured, settings.queue, Memory(settings.max_buffered))
        self.measured.watch(self.admission)
        seconds = settings.program_seconds
        self.program_limits = replace(
            verifier.limits,
            cpu_seconds=seconds,
            wall_seconds=sandbox_fusion.ELAPSED_FACTOR * seconds,
            memory_bytes=settings.program_memory or _usual_memory(verifier),
            output_bytes=max(settings.program_output, verifier.limits.output_bytes),
        )
        self._canary, self._unpacking = asyncio.Lock(), asyncio.Lock()
        self._ready_until = 0.0

    async def verify(self, request: Request) -> Response:
        """Handle POST /v1/verify."""
        task = await self._parse_request(request, models.task, self.verifier.limits)
        verdict = await self.admission.serve(task, request.state.lost)
        if verdict.status is Status.INVALID:
            raise Refused(422, verdict.message)
        if verdict.judged:
            return reply(encode(verdict))
        return reply(encode(verdict), 503, {"retry-after": "1"})

    async def verify_batch(self, request: Request) -> Response:
        """Handle POST /v1/verify/batch."""
        kind = _expect(request, (*_JSON, *_LINES))
        ordered, repeat = _options(request)
        self.admission.check()
        most, limits = self.settings.max_body, self.verifier.limits
        if kind in _LINES:
            stream = Stream(request.receive, most, self._pace(), request.state.share)
            items, lost = batch.lines(stream, most, limits), request.state.lost
            work = batch.Batch(self.admission, items, lost, ordered, repeat, stream.release)
            return _Lines(work.answer(), stream.close)
        text = models.array(await self._body(request))
        work = batch.Batch(self.admission, batch.elements(text, limits), request.state.lost, ordered, repeat)
        return _Lines(work.answer())

    async def run(self, request: Request) -> Response:
        """Handle POST /v1/run."""
        program = await self._parse_request(request, models.run, self.program_limits)
        found = await self.admission.serve(program, request.state.lost)
        return reply(encode(found), 503, {"retry-after": "1"}) if found.retryable else reply(encode(found))

    async def run_code(self, request: Request) -> Response:
        """Handle POST /run_code. Its clients wait: nothing that load is the reason for is refused at once."""
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            _expect(request, _JSON)
            body = await self._body(request, sandbox_fusion.LEAST_PATIENCE_SECONDS)
            asked = sandbox_fusion.read(models.parse(body), self.program_limits)
            left = began + asked.patience_seconds - clock()
            found = await self.admission.serve(asked.item, request.state.lost, max(left, 0.0))
            answer = sandbox_fusion.response(asked, found)
        except Refused as refusal:
            raise sandbox_fusion.gateway_timeout(refusal) from refusal
        return reply(orjson.dumps(answer, default=_struct))

    async def test_program(self, request: Request) -> Response:
        """Handle POST /test_program, /test_program_stdio and /test_program_functional."""
        return await self._answer_late(request, open_instruct.reader(request.url.path))

    async def execute(self, request: Request) -> Response:
        """Handle POST /execute."""
        return await self._answer_late(request, nemo_skills.read)

    async def _answer_late(self, request: Request, read: Callable[[Any, Limits], waiting.Work]) -> Response:
        """Answer a client that waits however long, and takes a refusal for a wrong answer."""
        _expect(request, _JSON)
        body = await self._body(request, waiting.LEAST_PATIENCE_SECONDS)
        try:
            async with self._unpacking:  # a few bytes may stand for many, which nobody has counted yet
                asked = await asyncio.to_thread(lambda: read(models.parse(body), self.program_limits))
                deadline = asyncio.get_running_loop().time() + waiting.LEAST_PATIENCE_SECONDS
                await grow(request.state.share, asked.unpacked_bytes, deadline)
        except ValueError as error:
            raise Refused(422, str(error)) from error

        async def content() -> bytes:
            found = await waiting.results(self.admission, asked.items, request.state.lost)
            return orjson.dumps(asked.response(found), default=_struct)

        return await waiting.respond(content())

    async def _parse_request(self, request: Request, read: Callable[[Any, Limits], T], ceiling: Limits) -> T:
        """Return the task or program in a JSON request. Raises Refused, or Gone if the client leaves."""
        _expect(request, _JSON)
        self.admission.check()  # before anything large is read
        fields = models.parse(await self._body(request))
        try:
            return read(fields, ceiling)
        except ValueError as error:
            raise Refused(422, str(error)) from error

    async def _body(self, request: Request, wait_seconds: float = 0.0) -> bytes:
        share = request.state.share
        return await read_whole(request.receive, self.settings.max_body, self._pace(), share, wait_seconds)

    def _pace(self) -> Pace:
        return Pace(self.settings.patience_seconds)

    async def healthz(self, request: Request) -> Response:
        """Handle GET /healthz."""
        return reply({"status": "alive"})

    async def readyz(self, request: Request) -> Response:
        """Handle GET /readyz."""
        if self.admission.draining.is_set():
            return reply({"status": "shutting down"}, 503)
        async with self._canary:  # one check at a time, however many clients ask
            if time.monotonic() >= self._ready_until:
                problem = await self._judge_canary()
                if problem:
                    return reply({"status": problem}, 503)
                self._ready_until = time.monotonic() + 1.0
        return reply({"status": "ready", "level": self.verifier.level})

    async def _judge_canary(self) -> str:
        """Return why the daemon is not ready, or "": a right answer must be accepted and a wrong one rejected."""
        sat = "def sat(x: int, n=3127): return 1 < x < n and n % x == 0"
        tasks = (
            Task("", sat, "def sol(n=3127): return next(i for i in range(2, n) if n % i == 0)"),
            Task("", sat, "52"),
        )
        try:
            async with asyncio.timeout(READY_SECONDS):
                right, wrong = await asyncio.gather(*map(self.verifier.averify, tasks))
        except TimeoutError:
            return f"a canary was not judged within {READY_SECONDS:.0f} s"
        if (right.status, wrong.status) != (Status.ACCEPTED, Status.REJECTED):
            return f"canaries were judged {right.status} and {wrong.status}: {right.message or wrong.message}"
        return ""

    async def config(self, request: Request) -> Response:
        """Handle GET /v1/config."""
        settings = self.settings
        return reply(
            {
                "version": selftaught.__version__,
                "verifier": self.verifier.name,
                "level": self.verifier.level,
                "required_level": settings.require,
                "required_isolation": self.verifier.required_isolation,
                "engine": self.verifier.engine,
                "packages": self.verifier.packages,
                "workers": self.verifier.workers,
                "queue": settings.queue,
                "limits": self.verifier.limits.to_dict(),
                "program_limits": self.program_limits.to_dict(),
                "max_body_bytes": settings.max_body,
                "max_buffered_bytes": settings.max_buffered,
                "drain_seconds": settings.drain_seconds,
                "token_required": settings.token is not None,
                "protections": self.verifier.proof,
            }
        )

    async def metrics(self, request: Request) -> Response:
        """Handle GET /metrics."""
        return Response(self.measured.exposition(), headers={"content-type": CONTENT_TYPE})

    async def description(self, request: Request) -> Response:
        """Handle GET /openapi.json."""
        return reply(openapi.description(self.settings.token is not None, self.verifier.limits, self.program_limits))


class _Lines(Response):
    """A response that is a stream of JSON lines.

    Starlette's streaming response reads from the request to notice that the client has left, and so would consume its
    body.

    Args:
        text: The lines.
        at_end: Called when the response ends in any way.
    """

    def __init__(self, text: AsyncGenerator[bytes, None], at_end: Callable[[], None] = lambda: None) -> None:
        self._text, self._at_end = text, at_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", _LINES[0].encode())]
        try:
            async with aclosing(self._text) as text:
                await send({"type": "http.response.start", "status": 200, "headers": headers})
                async for part in text:
                    await send({"type": "http.response.body", "body": part, "more_body": True})
        except Gone:
            return
        finally:
            self._at_end()
        await send({"type": "http.response.body", "body": b""})


def _usual_memory(verifier: Verifier) -> int:
    """Return what clients of SandboxFusion ask for, 1 GiB, or half of the machine's memory divided by the workers."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(verifier.limits.memory_bytes, min(1 << 30, machine // (2 * verifier.workers)))


def _struct(value: Any) -> Any:
    return {name: getattr(value, name) for name in value.__struct_fields__}


def _expect(request: Request, kinds: tuple[str, ...]) -> str:
    """Return the body's type. Raises Refused for others, which a web form of any page could send."""
    kind = media_type(request)
    if kind not in kinds:
        raise Refused(415, f"send Content-Type: {' or '.join(kinds)}, not {kind or 'nothing'}")
    return kind


def _options(request: Request) -> tuple[bool, int]:
    """Return whether verdicts come in input order, and how often each task is judged. Raises Refused."""
    order, repeat = request.query_params.get("order", "input"), request.query_params.get("repeat", "1")
    if order not in ("input", "completion"):
        raise Refused(422, f"order is input or completion, not {order!r}")
    if not (repeat.isascii() and repeat.isdigit() and len(repeat) < 4 and 1 <= int(repeat) <= MOST_REPEATS):
        raise Refused(422, f"repeat is a number from 1 to {MOST_REPEATS}, not {repeat!r}")
    return order == "input", int(repeat)


def _page(name: str, kind: str) -> Route:
    content = resources.files("selftaught.sandbox.server").joinpath("page", name).read_bytes()
    headers = {
        "content-type": kind,
        "content-security-policy": _POLICY,
        "x-content-type-options": "nosniff",
        "cache-control": "no-cache",
    }

    async def show(request: Request) -> Response:
        return Response(content, headers=headers)

    return Route("/" if name == "index.html" else f"/{name}", show)


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return Response(error.body(), error.status, error.headers(), media_type="application/json")


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return reply({"detail": error.detail, "retryable": False}, error.status_code, dict(error.headers or {}))


async def _client_gone(request: Request, error: Exception) -> Response:
    return Response(status_code=499)  # nobody receives it


def make(verifier: Verifier, settings: Settings) -> tuple[Starlette, Service]:
    """Return the application and its handlers. Call it in the event loop that runs the application.

    Args:
        verifier: Judges the tasks.
        settings: The settings.
    """
    service = Service(verifier, settings)
    routes = [
        Route("/v1/verify", service.verify, methods=["POST"]),
        Route("/v1/verify/batch", service.verify_batch, methods=["POST"]),
        Route("/v1/run", service.run, methods=["POST"]),
        Route(sandbox_fusion.PATH, service.run_code, methods=["POST"]),
        *(Route(path, service.test_program, methods=["POST"]) for path in open_instruct.PATHS),
        Route(nemo_skills.PATH, service.execute, methods=["POST"]),
        Route("/healthz", service.healthz),
        Route("/health", service.healthz),
        Route("/readyz", service.readyz),
        Route("/v1/config", service.config),
        Route("/metrics", service.metrics),
        Route("/openapi.json", service.description),
        _page("index.html", "text/html; charset=utf-8"),
        _page("page.js", "text/javascript; charset=utf-8"),
        _page("page.css", "text/css; charset=utf-8"),
    ]
    guard = Middleware(
        Guard,
        token=settings.token,
        any_host=settings.any_host,
        most=settings.max_body,
        memory=service.admission.memory,
        answers=service.measured.answers,
        paths=frozenset(route.path for route in routes),
    )
    handlers = {Refused: _refuse, HTTPException: _http_error, Gone: _client_gone}
    return Starlette(routes=routes, middleware=[guard], exception_handlers=handlers), service
