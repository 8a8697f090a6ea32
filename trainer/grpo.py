"""Reinforcement learning with the verifier as reward (GRPO), by TRL. The reward is `selftaught.trainer.rewards.reward`."""

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
from selftaught.trainer.sft import for_training


@dataclass(frozen=True, slots=True)
class Settings:
    """How to train. samples: solutions of a puzzle that are compared with each other. new_tokens: of a solution. steps: of the
    optimiser, or 0 for `epochs` over the puzzles. puzzles_a_step: on each device. lora: rank of the adapters, 0 for full
    fine-tuning. beta: weight of the divergence from the model that it started from. report_to: trackers."""

    rate: float = 1e-6
    samples: int = 8
    puzzles_a_step: int = 4
    new_tokens: int = 150
    temperature: float = 0.9
    epochs: float = 1.0
    steps: int = 0
    beta: float = 0.0
    lora: int = 0
    report_to: str = "none"
    save_steps: int = 100


def train(
    base: str, puzzles: Sequence[Puzzle], folder: Path, settings: Settings, style: Style | None = None, seed: int = 0
) -> dict[str, Any]:
    """Train `base` (a folder or name that transformers loads) to solve the puzzles, and save it in Hugging Face's layout.

    Goes on from the last checkpoint in ``folder/checkpoints`` if there is one. Returns counts. Raises ModelFailed.
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
        args=_arguments(checkpoints, settings, seed),
        train_dataset=Dataset.from_list(rows),
        processing_class=loaded.tokenizer,
        peft_config=_adapters(settings.lora) if settings.lora else None,
    )
    last = get_last_checkpoint(str(checkpoints)) if checkpoints.is_dir() else None
    outcome = trainer.train(resume_from_checkpoint=last)
    if trainer.is_world_process_zero():
        trained = trainer.accelerator.unwrap_model(trainer.model)
        if settings.lora:
            trained = trained.merge_and_unload()
        trained.save_pretrained(folder)
        loaded.tokenizer.save_pretrained(folder)
    history = [entry["reward"] for entry in trainer.state.log_history if "reward" in entry]
    return {"puzzles": len(rows), "steps": outcome.global_step, "rewards": history}


def _adapters(rank: int) -> Any:
    import peft

    return peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")


def _arguments(checkpoints: Path, settings: Settings, seed: int) -> Any:
    from trl import GRPOConfig

    card = torch.cuda.is_available()
    return GRPOConfig(
        output_dir=str(checkpoints),
        learning_rate=settings.rate,
        num_generations=settings.samples,
        per_device_train_batch_size=settings.samples * settings.puzzles_a_step,
        max_completion_length=settings.new_tokens,
        temperature=settings.temperature,
        num_train_epochs=settings.epochs,
        max_steps=settings.steps or -1,
        beta=settings.beta,
        report_to=settings.report_to,
        save_steps=settings.save_steps,
        save_total_limit=2,
        logging_steps=1,
        seed=seed,
        bf16=card and torch.cuda.is_bf16_supported(),
        use_cpu=not card,
        disable_tqdm=True,
    )
