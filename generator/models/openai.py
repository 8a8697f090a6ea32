"""Models behind a server with OpenAI's ``/v1/completions`` or ``/v1/chat/completions``: vLLM, llama.cpp, SGLang, TGI
and others."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Container, Iterator, Sequence
from queue import Queue
from typing import Any

from selftaught.generator.models import ModelFailed, OnRefusal, Stop
from selftaught.generator.models.server import Absent, Refused, Server
from selftaught.sandbox import completion

_MAX_STRINGS = 4
"""Maximum number of stop strings in OpenAI's protocol."""
_AT_FIRST = 5.0
"""Seconds in which a server must be reached at first: one that is not there is a mistake, not a fault that passes."""


class OpenAI:
    """A model behind a server.

    The digest covers what the server says of the model. It does not change when weights change behind the same name. If
    the server needs a key, it is read from the environment variable OPENAI_API_KEY.

    Args:
        address: The server's base address, such as ``http://127.0.0.1:8000/v1``.
        model: The model's name on the server; empty: the first one that it lists.
        chat: Ask at ``/chat/completions``, or else at ``/completions`` (None: the second if the server has it).
        context: Tokens of prompt and completion (None: what the server says, or 2,048).
        concurrency: Maximum number of concurrent requests.
        max_tries: Maximum number of tries of a request that fails with a transient error.
        backoff_factor: See `Server`.
        timeout: Seconds to wait for an answer.
        patience: See `Server`.

    Attributes:
        cut: Number of completions that ended at their maximum number of tokens.

    Raises:
        ModelFailed: The server can't be reached or does not have the model.
    """

    def __init__(
        self,
        address: str,
        model: str = "",
        *,
        chat: bool | None = None,
        context: int | None = None,
        concurrency: int = 8,
        max_tries: int = 20,
        backoff_factor: float = 0.5,
        timeout: float = 600.0,
        patience: float = 900.0,
    ) -> None:
        self._server = Server(
            address,
            connections=concurrency,
            max_tries=max_tries,
            backoff_factor=backoff_factor,
            timeout=timeout,
            patience=patience,
        )
        self._concurrency, self._chat = concurrency, chat
        card = self._find(model)
        self._model = str(card["id"])
        self.name = f"{self._server.address}#{self._model}"
        self.context = context or int(card.get("max_model_len") or 2048)
        self.digest = hashlib.sha256(repr((self.name, card.get("root"))).encode()).hexdigest()
        self.cut = 0
        self._lock = threading.Lock()
        self._tokenizes, self._most, self._limit = True, 0, "max_tokens"
        self._counted: dict[str, int] = {}

    def _find(self, model: str) -> dict[str, Any]:
        """Return what the server says of a model; some servers list none, and know them by name all the same."""
        try:
            listed = self._server.json("GET", "/models", patience=_AT_FIRST).get("data") or []
        except Absent as error:
            if not model:
                raise ModelFailed(f"{error}; name the model (ADDRESS#NAME); does the address end in /v1?") from error
            return {"id": model}
        card = next((card for card in listed if not model or card.get("id") == model), None)
        if card is None:
            names = ", ".join(str(card.get("id")) for card in listed) or "none"
            raise ModelFailed(f"{self._server.address} has no model {model!r}; it has: {names}")
        return dict(card)

    @property
    def chat(self) -> bool:
        """True if prompts are messages. Unless it was chosen, the server is asked at first use, for one token.

        Raises:
            ModelFailed: The server has neither of the two paths.
        """
        if self._chat is None:
            self._chat = self._must_chat()
        return self._chat

    def _must_chat(self) -> bool:
        smallest = {"model": self._model, "max_tokens": 1}
        try:
            self._server.json("POST", "/completions", {**smallest, "prompt": "1"})
            return False
        except Absent:
            pass
        except Refused as error:  # perhaps a word on a model that can only chat
            return "chat" in str(error).partition("HTTP")[2].lower()
        try:
            self._server.json("POST", "/chat/completions", {**smallest, "messages": [{"role": "user", "content": "1"}]})
        except Refused:
            pass  # it is there
        except Absent as error:
            raise ModelFailed(
                f"{self._server.address} has neither /completions nor /chat/completions for this model "
                f"({error}): is this the base address of an OpenAI-like server? It usually ends in /v1"
            ) from error
        return True

    def tokens(self, text: str) -> int:
        """Return the count of the server's tokenizer (vLLM's ``/tokenize``), or half the number of characters."""
        if text not in self._counted:
            self._counted[text] = self._count(text)
        return self._counted[text]

    def _count(self, text: str) -> int:
        if self._tokenizes:
            body = {"model": self._model, "prompt": text}
            try:
                return int(self._server.json("POST", "/tokenize", body, root=True)["count"])
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
        top_k: int = 0,
        stop: Stop = (),
        seed: int,
        skip: Container[int] = (),
        on_refusal: OnRefusal | None = None,
    ) -> Iterator[tuple[int, list[str]]]:
        """Sample completions (see `selftaught.generator.models.Completer`). Each prompt has its own seed."""
        strings = list(getattr(stop, "strings", ()) if callable(stop) else stop)[:_MAX_STRINGS]
        settings: dict[str, Any] = {
            "model": self._model,
            "max_tokens": max_new_tokens,
            "temperature": temperature,
            "top_p": top_p,
            **({"top_k": top_k} if top_k else {}),  # not OpenAI's; vLLM, SGLang, llama.cpp and TGI have it
            **({"stop": strings} if strings else {}),
        }

        def ask(number: int) -> list[str] | ModelFailed:
            text = prompts[number]
            asked = {"messages": [{"role": "user", "content": text}]} if self._chat else {"prompt": text}
            try:
                return self._one(settings | asked, samples, seed + 1009 * number)
            except ModelFailed as error:
                return error

        wanted = [number for number in range(len(prompts)) if number not in skip]
        for number, found in _concurrently(ask, wanted, self._concurrency):
            if isinstance(found, Refused) and on_refusal:
                on_refusal(number, str(found))
            elif isinstance(found, ModelFailed):
                raise found
            else:
                yield number, found

    def _one(self, request: dict[str, Any], samples: int, seed: int) -> list[str]:
        """Return all samples of a prompt. Some servers return fewer than `n`; they are asked again for the rest."""
        texts: list[str] = []
        while len(texts) < samples:
            wanted = min(samples - len(texts), self._most or samples)
            found = self._choices({**request, "n": wanted, "seed": (seed + len(texts)) % 2**31})
            if not found:
                raise ModelFailed(f"{self._server.address} answered with no choices")
            texts += found
        return texts[:samples]

    def _choices(self, request: dict[str, Any]) -> list[str]:
        """Return the texts of an answer. What a server says that it does not take is asked for in another way."""
        if self._limit != "max_tokens":
            request = {**request, self._limit: request["max_tokens"]}
            del request["max_tokens"]
        try:
            answer = self._server.json("POST", "/chat/completions" if self._chat else "/completions", request)
        except Refused as error:
            said = str(error).partition("HTTP")[2]
            if "max_tokens" in request and "max_completion_tokens" in said:  # models of OpenAI that reason
                self._limit = "max_completion_tokens"
                return self._choices(request)
            if request["n"] > 1 and re.search(r"\bn\b", said):
                self._most = 1
                return self._choices({**request, "n": 1})
            raise
        except Absent as error:
            other = "/completions: --no-chat" if self._chat else "/chat/completions: --chat"
            raise ModelFailed(f"{error}; perhaps it has {other}") from error
        try:
            choices = answer["choices"]
            with self._lock:
                self.cut += sum(choice.get("finish_reason") == "length" for choice in choices)
            return [completion.text(choice["message"]) if self._chat else str(choice["text"]) for choice in choices]
        except (KeyError, TypeError, AttributeError) as error:
            raise ModelFailed(f"{self._server.address} answered no completions: {str(answer)[:200]}") from error


def _concurrently(
    ask: Callable[[int], list[str] | ModelFailed], numbers: Sequence[int], threads: int
) -> Iterator[tuple[int, list[str] | ModelFailed]]:
    """Yield each number with its answer, as they come. No more than `threads` are asked ahead of the reader.

    The threads are daemons, and are not waited for when the reader leaves: a request may take minutes.
    """
    todo, lock, done = iter(numbers), threading.Lock(), Queue[Any](threads)
    left = threading.Event()

    def work() -> None:
        while not left.is_set():
            with lock:
                number = next(todo, None)
            if number is None:
                return
            try:
                done.put((number, ask(number)))
            except Exception as error:  # or the reader would wait for ever
                done.put((number, ModelFailed(f"{type(error).__name__}: {error}")))

    for _ in range(min(threads, len(numbers))):
        threading.Thread(target=work, daemon=True).start()
    try:
        for _ in numbers:
            yield done.get()
    finally:
        left.set()
        while not done.empty():  # lets threads go on that wait for a free place
            done.get()
