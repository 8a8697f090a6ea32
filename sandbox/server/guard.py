"""Checks before every request: unambiguous headers, the token, Host and Origin, and the declared size of the body."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from prometheus_client import Counter

from selftaught.sandbox.server.exchange import Receive, Refused, too_large
from selftaught.sandbox.server.memory import Memory, Share

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Scope = MutableMapping[str, Any]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN = ("/", "/page.js", "/page.css", "/healthz", "/health", "/readyz", "/openapi.json")
"""Paths that need no token: they reveal no secret and run no code of the caller."""

STREAMS = ("/v1/verify/batch",)
"""Paths with bodies of any length: their handlers limit the parts."""

ONCE = (
    b"host",
    b"origin",
    b"authorization",
    b"content-type",
    b"content-length",
    b"content-encoding",
    b"transfer-encoding",
)
"""Headers that must not occur twice: a proxy and this server might read different ones."""

_SELF = ("localhost", "127.0.0.1", "[::1]", "::1")


class Guard:
    """An ASGI middleware that refuses requests before their bodies are read.

    Requests from pages of another origin are always refused. Each request gets a share of the memory as
    `scope["state"]["share"]`, which is closed with it.

    Args:
        app: The application.
        token: What clients must send. With None they need not, and only names of this machine are accepted as Host, so
            that no web page can reach the server through a name that resolves to this machine (DNS rebinding).
        any_host: Accept any Host without a token too (for a Unix socket).
        most: The most bytes of a body.
        memory: The memory that requests use.
        answers: Counts responses by path and status.
        paths: The known paths; the label of all others is ``other``.
    """

    def __init__(
        self,
        app: App,
        token: bytes | None,
        any_host: bool,
        most: int,
        memory: Memory,
        answers: Counter,
        paths: frozenset[str],
    ) -> None:
        self._app, self._token, self._any_host, self._most = app, token, any_host or token is not None, most
        self._memory, self._answers, self._paths = memory, answers, paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        label = path if path in self._paths else "other"

        async def counted(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                self._answers.labels(label, str(message["status"])).inc()
            await send(message)

        try:
            headers = _unambiguous(scope)
            self._check(path, headers)
        except Refused as refusal:
            await answer(counted, refusal)
            return
        scope.setdefault("state", {})["share"] = share = Share(self._memory)
        try:
            await self._app(scope, receive, counted)
        finally:
            share.close()

    def _check(self, path: str, headers: dict[bytes, bytes]) -> None:
        """Raise Refused if the request is not acceptable."""
        host = headers.get(b"host", b"").decode("latin-1")
        if not self._any_host and _name(host) not in _SELF:
            raise Refused(
                421,
                "without a token this server accepts only localhost as host: start it with --token-file",
                close=True,
            )
        origin = headers.get(b"origin", b"").decode("latin-1")
        if origin and origin.split("://")[-1] != host:
            raise Refused(403, "requests from pages of another origin are refused", close=True)
        if self._token is not None and path not in OPEN:
            scheme, _, shown = headers.get(b"authorization", b"").partition(b" ")
            if not (hmac.compare_digest(shown.strip(), self._token) and scheme.lower() == b"bearer"):
                raise Refused(401, "this server requires its token: Authorization: Bearer ...", close=True)
        length = headers.get(b"content-length", b"")
        if path not in STREAMS and length.isdigit() and int(length) > self._most:
            raise too_large(self._most)


def _unambiguous(scope: Scope) -> dict[bytes, bytes]:
    """Return the headers by name. Raises Refused if two readers could interpret them differently."""
    headers: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        if name in ONCE and name in headers:
            raise Refused(400, f"the header {name.decode()} occurs twice", close=True)
        headers[name] = value
    if scope["http_version"] == "1.1" and b"host" not in headers:
        raise Refused(400, "the header host is missing", close=True)
    coding = headers.get(b"transfer-encoding")
    if coding is not None and (coding.strip().lower() != b"chunked" or scope["http_version"] != "1.1"):
        raise Refused(400, "the only supported transfer-encoding is chunked, of HTTP/1.1", close=True)
    return headers


def _name(host: str) -> str:
    """Return the Host header without its port."""
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host


async def answer(send: Send, refusal: Refused) -> None:
    """Send a refusal, without Starlette."""
    body = refusal.body()
    headers = {"content-type": "application/json", "content-length": str(len(body)), **refusal.headers()}
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
