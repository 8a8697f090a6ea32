"""Reinforcement learning (GRPO) with TRL, rewarded by the verifier (`selftaught.trainer.rewards.reward`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers.trainer_utils import get_last_checkpoint

from selftaught.generator import prompts
from selftaught.generator.prompts import Style
from selftaught.generator.puzzle import Puzzle
from selftaught.trainer import rewards
from selftaught.trainer.sft import for_training, lora_config


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of a GRPO training, named as in TRL's ``GRPOConfig`` and ``ModelConfig``.

    Attributes:
        learning_rate: Initial learning rate.
        num_generations: Completions sampled for each puzzle, whose rewards are compared with each other.
        per_device_train_batch_size: Completions in one step on each device; over all devices a multiple of
            `num_generations`.
        max_completion_length: Maximum number of tokens of a completion.
        temperature: Sampling temperature of completions.
        num_train_epochs: Passes over the puzzles, unless `max_steps` is set.
        max_steps: Number of optimiser steps (-1: as `num_train_epochs` says).
        beta: Weight of the KL divergence from the base model.
        lora_r: Rank of the LoRA adapters, which are merged into the saved model (0: full fine-tuning).
        lora_alpha: Scaling of the LoRA adapters (0: twice `lora_r`).
        report_to: Experiment trackers, as in ``TrainingArguments``.
        save_steps: Steps between checkpoints.
    """

    learning_rate: float = 1e-6
    num_generations: int = 8
    per_device_train_batch_size: int = 32
    max_completion_length: int = 150
    temperature: float = 0.9
    num_train_epochs: float = 1.0
    max_steps: int = -1
    beta: float = 0.0
    lora_r: int = 0
    lora_alpha: int = 0
    report_to: str = "none"
    save_steps: int = 100


def train(
    base: str, puzzles: Sequence[Puzzle], folder: Path, settings: Settings, style: Style | None = None, seed: int = 0
) -> dict[str, Any]:
    """Train a model to solve puzzles, and save it in Hugging Face's layout.

    Training continues from the last checkpoint in ``folder/checkpoints`` if there is one.

    Args:
        base: The base model: a folder or name that transformers loads.
        puzzles: The puzzles to solve.
        folder: Where the trained model and its checkpoints are saved.
        settings: Settings of the training.
        style: The form of the prompts (None: with few-shot examples).
        seed: Random seed.

    Returns:
        ``puzzles`` (their number), ``steps`` (optimiser steps) and ``rewards`` (the mean reward of each logged step).

    Raises:
        ModelFailed: The base model can't be loaded.
    """
    from datasets import Dataset
    from trl import GRPOTrainer

    loaded = for_training(base)
    rows = [
        {"prompt": prompts.for_solution(puzzle, style or Style()).text, "puzzle": puzzle.source} for puzzle in puzzles
    ]
    checkpoints = folder / "checkpoints"
    trainer = GRPOTrainer(
        model=loaded.model,
        reward_funcs=rewards.reward,
        args=_grpo_config(checkpoints, settings, seed),
        train_dataset=Dataset.from_list(rows),
        processing_class=loaded.tokenizer,
        peft_config=lora_config(settings.lora_r, settings.lora_alpha) if settings.lora_r else None,
    )
    last = get_last_checkpoint(str(checkpoints)) if checkpoints.is_dir() else None
    outcome = trainer.train(resume_from_checkpoint=last)
    if trainer.is_world_process_zero():
        trained = trainer.accelerator.unwrap_model(trainer.model)
        if settings.lora_r:
            trained = trained.merge_and_unload()
        trained.save_pretrained(folder)
        loaded.tokenizer.save_pretrained(folder)
    history = [entry["reward"] for entry in trainer.state.log_history if "reward" in entry]
    return {"puzzles": len(rows), "steps": outcome.global_step, "rewards": history}


def _grpo_config(checkpoints: Path, settings: Settings, seed: int) -> Any:
    from trl import GRPOConfig

    cuda = torch.cuda.is_available()
    return GRPOConfig(
        output_dir=str(checkpoints),
        learning_rate=settings.learning_rate,
        num_generations=settings.num_generations,
        per_device_train_batch_size=settings.per_device_train_batch_size,
        max_completion_length=settings.max_completion_length,
        temperature=settings.temperature,
        num_train_epochs=settings.num_train_epochs,
        max_steps=settings.max_steps,
        beta=settings.beta,
        report_to=settings.report_to,
        save_steps=settings.save_steps,
        save_total_limit=2,
        logging_steps=1,
        seed=seed,
        bf16=cuda and torch.cuda.is_bf16_supported(),
        use_cpu=not cuda,
        disable_tqdm=True,
    )
