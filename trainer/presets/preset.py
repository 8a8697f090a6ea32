"""A run's settings as the loop takes them: the model and its training (a learner), how pairs are generated, and how
models are evaluated."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from selftaught.generator.example import Example
from selftaught.generator.models import Completer
from selftaught.generator.novelty import HeldOut
from selftaught.generator.prompts import Style
from selftaught.generator.recipe import Recipe
from selftaught.generator.seeds import Seed
from selftaught.sandbox import Limits
from selftaught.trainer.evaluation import Problem

StepCallback = Callable[[int, int, float], None]
"""Called with the step, the number of steps, and the mean loss."""


class Learner(Protocol):
    """Makes and trains models that are stored in folders."""

    def make_base(self, folder: Path, seed: int, on_step: StepCallback | None = None) -> None:
        """Create the base model.

        Args:
            folder: Where it is stored.
            seed: Random seed.
            on_step: Called during training.
        """

    def load(self, folder: Path) -> Completer:
        """Return the model in a folder for sampling. Raises ModelFailed."""

    def train(
        self, base: Path, examples: Sequence[Example], folder: Path, seed: int, on_step: StepCallback | None = None
    ) -> dict[str, Any]:
        """Train a copy of the base model.

        Args:
            base: Folder of the base model.
            examples: Verified pairs.
            folder: Where the trained model is stored.
            seed: Random seed.
            on_step: Called during training.

        Returns:
            Counts to record with the run; may be empty.
        """

    def close(self) -> None:
        """Free what loaded models take, such as a server. Called when the run ends; a learner need not have it."""

    def to_dict(self) -> dict[str, object]:
        """Return the settings that decide what is learnt, as plain data."""


@dataclass(frozen=True, slots=True)
class Preset:
    """Settings of a run of the loop.

    Attributes:
        name: The preset's name.
        learner: Makes and trains the models.
        recipe: How pairs are generated.
        style: The form of prompts.
        puzzles_per_iteration: Puzzles written in an iteration.
        eval_attempts: Attempts at each held-out problem and temperature.
        eval_temperatures: Sampling temperatures of the evaluation.
        eval_max_new_tokens: Maximum number of tokens of a solution in the evaluation.
        limits: Limits of every verification.
        problems: Returns the held-out problems.
        held_out: Returns the held-out set that the generation excludes.
        seeds: Returns the puzzles for prompts.
        exam: Digest of the held-out problems.
        report_to: Experiment trackers that get the figures of every iteration (see `selftaught.trainer.tracking`).
        base_writes_puzzles: The base model writes the puzzles of every iteration; the latest one solves them.
        quota_grows: The recipe's `max_per_template` is per iteration, so that the total grows with the iterations.
        evaluate_while_training: Evaluate a model while the next one is trained, which needs memory for both.
        notes: What the report says about the meaning of the figures.
    """

    name: str
    learner: Learner
    recipe: Recipe
    style: Style
    puzzles_per_iteration: int
    eval_attempts: int
    eval_temperatures: tuple[float, ...]
    eval_max_new_tokens: int
    limits: Limits
    problems: Callable[[], list[Problem]]
    held_out: Callable[[], HeldOut]
    seeds: Callable[[], list[Seed]]
    exam: str = ""
    report_to: str = "none"
    base_writes_puzzles: bool = False
    quota_grows: bool = False
    evaluate_while_training: bool = False
    notes: str = ""

    def for_iteration(self, iteration: int) -> Recipe:
        """Return the recipe of an iteration, from 1."""
        if not self.quota_grows:
            return self.recipe
        return replace(self.recipe, max_per_template=self.recipe.max_per_template * iteration)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain data."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        plain = {name: value for name, value in fields.items() if not callable(value) and name != "report_to"}
        return {
            **plain,
            "learner": self.learner.to_dict(),
            "recipe": self.recipe.to_dict(),
            "style": dataclasses.asdict(self.style),
            "limits": self.limits.to_dict(),
        }
