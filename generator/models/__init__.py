"""Language models behind one small interface: text in, texts out.

A backend is a module: `transformers` (CPU or GPU, Hugging Face folders and GGUF), `openai` (any server with
``/v1/completions``), `scripted` (for tests). `load` picks one by the form of a name; nothing is imported before that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

Stop = Callable[[str], bool] | Sequence[str]
"""When a completion is complete: a function of the text so far, or strings, before the first of which it ends.

A function may have an attribute `strings`: what a server that takes only strings gets instead. They must not stop
earlier than the function would.
"""


class Completer(Protocol):
    """A language model that continues texts.

    name: as provenance records it. digest: changes when the weights do. context: tokens of prompt and completion together.
    """

    @property
    def name(self) -> str: ...

    @property
    def digest(self) -> str: ...

    @property
    def context(self) -> int: ...

    def tokens(self, text: str) -> int:
        """How many tokens a prompt has (an upper estimate where the tokenizer is out of reach)."""

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
        """For every prompt its number and `samples` continuations, as soon as they are there, in any order.

        temperature: 0 is greedy. stop: see `Stop`; what follows the stop may be cut or not. seed: the same seed gives the
        same texts, as far as the backend can promise that. Raises ModelFailed.
        """


class ModelFailed(RuntimeError):
    """A model can't be loaded, reached or used; the message names the remedy."""


def load(name: str, **options: Any) -> Completer:
    """The model of that name: ``http://host:port/v1#MODEL`` is a server, ``scripted:FILE`` a file of answers (for tests),
    anything else a folder or a name that transformers loads (a folder with one ``.gguf`` file is read as such).

    options: passed to the backend. Raises ModelFailed.
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
    """Whether the text has reached its stop."""
    if callable(stop):
        return stop(text)
    return any(string in text for string in stop)
