"""Supervised fine-tuning on verified pairs with transformers' Trainer: full or LoRA, one device or several, resumable.

Examples are packed into rows, each followed by an end token. Position ids restart with every example; transformers
derives from them that no token attends to another example. For several GPUs see `selftaught train -h`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch.nn.functional import cross_entropy
from transformers.trainer_utils import get_last_checkpoint

from selftaught.generator.example import Example, training_text
from selftaught.generator.models.transformers import Transformers
from selftaught.generator.pair import Pair
from selftaught.trainer import concatenation, stages

StepCallback = Callable[[int, int, float], None]
_IGNORED = -100


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
        report_to: Experiment trackers.
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


@dataclass(frozen=True, slots=True)
class Tokens:
    """An example as token ids, its labels (-100: no loss), and its weight."""

    ids: list[int]
    labels: list[int]
    weight: float


def tokenize(tokenizer: Any, one: Example | Pair, settings: Settings) -> Tokens:
    """Return the tokens of an example's text followed by an end token."""
    text = training_text(one.puzzle, one.solution)
    found = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
    ids = [*found["input_ids"], tokenizer.eos_token_id]
    labels = list(ids)
    if settings.completion_only_loss:
        body = len(one.puzzle) + 2 + len(one.solution.partition("\n")[0])
        labels = [
            number if start >= body else _IGNORED
            for number, (start, _) in zip(ids, [*found["offset_mapping"], (len(text), 0)], strict=True)
        ]
    return Tokens(ids, labels, one.weight if settings.use_example_weights else 1.0)


def pack(examples: Sequence[Tokens], max_length: int) -> list[list[Tokens]]:
    """Return rows of at most `max_length` tokens: best fit, longest examples first. Longer examples are left out."""
    rows: list[list[Tokens]] = []
    free: list[int] = []
    for one in sorted(examples, key=lambda example: -len(example.ids)):
        size = len(one.ids)
        if size > max_length:
            continue
        fitting = [number for number, left in enumerate(free) if left >= size]
        if fitting:
            fullest = min(fitting, key=lambda number: free[number])
            rows[fullest].append(one)
            free[fullest] -= size
        else:
            rows.append([one])
            free.append(max_length - size)
    return rows


def collate(rows: Sequence[list[Tokens]], pad: int) -> dict[str, torch.Tensor]:
    """Return a batch of packed rows. It has no attention mask on purpose: restarting position ids separate the
    examples.

    Args:
        rows: Packed rows.
        pad: Id of the padding token.

    Returns:
        ``input_ids``, ``labels``, ``position_ids`` and ``weights``, each of shape (rows, longest row).
    """
    longest = max(sum(len(one.ids) for one in row) for row in rows)
    ids = torch.full((len(rows), longest), pad)
    labels = torch.full((len(rows), longest), _IGNORED)
    positions = torch.arange(longest).repeat(len(rows), 1)
    weights = torch.zeros(len(rows), longest)
    for number, row in enumerate(rows):
        start = 0
        for one in row:
            end = start + len(one.ids)
            ids[number, start:end] = torch.tensor(one.ids)
            labels[number, start:end] = torch.tensor(one.labels)
            labels[number, start] = _IGNORED  # what the last token of another example would predict
            positions[number, start:end] = torch.arange(len(one.ids))
            weights[number, start:end] = one.weight
            start = end
        positions[number, start:] = torch.arange(longest - start)
    return {"input_ids": ids, "labels": labels, "position_ids": positions, "weights": weights}


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
        losses = cross_entropy(logits, labels[:, 1:].flatten(), ignore_index=_IGNORED, reduction="none")
        counted = weights[:, 1:].flatten() * (labels[:, 1:].flatten() != _IGNORED)
        total = num_items_in_batch if num_items_in_batch is not None else counted.sum().clamp_min(1e-6)
        loss = (losses * counted).sum() / total
        if num_items_in_batch is not None and self.args.average_tokens_across_devices:
            loss = loss * self.accelerator.num_processes
        return (loss, outputs) if return_outputs else loss


class _Progress(transformers.TrainerCallback):  # type: ignore[misc]
    def __init__(self, on_step: StepCallback) -> None:
        self._on_step = on_step

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        if logs and "loss" in logs:
            self._on_step(state.global_step, state.max_steps, logs["loss"])


