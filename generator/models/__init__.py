"""Language models behind one interface: prompts in, completions out.

A backend is a module: `transformers` (CPU or GPU, Hugging Face folders and GGUF), `processes` (the same in several
processes), `openai` (any server with
``/v1/completions`` or ``/v1/chat/completions``) and `scripted` (for tests). `load` selects one by the form of a name
and imports only that one.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Container, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

Conversation = Sequence[Mapping[str, str]]
"""Messages with `role` and `content`, the last one a user's. A model that chats writes the next one."""

Stop = Callable[[str], bool] | Sequence[str]
"""When a completion is complete: a predicate of the text so far, or strings, before the first of which it ends.

A predicate may have an attribute `strings`: what is sent to a server that accepts only strings. They must not stop a
completion earlier than the predicate does.
"""

OnRefusal = Callable[[int, str], None]
"""Called with the index of a prompt that the model does not take, such as one that is too long, and the reason."""


class Completer(Protocol):
    """A language model that continues texts.

    Attributes:
        name: The model's name, recorded with every sample.
        digest: A digest that changes when the weights change.
        context: Maximum number of tokens of prompt and completion together.
        chat: True if a prompt is a user's message or a conversation, and its completion the model's answer; False if
            texts are continued.
    """

    @property
    def name(self) -> str: ...

    @property
    def digest(self) -> str: ...

    @property
    def context(self) -> int: ...

    @property
    def chat(self) -> bool: ...

    def tokens(self, text: str | Conversation) -> int:
        """Return the number of tokens of a prompt, or an upper estimate if the tokenizer is not available."""

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
        """Sample completions of prompts.

        Args:
            prompts: The texts to continue, or messages or conversations to answer (see `chat`).
            samples: Number of completions of each prompt.
            max_new_tokens: Maximum number of tokens of a completion.
            temperature: Sampling temperature; 0 is greedy decoding.
            top_p: Nucleus sampling threshold; 1 samples from the whole distribution.
            top_k: Number of likeliest tokens that are sampled from; 0 means all.
            stop: When a completion is complete; the text after that point may be cut or not.
            seed: Random seed. The same seed gives the same texts, as far as the backend supports it.
            skip: Indices of prompts whose completions are not needed. Those of the others are the same as without it.
            on_refusal: Called for each prompt that the model refuses, which then has no completions (None: a refusal is
                a failure).

        Yields:
            The index of a prompt with its `samples` completions, in any order, as soon as they are complete.

        Raises:
            ModelFailed: The model can't be used.
        """


@runtime_checkable
class ConcurrentCompleter(Protocol):
    """A model that answers many prompts at once, each without regard to the others: one behind servers.

    Attributes:
        capacity: Number of prompts to ask at once; it may change.
    """

    @property
    def capacity(self) -> int: ...

    def acomplete(
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
    ) -> Awaitable[list[str]]:
        """Return completions of one prompt; it may be called from any event loop, any number of times at once.

        Args:
            prompt: See `Completer.complete`, as for the other arguments.
            samples: Number of completions.
            max_new_tokens: Maximum number of tokens of a completion.
            temperature: Sampling temperature.
            top_p: Nucleus sampling threshold.
            top_k: Number of likeliest tokens that are sampled from; 0 means all.
            stop: When a completion is complete.
            seed: Random seed.
            priority: Prompts with a lower number are asked first.

        Raises:
            Refused: The model does not take the prompt.
            ModelFailed: The model can't be used.
        """


def chats(model: Completer) -> bool:
    """Return True if the model takes prompts as messages. Models of other packages need not have `chat`."""
    return bool(getattr(model, "chat", False))


def known(model: Completer, **options: Any) -> dict[str, Any]:
    """Return those of the options that the model's `complete` takes. Models of other packages need not have `skip`,
    `on_refusal` and `top_k`."""
    names = inspect.signature(model.complete).parameters
    if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in names.values()):
        return options
    return {name: value for name, value in options.items() if name in names}


def fits(model: Completer, prompt: str | Conversation, new_tokens: int) -> bool:
    """Return True if a prompt and its completion fit the model's context. Tokens are counted only if it may not fit: a
    server is asked for it."""
    texts = [prompt] if isinstance(prompt, str) else [message["content"] for message in prompt]
    at_most = sum(len(text.encode("utf-8", "replace")) + _TEMPLATE for text in texts)
    return at_most + new_tokens <= model.context or model.tokens(prompt) + new_tokens <= model.context


_TEMPLATE = 64
"""More tokens than a chat template puts round a message, the default message of a system included."""


class ModelFailed(RuntimeError):
    """A model can't be loaded, reached or used. The message names the remedy."""


class Refused(ModelFailed):
    """A model does not take a prompt, such as one that is too long."""


def load(name: str, **options: Any) -> Completer:
    """Load a model.

    Args:
        name: ``http://host:port/v1#MODEL`` is a server, or several that serve the same model, with commas between their
            addresses; ``scripted:FILE`` a file of answers (for tests); anything else a folder or name that transformers
            loads (a folder with one ``.gguf`` file and no ``config.json`` is read as GGUF).
        options: Keyword arguments of the backend's constructor; ``processes`` is the number of processes in which
            transformers runs the model (1: in this one; 0: one for each GPU, or else for each processor).

    Raises:
        ModelFailed: There is no such model, or its backend is not installed.
    """
    if name.startswith(("http://", "https://")):
        from selftaught.generator.models.openai import OpenAI

        address, _, model = name.partition("#")
        return OpenAI(address, model, **options)
    if name.startswith("scripted:"):
        from selftaught.generator.models.scripted import Scripted

        return Scripted.from_file(name.removeprefix("scripted:"), **options)
    if (number := options.pop("processes", 1)) != 1:
        from selftaught.generator.models.processes import Processes

        return Processes(name, number, **options)
    from selftaught.generator.models.transformers import Transformers

    return Transformers.from_name(name, **options)


def encodable(text: str) -> str:
    """Return what a model wrote as a text that files can have: lone surrogates, which a server may send, are ``?``."""
    return text.encode("utf-8", "replace").decode()


def is_complete(text: str, stop: Stop) -> bool:
    """Return True if the text has reached its stop."""
    if callable(stop):
        return stop(text)
    return any(string in text for string in stop)
