"""Models behind a server with OpenAI's ``/v1/completions``: vLLM, llama.cpp, SGLang, TGI and others."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

from selftaught.generator.models import ModelFailed, Stop

try:
    import requests
    from urllib3.util import Retry
except ImportError as error:
    raise ModelFailed("asking a server needs requests: pip install 'selftaught[generator]'") from error

_RETRIED = (408, 409, 425, 429, 500, 502, 503, 504)
_MAX_STRINGS = 4
"""Maximum number of stop strings in OpenAI's protocol."""


class OpenAI:
    """A model behind a server.

    The digest covers what the server says of the model. It does not change when weights change behind the same name. If
    the server needs a key, it is read from the environment variable OPENAI_API_KEY.

    Args:
        address: The server's base address, such as ``http://127.0.0.1:8000/v1``.
        model: The model's name on the server; empty: the first one that it lists.
        context: Tokens of prompt and completion (None: what the server says, or 2,048).
        concurrency: Maximum number of concurrent requests.
        max_tries: Maximum number of tries of a request that fails with a transient error.
        backoff_factor: Seconds before the second retry; doubled before each one after it.
        timeout: Seconds to wait for an answer.

    Raises:
        ModelFailed: The server can't be reached or does not have the model.
    """

    def __init__(
        self,
        address: str,
        model: str = "",
        *,
        context: int | None = None,
        concurrency: int = 8,
        max_tries: int = 5,
        backoff_factor: float = 0.5,
        timeout: float = 600.0,
    ) -> None:
        key = os.environ.get("OPENAI_API_KEY", "")
        self._address, self._concurrency, self._timeout = address.rstrip("/"), concurrency, timeout
        retry = Retry(max_tries - 1, backoff_factor=backoff_factor, status_forcelist=_RETRIED, allowed_methods=None)
        self._session = requests.Session()
        self._session.mount(self._address, requests.adapters.HTTPAdapter(pool_maxsize=concurrency, max_retries=retry))
        if key:
            self._session.headers["Authorization"] = f"Bearer {key}"
        listed = self._json("GET", f"{self._address}/models").get("data") or []
        card = next((card for card in listed if not model or card.get("id") == model), None)
        if card is None:
            names = ", ".join(str(card.get("id")) for card in listed) or "none"
            raise ModelFailed(f"{address} has no model {model!r}; it has: {names}")
        self._model = str(card["id"])
        self.name = f"{self._address}#{self._model}"
        self.context = context or int(card.get("max_model_len") or 2048)
        self.digest = hashlib.sha256(repr((self.name, card.get("root"), card.get("created"))).encode()).hexdigest()
        self._tokenizes = True
        self._counted: dict[str, int] = {}

    def tokens(self, text: str) -> int:
        """Return the count of the server's tokenizer (vLLM's ``/tokenize``), or half the number of characters."""
        if text not in self._counted:
            self._counted[text] = self._count(text)
        return self._counted[text]

    def _count(self, text: str) -> int:
        if self._tokenizes:
            address = self._address.removesuffix("/v1") + "/tokenize"
            try:
                return int(self._json("POST", address, {"model": self._model, "prompt": text})["count"])
            except (ModelFailed, KeyError, TypeError, ValueError):
                self._tokenizes = False
        return len(text) // 2 + 1

    def complete(
        self,
        prompts: Sequence[str],
        *,
        samples: int,
        max_new_tokens: int,
        temperature: float,
        top_p: float = 1.0,
        stop: Stop = (),
        seed: int,
    ) -> Iterator[tuple[int, list[str]]]:
        """Sample completions (see `selftaught.generator.models.Completer`). Each prompt has its own seed."""
        strings = list(getattr(stop, "strings", ()) if callable(stop) else stop)[:_MAX_STRINGS]
        settings: dict[str, Any] = {
            "model": self._model,
            "max_tokens": max_new_tokens,
            "temperature": temperature,
            "top_p": top_p,
            **({"stop": strings} if strings else {}),
        }
        with ThreadPoolExecutor(self._concurrency) as pool:
            futures = {
                pool.submit(self._one, settings | {"prompt": prompt}, samples, seed + 1009 * number): number
                for number, prompt in enumerate(prompts)
            }
            try:
                for future in as_completed(futures):
                    yield futures[future], future.result()
            finally:
                for future in futures:
                    future.cancel()

    def _one(self, request: dict[str, Any], samples: int, seed: int) -> list[str]:
        """Return all samples of a prompt. Some servers return fewer than `n`; they are asked again for the rest."""
        texts: list[str] = []
        while len(texts) < samples:
            asked = {**request, "n": samples - len(texts), "seed": (seed + len(texts)) % 2**31}
            answer = self._json("POST", f"{self._address}/completions", asked)
            try:
                found = [str(choice["text"]) for choice in answer["choices"]]
            except (KeyError, TypeError) as error:
                raise ModelFailed(f"{self._address} answered no completions: {str(answer)[:200]}") from error
            if not found:
                raise ModelFailed(f"{self._address} answered with no choices")
            texts += found
        return texts[:samples]

    def _json(self, method: str, address: str, body: object = None) -> dict[str, Any]:
        """Return the server's answer; the session retries transient errors. Raises ModelFailed."""
        try:
            answer = self._session.request(method, address, json=body, timeout=(10, self._timeout))
        except requests.RequestException as error:
            raise ModelFailed(f"{address}: {error}; does a server run there?") from error
        try:
            found = answer.json()
        except ValueError:
            found = None
        if answer.status_code != 200 or not isinstance(found, dict):
            raise ModelFailed(f"{address}: HTTP {answer.status_code}: {answer.text[:300]}")
        return found
