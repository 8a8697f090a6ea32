"""Requests to a model server: what may succeed later is tried again, and what won't is an error with a remedy."""

from __future__ import annotations

import itertools
import os
import random
import time
from typing import Any

from selftaught.generator.models import ModelFailed

try:
    import requests
    from urllib3.exceptions import InvalidHeader
    from urllib3.util import Retry
except ImportError as error:
    raise ModelFailed("asking a server needs requests: pip install 'selftaught[generator]'") from error

_RETRIED = (408, 409, 425, 429, *range(500, 600))
_ABSENT, _REFUSED, _NO_KEY = (404, 405, 410, 501), (400, 413, 422), (401, 403)
_LONGEST_PAUSE = 60.0


class Refused(ModelFailed):
    """The server does not take what the request contains."""


class Absent(ModelFailed):
    """The server has nothing at this path."""


class Server:
    """A server's base address.

    A request is tried again after connection errors, time-outs, HTTP 429 and 5xx: with exponential backoff and jitter,
    not before the time in ``Retry-After``. A key is read from the environment variable OPENAI_API_KEY.

    Args:
        address: The base address, such as ``http://127.0.0.1:8000/v1``.
        connections: Maximum number of concurrent requests.
        max_tries: Maximum number of tries of a request.
        backoff_factor: Seconds before the second try, about; doubled before each one after it, up to a minute.
        timeout: Seconds to wait for an answer.
        patience: Seconds after the first try of a request in which another one may begin.
    """

    def __init__(
        self,
        address: str,
        *,
        connections: int,
        max_tries: int,
        backoff_factor: float,
        timeout: float,
        patience: float,
    ) -> None:
        self.address = address.rstrip("/")
        self._max_tries, self._backoff, self._timeout = max_tries, backoff_factor, timeout
        self.patience = patience
        self._session = requests.Session()
        self._session.mount(self.address, requests.adapters.HTTPAdapter(pool_maxsize=connections))
        self._has_key = bool(os.environ.get("OPENAI_API_KEY"))
        if self._has_key:
            self._session.headers["Authorization"] = f"Bearer {os.environ['OPENAI_API_KEY']}"

    def json(
        self, method: str, path: str, body: object = None, *, root: bool = False, patience: float | None = None
    ) -> dict[str, Any]:
        """Return the JSON object that the server answers.

        Args:
            method: The HTTP method.
            path: The path below the base address.
            body: What is sent, as JSON.
            root: The path is below the base address without ``/v1``.
            patience: In place of the server's.

        Raises:
            Refused, Absent, ModelFailed: See these.
        """
        address = (self.address.removesuffix("/v1") if root else self.address) + path
        began = time.monotonic()
        for number in itertools.count(1):
            wanted = 0.0
            try:
                answer = self._session.request(method, address, json=body, timeout=(10, self._timeout))
            except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
                failure = f"{address}: {error}; does a server run there?"
            except requests.RequestException as error:
                raise ModelFailed(f"{address}: {error}") from error
            else:
                if answer.status_code not in _RETRIED or answer.status_code in _ABSENT:
                    return self._read(address, answer)
                failure, wanted = f"{address}: {_said(answer)}", _retry_after(answer)
            pause = max(wanted, min(self._backoff * 2 ** (number - 1), _LONGEST_PAUSE) * random.uniform(0.5, 1.5))
            left = began + (self.patience if patience is None else patience) - time.monotonic()
            if number >= self._max_tries or pause > left:
                asked = f", and the server asks to wait {wanted:.0f} s" if wanted > left else ""
                raise ModelFailed(f"{failure} (tries: {number}, in {time.monotonic() - began:.0f} s{asked})")
            time.sleep(pause)
        raise AssertionError

    def _read(self, address: str, answer: requests.Response) -> dict[str, Any]:
        try:
            found = answer.json()
        except ValueError:
            found = None
        said = f"{address}: {_said(answer)}"
        if answer.status_code in _NO_KEY:
            which = "it refuses the key in OPENAI_API_KEY" if self._has_key else "set OPENAI_API_KEY to a key for it"
            raise ModelFailed(f"{said}; {which}")
        if answer.status_code in _REFUSED:
            raise Refused(said)
        if answer.status_code in _ABSENT:
            raise Absent(said)
        if answer.status_code != 200 or not isinstance(found, dict):
            raise ModelFailed(said)
        return found


def _said(answer: requests.Response) -> str:
    return f"HTTP {answer.status_code}: {answer.text[:300]}"


def _retry_after(answer: requests.Response) -> float:
    """Return the seconds that the server asks to wait; 0 if it does not say."""
    try:
        return float(Retry().parse_retry_after(answer.headers["Retry-After"]))
    except (KeyError, ValueError, InvalidHeader):
        return 0.0
