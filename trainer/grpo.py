"""Reinforcement learning (GRPO) with TRL, rewarded by the verifier (`selftaught.trainer.rewards.reward`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transformers.trainer_utils import get_last_checkpoint

from selftaught.generator import prompts
from selftaught.generator.prompts import Style
from selftaught.generator.puzzle import Puzzle
from selftaught.trainer import callbacks, rewards, tracking, weights


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
        gradient_accumulation_steps: Steps whose gradients are added up before an update.
        bf16: As in `selftaught.trainer.sft.Settings`.
        gradient_checkpointing: Compute activations again in the backward pass: less memory, a third more time.
        load_in_4bit: Quantise the base of LoRA adapters to 4 bits (QLoRA); needs bitsandbytes.
        save_dtype: Dtype of the saved weights.
        use_vllm: Sample completions with vLLM, which must be installed, not with transformers.
        vllm_mode: ``colocate``: vLLM runs in the training processes and shares their GPUs; ``server``: it is a server
            on GPUs of its own (see docs/training.md), which gets the new weights after each step.
        vllm_server_base_url: Address of that server, such as ``http://node2:8000``.
        vllm_gpu_memory_utilization: colocate: share of a GPU's memory for vLLM.
        vllm_tensor_parallel_size: colocate: GPUs that hold one copy of the model.
        vllm_max_model_length: colocate: tokens of prompt and completion (0: what the model was trained with).
        report_to: Experiment trackers: ``none``, ``all``, or names with commas between them.
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
    gradient_accumulation_steps: int = 1
    bf16: str = "auto"
    gradient_checkpointing: bool = True
    load_in_4bit: bool = False
    save_dtype: str = "float32"
    use_vllm: bool = False
    vllm_mode: str = "colocate"
    vllm_server_base_url: str = ""
    vllm_gpu_memory_utilization: float = 0.3
    vllm_tensor_parallel_size: int = 1
    vllm_max_model_length: int = 0
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
        ValueError: Settings can't be used here.
    """
    rows = [
        {"prompt": prompts.for_solution(puzzle, style or Style()).text, "puzzle": puzzle.source} for puzzle in puzzles
    ]
    return {"puzzles": len(rows), **train_on(base, rows, rewards.reward, folder, settings, seed)}


def train_on(
    base: str,
    rows: Sequence[dict[str, Any]],
    reward: Callable[..., Any],
    folder: Path,
    settings: Settings,
    seed: int = 0,
    on_trainer: Callable[[Any], None] = lambda trainer: None,
) -> dict[str, Any]:
    """Train a model on rows of any kind, as `train` does on puzzles.

    Args:
        base: The base model.
        rows: The rows: ``prompt``, and the columns that the reward function takes.
        reward: A reward function of TRL's.
        folder: Where the trained model and its checkpoints are saved.
        settings: Settings of the training.
        seed: Random seed.
        on_trainer: Called with TRL's trainer before it trains.

    Returns:
        ``steps`` and ``rewards``.
    """
    from datasets import Dataset
    from trl import GRPOTrainer

    _check(settings)
    checkpoints = folder / "checkpoints"
    arguments = _grpo_config(checkpoints, settings, seed)
    loaded = weights.load(base, bf16=arguments.bf16, lora_r=settings.lora_r, load_in_4bit=settings.load_in_4bit)
    trainer = GRPOTrainer(
        model=loaded.model,
        reward_funcs=reward,
        args=arguments,
        train_dataset=Dataset.from_list(list(rows)),
        processing_class=loaded.tokenizer,
        peft_config=weights.lora_config(settings.lora_r, settings.lora_alpha) if settings.lora_r else None,
        callbacks=[callbacks.Log(folder)],
    )
    for parameter in trainer.model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()  # TRL rounds adapters beside 4 bits to bfloat16
    on_trainer(trainer)
    last = get_last_checkpoint(str(checkpoints)) if checkpoints.is_dir() else None
    outcome = trainer.train(resume_from_checkpoint=last)
    weights.save(trainer, base, folder, settings.save_dtype)
    if trainer.is_world_process_zero():
        loaded.tokenizer.save_pretrained(folder)
    history = [entry["reward"] for entry in trainer.state.log_history if "reward" in entry]
    return {"steps": outcome.global_step, "rewards": history}


def _check(settings: Settings) -> None:
    """Raise ValueError, with the remedy, if settings don't fit each other or this machine."""
    weights.check(settings.bf16, settings.lora_r, settings.load_in_4bit, settings.save_dtype)
    if settings.vllm_mode not in ("colocate", "server"):
        raise ValueError(f"vllm_mode must be colocate or server, not {settings.vllm_mode!r}")
    if settings.vllm_server_base_url and not (settings.use_vllm and settings.vllm_mode == "server"):
        raise ValueError("vllm_server_base_url is for use_vllm=true vllm_mode=server")
    if settings.use_vllm and find_spec("vllm") is None:
        raise ValueError("use_vllm needs vLLM: pip install vllm; or leave use_vllm out: transformers samples then")


def _grpo_config(checkpoints: Path, settings: Settings, seed: int) -> Any:
    from trl import GRPOConfig

    return GRPOConfig(
        output_dir=str(checkpoints),
        learning_rate=settings.learning_rate,
        num_generations=settings.num_generations,
        per_device_train_batch_size=settings.per_device_train_batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation_steps,
        max_completion_length=settings.max_completion_length,
        temperature=settings.temperature,
        num_train_epochs=settings.num_train_epochs,
        max_steps=settings.max_steps,
        beta=settings.beta,
        gradient_checkpointing=weights.checkpoints(settings.gradient_checkpointing),
        use_vllm=settings.use_vllm,
        vllm_mode=settings.vllm_mode,
        vllm_server_base_url=settings.vllm_server_base_url or None,
        vllm_gpu_memory_utilization=settings.vllm_gpu_memory_utilization,
        vllm_tensor_parallel_size=settings.vllm_tensor_parallel_size,
        vllm_max_model_length=settings.vllm_max_model_length or None,
        report_to=tracking.names(settings.report_to),
        save_steps=settings.save_steps,
        save_total_limit=2,
        logging_steps=1,
        seed=seed,
        bf16=weights.autocasts(settings.bf16),
        use_cpu=weights.device() == "cpu",
        disable_tqdm=True,
    )
