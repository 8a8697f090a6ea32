"""One request and its answer: refusing in a shape that can be relied on, and JSON."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from selftaught.sandbox.program import Run
from selftaught.sandbox.verdict import Verdict

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


@dataclass
class Refused(Exception):
    """The request is answered with this HTTP status and ``{"detail", "retryable"}``."""

    status: int
    detail: str
    retry_after: int | None = None
    close: bool = False

    def headers(self) -> dict[str, str]:
        """What goes with it."""
        headers = {"retry-after": str(self.retry_after)} if self.retry_after is not None else {}
        if self.close:
            headers["connection"] = "close"
        if self.status == 401:
            headers["www-authenticate"] = "Bearer"
        return headers

    def body(self) -> bytes:
        """The answer's body."""
        return orjson.dumps({"detail": self.detail, "retryable": self.retry_after is not None})


class Gone(Exception):
    """The client has left: there is nobody to answer."""


def media_type(request: Request) -> str:
    """The Content-Type without its parameters."""
    return request.headers.get("content-type", "").split(";")[0].strip().lower()


def too_large(most: int) -> Refused:
    """What is said of a body over the limit."""
    return Refused(
        413,
        f"the request is larger than {most:,} bytes: send less at once, or start the server with --max-body",
        close=True,
    )


def shutting_down() -> Refused:
    """What is said to requests that come too late."""
    return Refused(503, "the server is shutting down", retry_after=5, close=True)


def encode(found: Verdict | Run) -> bytes:
    """A verdict or run as JSON."""
    try:
        return orjson.dumps(found)
    except TypeError:  # lone surrogates, which only this writes
        return json.dumps(found.to_dict(), separators=(",", ":")).encode()


def reply(content: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer."""
    body = content if isinstance(content, bytes) else orjson.dumps(content)
    return Response(body, status, headers, media_type="application/json")
