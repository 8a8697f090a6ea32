"""Supervised fine-tuning on verified pairs with transformers' Trainer: full or LoRA, one device or several, resumable.

Examples are packed into rows (`selftaught.trainer.packing`); the precision of the weights, and how they are saved from
shards, is in `selftaught.trainer.weights`. For several GPUs see `selftaught train -h`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import transformers
from torch.nn.functional import cross_entropy
from transformers.trainer_utils import get_last_checkpoint

from selftaught.generator.example import Example
from selftaught.generator.pair import Pair
from selftaught.trainer import callbacks, tracking, weights
from selftaught.trainer.packing import IGNORED, collate, pack, tokenize
from selftaught.trainer.presets.preset import StepCallback


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of a fine-tuning, named as in ``TrainingArguments``, TRL's ``SFTConfig`` and ``ModelConfig``. The
    defaults are the paper's.

    Attributes:
        learning_rate: Initial learning rate.
        lr_scheduler_type: Schedule of the learning rate.
        warmup_steps: Steps of linear warm-up; a value below 1 is a share of all steps.
        num_train_epochs: Passes over the examples.
        max_length: Tokens of a packed row; longer examples are left out.
        per_device_train_batch_size: Rows in a step on each device.
        gradient_accumulation_steps: Steps whose gradients are added up before an update.
        lora_r: Rank of the LoRA adapters, which are merged into the saved model (0: full fine-tuning).
        lora_alpha: Scaling of the LoRA adapters (0: twice `lora_r`).
        completion_only_loss: Compute the loss on the solution only, not on the puzzle.
        use_example_weights: Multiply the loss of an example by its `weight`.
        bf16: Multiply in bfloat16 (autocast): ``true``, ``false``, or ``auto``: if the device does so in hardware. The
            weights that are trained, and the optimiser's state, are in float32 in any case.
        gradient_checkpointing: Compute activations again in the backward pass: less memory, a third more time.
        load_in_4bit: Quantise the base of LoRA adapters to 4 bits (QLoRA); needs bitsandbytes.
        save_dtype: Dtype of the saved weights. bfloat16 takes half the space, and rounds what was learnt.
        report_to: Experiment trackers: ``none``, ``all``, or names with commas between them.
        save_steps: Steps between checkpoints.
        logging_steps: Steps between reports.
    """

    learning_rate: float = 5e-6
    lr_scheduler_type: str = "constant"
    warmup_steps: float = 0.0
    num_train_epochs: float = 4.0
    max_length: int = 1024
    per_device_train_batch_size: int = 1
    gradient_accumulation_steps: int = 1
    lora_r: int = 0
    lora_alpha: int = 0
    completion_only_loss: bool = False
    use_example_weights: bool = False
    bf16: str = "auto"
    gradient_checkpointing: bool = False
    load_in_4bit: bool = False
    save_dtype: str = "float32"
    report_to: str = "none"
    save_steps: int = 500
    logging_steps: int = 10


class _Trainer(transformers.Trainer):  # type: ignore[misc]  # transformers is not followed
    """Mean loss over the labelled tokens, weighted by their examples' weights."""

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        labels, weights = inputs.pop("labels"), inputs.pop("weights")
        outputs = model(**inputs, use_cache=False)
        logits = outputs.logits[:, :-1].flatten(0, 1).float()
        losses = cross_entropy(logits, labels[:, 1:].flatten(), ignore_index=IGNORED, reduction="none")
        counted = weights[:, 1:].flatten() * (labels[:, 1:].flatten() != IGNORED)
        total = num_items_in_batch if num_items_in_batch is not None else counted.sum().clamp_min(1e-6)
        loss = (losses * counted).sum() / total
        if num_items_in_batch is not None and self.args.average_tokens_across_devices:
            loss = loss * self.accelerator.num_processes
        return (loss, outputs) if return_outputs else loss


