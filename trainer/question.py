"""What a model is asked in an evaluation."""

from __future__ import annotations

from typing import Protocol

from selftaught.generator.models import Stop
from selftaught.generator.prompts import Prompt, Style
from selftaught.sandbox.task import AnyTask


class Question(Protocol):
    """What a model is asked, and what judges its answers: a held-out puzzle, or a problem of a benchmark.

    Attributes:
        id: Its id in results.
        group: The group whose Pass@k is also reported separately; or empty.
        trivial: True if a trivial answer solves it; such problems are reported separately.
        source: A text that differs from that of every other question: what verdicts are known by.
        stop: When a completion that continues the prompt is complete.
    """

    @property
    def id(self) -> str: ...

    @property
    def group(self) -> str: ...

    @property
    def trivial(self) -> bool: ...

    @property
    def source(self) -> str: ...

    @property
    def stop(self) -> Stop: ...

    def prompt(self, style: Style, chat: bool) -> Prompt:
        """Return the prompt.

        Args:
            style: Its form.
            chat: Ask in a message.
        """

    def read(self, prompt: Prompt, text: str) -> str | None:
        """Return the solution in what a model wrote; None if no code is understood in it."""

    def task(self, ident: str, solution: str) -> AnyTask:
        """Return the task of a solution."""
