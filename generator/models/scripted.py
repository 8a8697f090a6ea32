"""A completer whose completions come from a function or file: for tests."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Container, Iterator, Sequence
from pathlib import Path
from typing import Any

from selftaught.generator.models import ModelFailed, OnRefusal, Stop

Script = Callable[[str, random.Random], str]
"""Returns the completion of a prompt, drawn with the given source of randomness."""


class Scripted:
    """Completes prompts by a function. `prompts` records every prompt."""

    def __init__(self, script: Script, *, name: str = "scripted", context: int = 2048, chat: bool = False) -> None:
        self.script, self.name, self.context, self.chat = script, name, context, chat
        self.digest = hashlib.sha256(name.encode()).hexdigest()
        self.prompts: list[str] = []

    @classmethod
    def from_file(cls, path: str, **options: Any) -> Scripted:
        """Return a completer with rules from a JSON file, ``[{"ends": TEXT, "texts": [...]}, ...]``.

        The first rule whose text ends the prompt gives one of its texts.

        Raises:
            ModelFailed: The file can't be read or has another format.
        """
        try:
            rules = [(rule["ends"], rule["texts"]) for rule in json.loads(Path(path).read_text())]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelFailed(f"{path}: not a script: {error}") from error

        def script(prompt: str, rng: random.Random) -> str:
            return next((rng.choice(texts) for ends, texts in rules if prompt.endswith(ends)), "")

        made = cls(script, name=f"scripted:{Path(path).name}", **options)
        made.digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        return made

    def tokens(self, text: str) -> int:
        """Return a token for every four characters."""
        return len(text) // 4 + 1

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
        """Return the script's completions (see `selftaught.generator.models.Completer`)."""
        for number, prompt in enumerate(prompts):
            if number in skip:
                continue
            self.prompts.append(prompt)
            rng = random.Random(f"{seed} {number}")
            yield number, [self.script(prompt, rng) for _ in range(samples)]
