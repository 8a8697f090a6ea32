"""Responses: refusals with a fixed shape, and JSON."""

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
    """The request is refused with this HTTP status and the body ``{"detail", "retryable"}``.

    Attributes:
        status: The HTTP status.
        detail: The reason.
        retry_after: Seconds after which the client may retry; None if it should not.
        close: Close the connection.
    """

    status: int
    detail: str
    retry_after: int | None = None
    close: bool = False

    def headers(self) -> dict[str, str]:
        """Return the headers of the response."""
        headers = {"retry-after": str(self.retry_after)} if self.retry_after is not None else {}
        if self.close:
            headers["connection"] = "close"
        if self.status == 401:
            headers["www-authenticate"] = "Bearer"
        return headers

    def body(self) -> bytes:
        """Return the body of the response."""
        return orjson.dumps(self.content())

    def content(self) -> dict[str, Any]:
        """Return the body of the response as plain data."""
        return {"detail": self.detail, "retryable": self.retry_after is not None}


class Gone(Exception):
    """The client has left, so there is no response."""


def media_type(request: Request) -> str:
    """Return the Content-Type without its parameters."""
    return request.headers.get("content-type", "").split(";")[0].strip().lower()


def too_large(most: int) -> Refused:
    """Return the refusal of a body over the limit."""
    return Refused(
        413,
        f"the request is larger than {most:,} bytes: send less at once, or start the server with --max-body",
        close=True,
    )


def shutting_down() -> Refused:
    """Return the refusal of requests during a shutdown."""
    return Refused(503, "the server is shutting down", retry_after=5, close=True)


def encode(found: Verdict | Run) -> bytes:
    """Return a verdict or run as JSON."""
    try:
        return orjson.dumps(found)
    except TypeError:  # lone surrogates, which orjson refuses
        return json.dumps(found.to_dict(), separators=(",", ":")).encode()


def reply(content: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return a JSON response; bytes are JSON already."""
    body = content if isinstance(content, bytes) else orjson.dumps(content)
    return Response(body, status, headers, media_type="application/json")
