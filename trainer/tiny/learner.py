"""The learner of the preset `tiny`: it trains the base model from scratch, and fine-tunes it on examples."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from selftaught.generator.example import Example
from selftaught.trainer import heldout
from selftaught.trainer.tiny import corpus, training
from selftaught.trainer.tiny.completer import Tiny
from selftaught.trainer.tiny.guard import Guard
from selftaught.trainer.tiny.model import Config, Transformer
from selftaught.trainer.tiny.tokenizer import VOCABULARY

StepCallback = Callable[[int, int, float], None]


class Leaked(ValueError):
    """A held-out puzzle is among the examples to train on."""


@dataclass(frozen=True, slots=True)
class TinyLearner:
    """Makes and trains tiny models (see `selftaught.trainer.presets.Learner`).

    Attributes:
        num_documents: Documents of the corpus on which the base model is trained.
        hidden_size: Size of the hidden states.
        num_hidden_layers: Number of layers.
        num_threads: Number of torch's threads. Sums, and so the weights, depend on it.
        noise: How solutions of the corpus are wrong.
        pretraining: Settings of the base model's training.
        finetuning: Settings of the training on pairs.
    """

    num_documents: int = 30_000
    hidden_size: int = 128
    num_hidden_layers: int = 4
    num_threads: int = 1
    noise: corpus.Noise = field(default_factory=corpus.Noise)
    pretraining: training.Settings = field(default_factory=lambda: training.Settings(muon_learning_rate=0.02))
    finetuning: training.Settings = field(
        default_factory=lambda: training.Settings(
            learning_rate=2e-3, num_train_epochs=4, warmup_steps=20, prompt_loss_weight=0.1
        )
    )

    def corpus(self, seed: int) -> list[corpus.Document]:
        """Return the documents for the base model, without held-out puzzles."""
        guard = Guard(heldout.records("machine"))
        return list(itertools.islice(corpus.documents(seed, self.noise, guard.allows), self.num_documents))

    def make_base(self, folder: Path, seed: int, on_step: StepCallback | None = None) -> None:
        """Train the base model from scratch."""
        torch.set_num_threads(self.num_threads)
        torch.manual_seed(seed)
        num_attention_heads = max(1, self.hidden_size // 32)
        model = Transformer(
            Config(
                len(VOCABULARY),
                self.hidden_size,
                self.num_hidden_layers,
                num_attention_heads,
                _intermediate_size(self.hidden_size),
            )
        )
        examples = [training.example(one.sat, one.sol) for one in self.corpus(seed)]
        training.train(model, examples, self.pretraining, seed, on_step)
        Tiny(model, "tiny-base").save(folder)

    def load(self, folder: Path) -> Tiny:
        """Return the model in a folder for sampling."""
        torch.set_num_threads(self.num_threads)
        return Tiny.load(folder, f"tiny-{folder.parent.name}")

    def train(
        self, base: Path, examples: Sequence[Example], folder: Path, seed: int, on_step: StepCallback | None = None
    ) -> dict[str, Any]:
        """Fine-tune the base model on examples.

        Raises:
            Leaked: A held-out puzzle is among the examples.
        """
        guard = Guard(heldout.records("machine"))
        for one in examples:
            if broken := guard.breaks(one.puzzle):
                raise Leaked(f"example {one.id} breaks the held-out set's rule {broken!r}: {one.puzzle}")
        torch.set_num_threads(self.num_threads)
        model = Tiny.load(base).model
        mean = sum(one.weight for one in examples) / max(1, len(examples)) or 1.0
        prepared = [training.example(one.puzzle, one.solution, one.weight / mean) for one in examples]
        training.train(model, prepared, self.finetuning, seed, on_step)
        Tiny(model).save(folder)
        return {}

    def to_dict(self) -> dict[str, object]:
        """Return the settings as plain data."""
        return dataclasses.asdict(self)


def _intermediate_size(hidden_size: int) -> int:
    """Return about 8/3 of the hidden size, as a multiple of 8."""
    return round(hidden_size * 8 / 3 / 8) * 8 or 8
