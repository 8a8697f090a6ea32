"""Models behind servers with OpenAI's ``/v1/completions`` or ``/v1/chat/completions``: vLLM, llama.cpp, SGLang, TGI
and others."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from collections.abc import Container, Iterator, Sequence
from functools import lru_cache
from queue import SimpleQueue
from typing import Any

from selftaught.generator.models import Conversation, ModelFailed, OnRefusal, Refused, Stop
from selftaught.generator.models.balancer import Balancer, Patience
from selftaught.generator.models.loop_thread import LoopThread
from selftaught.generator.models.server import Absent
from selftaught.generator.models.tokenizer import Tokenizer, of_server
from selftaught.generator.models.window import MOST
from selftaught.sandbox import completion

logger = logging.getLogger(__name__)

_MAX_STRINGS = 4
"""Maximum number of stop strings in OpenAI's protocol."""
_AT_FIRST = 5.0
"""Seconds in which a server must be reached at first: one that is not there is a mistake, not a fault that passes."""


class OpenAI:
    """A model behind one server, or several that serve the same model.

    All requests are sent by one thread with an event loop; the methods may be called from any thread. The digest covers
    what the servers say of the model. It does not change when weights change behind the same name. If the servers need
    a key, it is read from the environment variable OPENAI_API_KEY.

    Args:
        address: A server's base address, such as ``http://127.0.0.1:8000/v1``, or several with commas between them.
        model: The model's name on the servers; empty: the first one that they list.
        chat: Ask at ``/chat/completions``, or else at ``/completions`` (None: the second if the server has it).
        context: Tokens of prompt and completion (None: what the server says, or 2,048).
        concurrency: Number of requests in flight at all servers together (None: as many as raise the throughput; see
            `selftaught.generator.models.window.Window`).
        tokenizer: Folder or name of the model's tokenizer: texts are sent as token ids where the server takes them, and
            counted here (None: that of the folder which the server names, if it is here).
        chat_template_kwargs: Passed to the chat template by servers that know the field, such as vLLM and SGLang
            (``{"enable_thinking": False}``).
        max_tries: See `Patience`, as for the other three.
        backoff_factor: Seconds before the second try, about.
        timeout: Seconds to wait for an answer.
        patience: Seconds after the first try in which another may begin.

    Attributes:
        name: The model's name on the servers. Where they are is no part of it, so that a run may go on with others.
        cut: Number of completions that ended at their maximum number of tokens.

    Raises:
        ModelFailed: No server can be reached, or one does not have the model.
    """

    def __init__(
        self,
        address: str,
        model: str = "",
        *,
        chat: bool | None = None,
        context: int | None = None,
        concurrency: int | None = None,
        tokenizer: str | None = None,
        chat_template_kwargs: dict[str, Any] | None = None,
        max_tries: int = 20,
        backoff_factor: float = 0.5,
        timeout: float = 600.0,
        patience: float = 900.0,
    ) -> None:
        addresses = [one.strip().rstrip("/") for one in address.split(",") if one.strip()]
        self._balancer = Balancer(addresses, concurrency, Patience(max_tries, backoff_factor, timeout, patience))
        self._thread = LoopThread(self._balancer.close)
        self._addresses, self._chat, self._template = ", ".join(addresses), chat, chat_template_kwargs or {}
        self._concurrency = concurrency
        card = self._find(addresses, model)
        self._model = str(card["id"])
        self.name = self._model  # the caller's, who may record another one
        self.context = context or card.get("max_model_len") or 2048
        self.digest = hashlib.sha256(repr((self.name, card.get("root"), self._template)).encode()).hexdigest()
        self.cut = 0
        self._tokenizes, self._most, self._limit = True, 0, "max_tokens"
        self._counted = lru_cache(1 << 14)(self._count)
        self._tokenizer: Tokenizer | None = of_server(tokenizer, card, self._server_ids)
        self._takes_ids = self._tokenizer is not None

    def close(self) -> None:
        """Close the connections; what is asked is cancelled."""
        self._thread.close()

    def _post(self, path: str, body: object, *, root: bool = False) -> dict[str, Any]:
        return self._thread.wait(self._balancer.ask(path, body, root=root))

    def _find(self, addresses: Sequence[str], model: str) -> dict[str, Any]:
        """Return what the servers say of a model; some servers list none, and know them by name all the same."""
        found = self._thread.wait(self._balancer.ask_each("/models", _AT_FIRST))
        cards: dict[str, dict[str, Any]] = {}
        missing: list[ModelFailed] = []
        for address, answer in zip(addresses, found, strict=True):
            if isinstance(answer, Absent):
                if not model:
                    raise ModelFailed(f"{answer}; name the model (ADDRESS#NAME); does the address end in /v1?")
                cards[address] = {"id": model}
            elif isinstance(answer, ModelFailed):
                missing.append(answer)
            else:
                cards[address] = _card(address, answer.get("data"), model)
        if not cards:
            raise missing[0]
        for error in missing:
            logger.warning("left out for now: %s", error)
        first, *others = cards.items()
        for address, card in others:
            if (card["id"], card.get("root")) != (first[1]["id"], first[1].get("root")):
                raise ModelFailed(
                    f"the servers have different models: {first[0]} has {first[1]['id']!r} ({first[1].get('root')}), "
                    f"{address} {card['id']!r} ({card.get('root')}): name one that all have (ADDRESS,ADDRESS#NAME)"
                )
        return first[1]

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
            self._post("/completions", {**smallest, "prompt": "1"})
            return False
        except Absent:
            pass
        except Refused as error:  # perhaps a word on a model that can only chat
            return "chat" in str(error).partition("HTTP")[2].lower()
        try:
            self._post("/chat/completions", {**smallest, "messages": [{"role": "user", "content": "1"}]})
        except Refused:
            pass  # it is there
        except Absent as error:
            raise ModelFailed(
                f"{self._addresses} has neither /completions nor /chat/completions for this model "
                f"({error}): is this the base address of an OpenAI-like server? It usually ends in /v1"
            ) from error
        return True

    @property
    def capacity(self) -> int:
        """Number of prompts to ask at once. Without a fixed concurrency a few more than are sent, so that it shows
        whether more would be answered faster."""
        sent = self._balancer.capacity
        return sent if self._concurrency else sent + sent // 4 + 1

    def tokens(self, text: str | Conversation) -> int:
        """Return the count of the tokenizer, here or at the server (vLLM's ``/tokenize``), or half the number of
        characters."""
        if isinstance(text, str):
            return self._counted(text)
        return sum(self._counted(message["content"]) + 8 for message in text)

    def _count(self, text: str) -> int:
        if self._tokenizer:
            return len(self._tokenizer(text))
        if self._tokenizes:
            try:
                return int(self._post("/tokenize", {"model": self._model, "prompt": text}, root=True)["count"])
            except (ModelFailed, KeyError, TypeError, ValueError):
                self._tokenizes = False
        return len(text) // 2 + 1

    def _server_ids(self, text: str) -> list[int] | None:
        """Return the token ids that the server makes of a text; None if it does not tell."""
        try:
            return list(self._post("/tokenize", {"model": self._model, "prompt": text}, root=True)["tokens"])
        except (ModelFailed, KeyError, TypeError):
            return None

    def complete(
        self,
        prompts: Sequence[str | Conversation],
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
        """Sample completions (see `selftaught.generator.models.Completer`). Requests are concurrent.

        Raises:
            Refused: The server does not take a prompt, and there is no `on_refusal`.
            ModelFailed: The server can't be used.
        """
        settings = self._settings(max_new_tokens, temperature, top_p, top_k, stop)
        answers: SimpleQueue[tuple[int, list[str] | Exception]] = SimpleQueue()
        ahead = asyncio.Semaphore(self._concurrency or MOST * len(self._balancer.servers))
        wanted = [number for number in range(len(prompts)) if number not in skip]

        async def ask(number: int) -> None:
            try:
                found = await self._ask(prompts[number], settings, samples, seed + 1009 * number, 0)
                answers.put((number, found))
            except Exception as error:
                answers.put((number, error))

        async def ask_all() -> None:
            async with asyncio.TaskGroup() as group:
                for number in wanted:
                    await ahead.acquire()  # no more are asked ahead of the reader
                    group.create_task(ask(number))

        asking = self._thread.start(ask_all())
        try:
            for _ in wanted:
                number, found = answers.get()
                if isinstance(found, Refused) and on_refusal:
                    on_refusal(number, str(found))
                elif isinstance(found, Exception):
                    raise _failure(found) from found
                else:
                    yield number, found
                self._thread.call(ahead.release)
        finally:
            asking.cancel()

    async def acomplete(
        self,
        prompt: str | Conversation,
        *,
        samples: int,
        max_new_tokens: int,
        temperature: float,
        top_p: float = 1.0,
        top_k: int = 0,
        stop: Stop = (),
        seed: int,
        priority: int = 0,
    ) -> list[str]:
        """Return completions of one prompt (see `selftaught.generator.models.ConcurrentCompleter`)."""
        settings = self._settings(max_new_tokens, temperature, top_p, top_k, stop)
        return await asyncio.wrap_future(self._thread.start(self._ask(prompt, settings, samples, seed, priority)))

    def _settings(
        self, max_new_tokens: int, temperature: float, top_p: float, top_k: int, stop: Stop
    ) -> dict[str, Any]:
        strings = list(getattr(stop, "strings", ()) if callable(stop) else stop)[:_MAX_STRINGS]
        return {
            "model": self._model,
            "max_tokens": max_new_tokens,
            "temperature": temperature,
            "top_p": top_p,
            **({"top_k": top_k} if top_k else {}),  # not OpenAI's; vLLM, SGLang, llama.cpp and TGI have it
            **({"stop": strings} if strings else {}),
        }

    async def _ask(
        self, prompt: str | Conversation, settings: dict[str, Any], samples: int, seed: int, priority: int
    ) -> list[str]:
        """Return all samples of a prompt. Some servers return fewer than `n`; they are asked again for the rest."""
        request, texts = {**settings, **self._asked(prompt)}, list[str]()
        while len(texts) < samples:
            wanted = min(samples - len(texts), self._most or samples)
            seeded = {**request, "n": wanted, "seed": (seed + len(texts)) % 2**31}
            try:
                found = await self._choices(seeded, priority)
            except Refused:
                if not isinstance(request.get("prompt"), list):
                    raise
                request["prompt"] = prompt
                found = await self._choices({**seeded, "prompt": prompt}, priority)
                self._takes_ids = False
            if not found:
                raise ModelFailed(f"{self._addresses} answered with no choices")
            texts += found
        return texts[:samples]

    def _asked(self, prompt: str | Conversation) -> dict[str, Any]:
        """Return the fields of a request that say what is asked."""
        if self._chat:
            messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
            template = {"chat_template_kwargs": self._template} if self._template else {}
            return {"messages": messages, **template}
        if not isinstance(prompt, str):
            raise ModelFailed("a conversation needs /chat/completions: --chat")
        return {"prompt": self._tokenizer(prompt) if self._tokenizer and self._takes_ids else prompt}

    async def _choices(self, request: dict[str, Any], priority: int) -> list[str]:
        """Return the texts of an answer. What a server says that it does not take is asked for in another way."""
        if self._limit != "max_tokens":
            request = {**request, self._limit: request["max_tokens"]}
            del request["max_tokens"]
        path = "/chat/completions" if self._chat else "/completions"
        try:
            answer = await self._balancer.ask(path, request, priority=priority)
        except Refused as error:
            said = str(error).partition("HTTP")[2]
            if "max_tokens" in request and "max_completion_tokens" in said:  # models of OpenAI that reason
                self._limit = "max_completion_tokens"
                return await self._choices(request, priority)
            if request["n"] > 1 and re.search(r"\bn\b", said):
                self._most = 1
                return await self._choices({**request, "n": 1}, priority)
            raise
        except Absent as error:
            other = "/completions: --no-chat" if self._chat else "/chat/completions: --chat"
            raise ModelFailed(f"{error}; perhaps it has {other}") from error
        try:
            choices = answer["choices"]
            self.cut += sum(choice.get("finish_reason") == "length" for choice in choices)
            return [completion.text(choice["message"]) if self._chat else _text(choice["text"]) for choice in choices]
        except (KeyError, TypeError, AttributeError) as error:
            raise ModelFailed(f"{self._addresses} answered no completions: {str(answer)[:200]}") from error


def _card(address: str, listed: Any, model: str) -> dict[str, Any]:
    """Return what a server says of a model. Raises ModelFailed if it has none, or says what can't be."""
    cards = [] if listed is None else listed
    if not isinstance(cards, list) or not all(isinstance(card, dict) and card.get("id") for card in cards):
        raise ModelFailed(f"{address} lists no models, but {str(listed)[:200]}")
    card = next((card for card in cards if not model or card["id"] == model), None)
    if card is None:
        names = ", ".join(str(card["id"]) for card in cards) or "none"
        raise ModelFailed(f"{address} has no model {model!r}; it has: {names}")
    tokens = card.get("max_model_len")
    if tokens is not None and (type(tokens) is not int or tokens < 1):
        raise ModelFailed(f"{address} says that {model or card['id']} has a context of {str(tokens)[:50]} tokens")
    return dict(card)


def _text(value: object) -> str:
    """Return the text of a completion. Raises TypeError if it is none: null is no word that a model wrote."""
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _failure(error: Exception) -> ModelFailed:
    return error if isinstance(error, ModelFailed) else ModelFailed(f"{type(error).__name__}: {error}")
