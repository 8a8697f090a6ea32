"""Language models behind one interface: prompts in, completions out.

A backend is a module: `transformers` (CPU or GPU, Hugging Face folders and GGUF), `openai` (any server with
``/v1/completions`` or ``/v1/chat/completions``) and `scripted` (for tests). `load` selects one by the form of a name
and imports only that one.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Container, Iterator, Sequence
from typing import Any, Protocol

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
        chat: True if a prompt is a user's message, and its completion the model's answer; False if texts are continued.
    """

    @property
    def name(self) -> str: ...

    @property
    def digest(self) -> str: ...

    @property
    def context(self) -> int: ...

    @property
    def chat(self) -> bool: ...

    def tokens(self, text: str) -> int:
        """Return the number of tokens of a text, or an upper estimate if the tokenizer is not available."""

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
        """Sample completions of prompts.

        Args:
            prompts: The texts to continue, or messages to answer (see `chat`).
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


class ModelFailed(RuntimeError):
    """A model can't be loaded, reached or used. The message names the remedy."""


def load(name: str, **options: Any) -> Completer:
    """Load a model.

    Args:
        name: ``http://host:port/v1#MODEL`` is a server, ``scripted:FILE`` a file of answers (for tests), anything else
            a folder or name that transformers loads (a folder with one ``.gguf`` file and no ``config.json`` is read as
            GGUF).
        options: Keyword arguments of the backend's constructor.

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
    from selftaught.generator.models.transformers import Transformers

    return Transformers.from_name(name, **options)


def is_complete(text: str, stop: Stop) -> bool:
    """Return True if the text has reached its stop."""
    if callable(stop):
        return stop(text)
    return any(string in text for string in stop)