def train(
    base: str,
    examples: Sequence[Example | Pair],
    folder: Path,
    settings: Settings,
    seed: int = 0,
    on_step: StepCallback | None = None,
) -> dict[str, Any]:
    """Fine-tune a model on verified pairs, and save it in Hugging Face's layout.

    Training continues from the last checkpoint in ``folder/checkpoints`` if there is one.

    Args:
        base: The base model: a folder or name that transformers loads (GGUF too).
        examples: The pairs.
        folder: Where the trained model and its checkpoints are saved.
        settings: Settings of the training.
        seed: Random seed.
        on_step: Called at every logged step.

    Returns:
        ``examples`` (trained on), ``too_long`` (left out), ``blocks`` (packed rows), ``steps`` (optimiser steps) and
        ``loss`` (mean).

    Raises:
        ModelFailed: The base model can't be loaded.
        ValueError: There is no example of at most `max_length` tokens.
    """
    stages.epochs(settings.stages)  # refused before the model is loaded
    transformers.set_seed(seed)
    loaded = for_training(base)
    model, tokenizer = loaded.model.train(), loaded.tokenizer
    rows, trained_on = _rows(tokenizer, examples, settings, seed)
    if not rows:
        raise ValueError("there is nothing to train on: no example, or none of at most max_length tokens")
    if settings.lora_r:
        import peft

        model = peft.get_peft_model(model, lora_config(settings.lora_r, settings.lora_alpha))
    checkpoints = folder / "checkpoints"
    trainer = _Trainer(
        model=model,
        args=_training_arguments(checkpoints, settings, seed),
        train_dataset=rows,
        data_collator=lambda batch: collate(batch, tokenizer.pad_token_id or 0),
        callbacks=[_Progress(on_step)] if on_step else [],
    )
    trainer.remove_callback(transformers.PrinterCallback)  # `on_step` gets the same figures
    trainer.stages = stages.epochs(settings.stages)
    if trainer.stages:
        trainer.add_callback(stages.Restart(trainer.stages))
    last = get_last_checkpoint(str(checkpoints)) if checkpoints.is_dir() else None
    outcome = trainer.train(resume_from_checkpoint=last)
    if trainer.is_world_process_zero():
        trained = trainer.accelerator.unwrap_model(trainer.model)
        if settings.lora_r:
            trained = trained.merge_and_unload()
        trained.save_pretrained(folder)
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
        cut = concatenation.rows(tokenizer, examples, settings.max_length, seed)
        return [[Tokens(ids, ids, 1.0)] for ids in cut], len(examples)
    if settings.packing_strategy != "bfd":
        raise ValueError(f"packing_strategy is bfd or wrapped, not {settings.packing_strategy!r}")
    rows = pack([tokenize(tokenizer, one, settings) for one in examples], settings.max_length)
    return rows, sum(map(len, rows))


def for_training(base: str) -> Transformers:
    """Return a model to train: in float32 on a CPU, and without the quantisation settings that loading has already
    undone.

    Raises:
        ModelFailed: The model can't be loaded.
    """
    loaded = Transformers.from_name(base, dtype=None if torch.cuda.is_available() else "float32")
    model = loaded.model
    if "gguf" in str(getattr(model, "quantization_method", "")).lower():
        model.hf_quantizer, model.is_quantized = None, False
        del model.quantization_method
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
    return loaded


def lora_config(r: int, lora_alpha: int) -> Any:
    """Return PEFT's configuration of LoRA adapters on all linear layers; `lora_alpha` 0 means twice `r`."""
    import peft

    return peft.LoraConfig(r=r, lora_alpha=lora_alpha or 2 * r, target_modules="all-linear", task_type="CAUSAL_LM")


def _training_arguments(checkpoints: Path, settings: Settings, seed: int) -> Any:
    cuda = torch.cuda.is_available()
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
        bf16=cuda and torch.cuda.is_bf16_supported(),
        save_steps=settings.save_steps,
        save_total_limit=2,
        logging_steps=settings.logging_steps,
        report_to=settings.report_to,
        remove_unused_columns=False,
        seed=seed,
        data_seed=seed,
        disable_tqdm=True,
        use_cpu=not cuda,
    )


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
    settings: Settings
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
        return train(self._name(base), examples, folder, self.settings, seed, on_step)

    def to_dict(self) -> dict[str, object]:
        """Return the settings as plain data."""
        return dataclasses.asdict(self)

    def _name(self, folder: Path) -> str:
        noted = folder / "base.json"
        return str(json.loads(noted.read_text())["model"]) if noted.exists() else str(folder)