def train(
    base: str,
    examples: Sequence[Example | Pair],
    folder: Path,
    settings: Settings,
    seed: int = 0,
    on_step: StepCallback | None = None,
) -> dict[str, Any]:
    """Fine-tune a model on verified pairs, and save it in Hugging Face's layout.

    Training continues from the last checkpoint in ``folder/checkpoints`` if there is one. ``folder/log.jsonl`` has a
    line for each logged step. With several processes every one calls this, and the first one saves.

    Args:
        base: The base model: a folder or name that transformers loads (GGUF too).
        examples: The pairs.
        folder: Where the trained model and its checkpoints are saved.
        settings: Settings of the training.
        seed: Random seed.
        on_step: Called at every logged step, in the first process.

    Returns:
        ``examples`` (trained on), ``too_long`` (left out), ``blocks`` (packed rows), ``steps`` (optimiser steps) and
        ``loss`` (mean).

    Raises:
        ModelFailed: The base model can't be loaded.
        ValueError: There is no example of at most `max_length` tokens, or settings can't be used here.
    """
    weights.check(settings.bf16, settings.lora_r, settings.load_in_4bit, settings.save_dtype)
    checkpoints = folder / "checkpoints"
    arguments = _training_arguments(checkpoints, settings, seed)  # starts the process group, which loading asks for
    transformers.set_seed(seed)
    loaded = weights.load(base, bf16=arguments.bf16, lora_r=settings.lora_r, load_in_4bit=settings.load_in_4bit)
    tokenizer = loaded.tokenizer
    tokens = [tokenize(tokenizer, one, settings.completion_only_loss, settings.use_example_weights) for one in examples]
    rows = pack(tokens, settings.max_length)
    if not rows:
        raise ValueError("there is nothing to train on: no example, or none of at most max_length tokens")
    trainer = _Trainer(
        model=_adapted(loaded.model.train(), settings),
        args=arguments,
        train_dataset=rows,
        data_collator=lambda batch: collate(batch, tokenizer.pad_token_id or 0),
        callbacks=[callbacks.Log(folder), *([callbacks.Progress(on_step)] if on_step else [])],
    )
    trainer.remove_callback(transformers.PrinterCallback)  # `on_step` gets the same figures
    last = get_last_checkpoint(str(checkpoints)) if checkpoints.is_dir() else None
    outcome = trainer.train(resume_from_checkpoint=last)
    weights.save(trainer, base, folder, settings.save_dtype)
    if trainer.is_world_process_zero():
        tokenizer.save_pretrained(folder)
        (folder / "training.json").write_text(json.dumps(dataclasses.asdict(settings), indent=2) + "\n")
    packed = sum(map(len, rows))
    return {
        "examples": packed,
        "too_long": len(tokens) - packed,
        "blocks": len(rows),
        "steps": outcome.global_step,
        "loss": outcome.training_loss,
    }


def _adapted(model: Any, settings: Settings) -> Any:
    """Return the model with LoRA adapters in float32, if the settings want them."""
    if not settings.lora_r:
        return model
    import peft

    if settings.load_in_4bit:
        model = peft.prepare_model_for_kbit_training(model, use_gradient_checkpointing=settings.gradient_checkpointing)
    elif settings.gradient_checkpointing:
        model.enable_input_require_grads()  # or no gradient passes a checkpointed layer whose weights are frozen
    return peft.get_peft_model(model, weights.lora_config(settings.lora_r, settings.lora_alpha))


def _training_arguments(checkpoints: Path, settings: Settings, seed: int) -> Any:
    return transformers.TrainingArguments(
        output_dir=str(checkpoints),
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.lr_scheduler_type,
        warmup_steps=settings.warmup_steps,
        num_train_epochs=settings.num_train_epochs,
        per_device_train_batch_size=settings.per_device_train_batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation_steps,
        weight_decay=0.0,
        optim="adamw_torch",
        bf16=weights.autocasts(settings.bf16),
        activation_checkpointing=weights.checkpoints(settings.gradient_checkpointing),
        save_steps=settings.save_steps,
        save_total_limit=2,
        logging_steps=settings.logging_steps,
        report_to=tracking.names(settings.report_to),
        remove_unused_columns=False,
        seed=seed,
        data_seed=seed,
        disable_tqdm=True,
        use_cpu=weights.device() == "cpu",
    )
