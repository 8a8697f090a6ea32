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
from selftaught.trainer import callbacks, concatenation, stages, tracking, weights
from selftaught.trainer.packing import IGNORED, Tokens, collate, pack, tokenize
from selftaught.trainer.presets.preset import StepCallback


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of a fine-tuning, named as in ``TrainingArguments``, TRL's ``SFTConfig`` and ``ModelConfig``.
    `PAPER` has the paper's.

    Attributes:
        learning_rate: Initial learning rate.
        lr_scheduler_type: Schedule of the learning rate.
        warmup_steps: Steps of linear warm-up; a value below 1 is a share of all steps.
        num_train_epochs: Passes over the examples.
        stages: Epochs of several trainings one after the other, joined by ``+`` (``1+2+3+4``), instead of
            `num_train_epochs`: with each the optimiser and the schedule, warm-up included, start anew.
        max_length: Tokens of a packed row; longer examples are left out.
        packing_strategy: ``bfd``: whole examples, best fit, none of which sees another; ``wrapped``: all texts as one,
            cut into rows (see `selftaught.trainer.concatenation`).
        per_device_train_batch_size: Rows in a step on each device.
        gradient_accumulation_steps: Steps whose gradients are added up before an update.
        lora_r: Rank of the LoRA adapters, which are merged into the saved model (0: full fine-tuning).
        lora_alpha: Scaling of the LoRA adapters (0: twice `lora_r`).
        completion_only_loss: Compute the loss on the solution only, not on the puzzle.
        use_example_weights: Multiply the loss of an example by its `weight`.
        annotated: Write what puzzles and solutions return into their signatures, as prompts in that form do.
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
    stages: str = ""
    max_length: int = 1024
    packing_strategy: str = "bfd"
    per_device_train_batch_size: int = 1
    gradient_accumulation_steps: int = 1
    lora_r: int = 0
    lora_alpha: int = 0
    completion_only_loss: bool = False
    use_example_weights: bool = False
    annotated: bool = False
    bf16: str = "auto"
    gradient_checkpointing: bool = False
    load_in_4bit: bool = False
    save_dtype: str = "float32"
    report_to: str = "none"
    save_steps: int = 500
    logging_steps: int = 10


PAPER = Settings(
    lr_scheduler_type="constant_with_warmup",
    warmup_steps=10,
    stages="1+2+3+4",
    packing_strategy="wrapped",
    per_device_train_batch_size=4,
)
"""The settings of Haluptzok et al. 2023, as their code has them: 4 rows of 1,024 tokens in a step."""


class _Trainer(transformers.Trainer):  # type: ignore[misc]  # transformers is not followed
    """Mean loss over the labelled tokens, weighted by their examples' weights; a schedule that starts anew with every
    stage."""

    lr_scheduler: Any
    stages: Sequence[float] = ()

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        if not self.stages or self.lr_scheduler is not None:
            return super().create_scheduler(num_training_steps, optimizer)
        self.lr_scheduler = stages.schedule(
            self.args.lr_scheduler_type,
            optimizer or self.optimizer,
            self.args.get_warmup_steps,
            stages.starts(list(self.stages), num_training_steps),
            num_training_steps,
        )
        return self.lr_scheduler

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
    stages.epochs(settings.stages)  # refused before the model is loaded
    weights.check(settings.bf16, settings.lora_r, settings.load_in_4bit, settings.save_dtype)
    checkpoints = folder / "checkpoints"
    arguments = _training_arguments(checkpoints, settings, seed)  # starts the process group, which loading asks for
    transformers.set_seed(seed)
    loaded = weights.load(base, bf16=arguments.bf16, lora_r=settings.lora_r, load_in_4bit=settings.load_in_4bit)
    tokenizer = loaded.tokenizer
    rows, trained_on = _rows(tokenizer, examples, settings, seed)
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
    trainer.stages = stages.epochs(settings.stages)
    if trainer.stages:
        trainer.add_callback(stages.Restart(trainer.stages))
    last = get_last_checkpoint(str(checkpoints)) if checkpoints.is_dir() else None
    outcome = trainer.train(resume_from_checkpoint=last)
    weights.save(trainer, base, folder, settings.save_dtype)
    if trainer.is_world_process_zero():
        tokenizer.save_pretrained(folder)
        noted = {"model": base, "examples": trained_on, **dataclasses.asdict(settings)}
        (folder / "training.json").write_text(json.dumps(noted, indent=2) + "\n")
    return {
        "examples": trained_on,
        "too_long": len(examples) - trained_on,
        "blocks": len(rows),
        "steps": outcome.global_step,
        "loss": outcome.training_loss,
    }


def _rows(
    tokenizer: Any, examples: Sequence[Example | Pair], settings: Settings, seed: int
) -> tuple[list[list[Tokens]], int]:
    """Return the rows to train on, and how many examples are in them. Raises ValueError for settings that contradict
    each other."""
    if settings.packing_strategy == "wrapped":
        if settings.completion_only_loss or settings.use_example_weights:
            raise ValueError("packing_strategy=wrapped knows no borders of examples: leave out completion_only_loss "
                             "and use_example_weights")  # fmt: skip
        cut = concatenation.rows(tokenizer, examples, settings.max_length, seed, settings.annotated)
        return [[Tokens(ids, ids, 1.0)] for ids in cut], len(examples)
    if settings.packing_strategy != "bfd":
        raise ValueError(f"packing_strategy is bfd or wrapped, not {settings.packing_strategy!r}")
    how = settings.completion_only_loss, settings.use_example_weights, settings.annotated
    rows = pack([tokenize(tokenizer, one, *how) for one in examples], settings.max_length)
    return rows, sum(map(len, rows))


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
        num_train_epochs=sum(stages.epochs(settings.stages)) or settings.num_train_epochs,
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
