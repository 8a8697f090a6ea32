"""The learner of pretrained models: it fine-tunes a model that transformers loads."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selftaught.generator.example import Example
from selftaught.generator.models.transformers import Transformers
from selftaught.trainer import sft
from selftaught.trainer.tracking import StepCallback


@dataclass(frozen=True, slots=True)
class PretrainedLearner:
    """A pretrained model, fine-tuned from its own weights in every iteration (see
    `selftaught.trainer.presets.Learner`).

    Attributes:
        model: A folder or name that transformers loads.
        settings: Settings of the fine-tuning.
        batch_size: Maximum number of sequences that are sampled at once.
        context: Tokens of prompt and completion (None: what the model was trained with).
    """

    model: str
    settings: sft.Settings
    batch_size: int = 64
    context: int | None = None

    def make_base(self, folder: Path, seed: int, on_step: StepCallback | None = None) -> None:
        """Record the name of the base model, which is not copied."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "base.json").write_text(json.dumps({"model": self.model}) + "\n")

    def load(self, folder: Path) -> Transformers:
        """Return the model in a folder for sampling."""
        return Transformers.from_name(self._name(folder), batch_size=self.batch_size, context=self.context)

    def train(
        self, base: Path, examples: Sequence[Example], folder: Path, seed: int, on_step: StepCallback | None = None
    ) -> dict[str, Any]:
        """Fine-tune the base model on examples."""
        return sft.train(self._name(base), examples, folder, self.settings, seed, on_step)

    def to_dict(self) -> dict[str, object]:
        """Return the settings as plain data."""
        return dataclasses.asdict(self)

    def _name(self, folder: Path) -> str:
        noted = folder / "base.json"
        return str(json.loads(noted.read_text())["model"]) if noted.exists() else str(folder)
