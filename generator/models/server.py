"""A model server: one request to it, what its answer means, and whether it answers at present."""

from __future__ import annotations

import json
import os
import random
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from selftaught.generator.models import ModelFailed, Refused
from selftaught.generator.models.window import Window

try:
    import aiohttp
except ImportError as error:
    raise ModelFailed("asking a server needs aiohttp: pip install 'selftaught[generator]'") from error

__all__ = ["Absent", "Failed", "Refused", "Server", "headers"]

_RETRIED = (408, 409, 425, 429, *range(500, 600))
_BUSY = (429, 502, 503, 504)
"""Statuses after which the whole server is left alone for a while, and not only the request."""
_ABSENT, _REFUSED, _NO_KEY = (404, 405, 410, 501), (400, 413, 422), (401, 403)
_LONGEST_PAUSE = 60.0
MOST_BYTES = 256 << 20
"""The most bytes of an answer: more are no completions, and would fill this process's memory."""


class Absent(ModelFailed):
    """The server has nothing at this path."""


class Failed(Exception):
    """A request failed and may succeed later, or at another server.

    Attributes:
        wait: Seconds that the server asks to wait; 0 if it does not say.
        down: The server itself does not answer, or has too much to do.
    """

    def __init__(self, reason: str, wait: float = 0.0, *, down: bool = True) -> None:
        super().__init__(reason)
        self.wait, self.down = wait, down


class Server:
    """A server's base address. For the event loop that sends requests.

    Args:
        address: The base address, such as ``http://127.0.0.1:8000/v1``.
        window: How many requests it is sent at once.
        backoff_factor: Seconds for which it is left alone after a failure, about; doubled by each one that follows.

    Attributes:
        outstanding: Number of requests that it has not answered.
        free_at: The time before which it is left alone.
    """

    def __init__(self, address: str, window: Window, backoff_factor: float) -> None:
        self.address, self.window, self._backoff = address.rstrip("/"), window, backoff_factor
        self.outstanding, self.free_at, self.failures = 0, 0.0, 0

    @property
    def limit(self) -> int:
        """How many requests it may be sent at once: after a failure one, until that is answered."""
        return 1 if self.failures else self.window.size

    @property
    def is_free(self) -> bool:
        """True if it may be sent another request now."""
        return self.outstanding < self.limit and time.monotonic() >= self.free_at

    def rest(self, wait: float) -> bool:
        """Leave it alone for a while, at least `wait` seconds; return False if it was left alone already. Requests that
        fail together count as one failure."""
        now = time.monotonic()
        resting = now < self.free_at
        self.free_at = max(self.free_at, now + wait)
        if resting:
            return False
        self.free_at = max(self.free_at, now + self.pause(self.failures))
        self.failures += 1
        self.window.push_back()
        return True

    def pause(self, failures: int) -> float:
        """Return the seconds of a pause after so many failures before this one, with jitter."""
        pause: float = min(self._backoff * 2 ** min(failures, 30), _LONGEST_PAUSE)
        return pause * random.uniform(0.5, 1.5)

    async def json(
        self, session: aiohttp.ClientSession, method: str, path: str, body: object = None, *, root: bool = False
    ) -> dict[str, Any]:
        """Send a request, and return the JSON object that the server answers.

        Args:
            session: The connections.
            method: The HTTP method.
            path: The path below the base address.
            body: What is sent, as JSON.
            root: The path is below the base address without ``/v1``.

        Raises:
            Failed, Refused, Absent, ModelFailed: See these.
        """
        address = (self.address.removesuffix("/v1") if root else self.address) + path
        try:
            data = None if body is None else _encode(body)
            async with session.request(method, address, data=data) as answer:
                content = await _whole(address, answer)
        except (aiohttp.InvalidURL, aiohttp.TooManyRedirects) as error:
            raise ModelFailed(f"{address}: {error or 'no address'}") from error
        except TimeoutError as error:
            down = isinstance(error, aiohttp.ServerTimeoutError)  # no connection; else an answer that takes long
            raise Failed(f"{address}: no answer in time; does a server run there?", down=down) from error
        except (aiohttp.ClientError, OSError) as error:
            reason = str(error) or type(error).__name__
            raise Failed(f"{address}: {reason}; does a server run there?") from error
        return _read(address, answer, content)


def headers() -> dict[str, str]:
    """Return the headers of every request, with the key in the environment variable OPENAI_API_KEY."""
    key = os.environ.get("OPENAI_API_KEY")
    return {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}


async def _whole(address: str, answer: aiohttp.ClientResponse) -> bytes:
    """Return the body of an answer. Raises ModelFailed if it is too long."""
    parts = bytearray()
    async for part in answer.content.iter_any():
        parts += part
        if len(parts) > MOST_BYTES:
            raise ModelFailed(f"{address} answered more than {MOST_BYTES >> 20} MiB")
    return bytes(parts)


def _read(address: str, answer: aiohttp.ClientResponse, content: bytes) -> dict[str, Any]:
    said = f"{address}: HTTP {answer.status}: {content[:300].decode('utf-8', 'replace')}"
    if answer.status in _NO_KEY:
        known = "Authorization" in answer.request_info.headers
        which = "it refuses the key in OPENAI_API_KEY" if known else "set OPENAI_API_KEY to a key for it"
        raise ModelFailed(f"{said}; {which}")
    if answer.status in _REFUSED:
        raise Refused(said)
    if answer.status in _ABSENT:
        raise Absent(said)
    if answer.status in _RETRIED:
        raise Failed(said, _retry_after(answer.headers.get("Retry-After", "")), down=answer.status in _BUSY)
    try:
        found = _decode(content)
    except (ValueError, RecursionError):
        found = None
    if answer.status != 200 or not isinstance(found, dict):
        raise ModelFailed(said)
    return found


def _encode(body: object) -> bytes:
    try:
        return orjson.dumps(body)
    except TypeError:  # half of a surrogate pair
        return json.dumps(body).encode()


def _decode(content: bytes) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:  # half of a surrogate pair
        return json.loads(content)


def _retry_after(text: str) -> float:
    """Return the seconds that a server asks to wait, as a number or as the date when to come back; 0 if it says
    nothing."""
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0
