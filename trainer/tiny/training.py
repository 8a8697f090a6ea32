"""Training of the tiny model: many small steps on batches of examples of similar length, one example a row."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from selftaught.trainer.tiny.model import Transformer
from selftaught.trainer.tiny.tokenizer import END, PAD, encode


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of a training, named as in ``TrainingArguments`` where it has them. The learning rate decays linearly
    after warm-up.

    Attributes:
        learning_rate: Peak learning rate of AdamW.
        muon_learning_rate: Peak learning rate of Muon on the matrices inside the layers (0: AdamW for all).
        max_tokens_per_batch: Maximum number of tokens in a step, padding included.
        num_train_epochs: Passes over the examples; may be a fraction.
        warmup_steps: Steps of linear warm-up.
        min_lr_rate: Share of the peak learning rate at the end.
        prompt_loss_weight: Weight of the loss on the puzzle (1: the same as on the solution).
    """

    learning_rate: float = 2e-3
    muon_learning_rate: float = 0.0
    max_tokens_per_batch: int = 1024
    num_train_epochs: float = 1.0
    warmup_steps: int = 50
    min_lr_rate: float = 0.1
    prompt_loss_weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Example:
    """A training text: token ids between two end tokens, the index of the solution's first token, and the weight."""

    ids: tuple[int, ...]
    solution: int
    weight: float = 1.0


def example(puzzle: str, solution: str, weight: float = 1.0) -> Example:
    """Return the text as the model reads it: end token, puzzle, blank line, solution, assertion, end token."""
    before = encode(f"{puzzle}\n\n{solution.partition(chr(10))[0]}")
    after = encode(f"\n{solution.partition(chr(10))[2]}\n\nassert f(g())")
    return Example((END, *before, *after, END), 1 + len(before), weight)


def batches(examples: Sequence[Example], tokens: int, rng: random.Random) -> list[list[Example]]:
    """Return all examples once, in batches of similar length in random order."""
    order = sorted(examples, key=lambda example: (len(example.ids), rng.random()))
    made: list[list[Example]] = []
    batch: list[Example] = []
    for one in order:
        if batch and len(one.ids) * (len(batch) + 1) > tokens:
            made.append(batch)
            batch = []
        batch.append(one)
    if batch:
        made.append(batch)
    rng.shuffle(made)
    return made


def collate(batch: Sequence[Example], prompt_loss_weight: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return inputs, targets and the weight of each target, each of shape (examples, longest text - 1); padding weighs
    nothing."""
    longest = max(len(one.ids) for one in batch)
    ids = torch.full((len(batch), longest), PAD)
    weights = torch.zeros(len(batch), longest)
    for row, one in enumerate(batch):
        ids[row, : len(one.ids)] = torch.tensor(one.ids)
        weights[row, : one.solution] = one.weight * prompt_loss_weight
        weights[row, one.solution : len(one.ids)] = one.weight
    return ids[:, :-1], ids[:, 1:], weights[:, 1:]


def train(
    model: Transformer,
    examples: Sequence[Example],
    settings: Settings,
    seed: int,
    on_step: Callable[[int, int, float], None] | None = None,
) -> None:
    """Train the model in place.

    Args:
        model: The model.
        examples: The training texts.
        settings: Settings of the training.
        seed: Random seed.
        on_step: Called with step, steps and mean loss every hundred steps.
    """
    rng = random.Random(seed)
    plan: list[list[Example]] = []
    whole = int(settings.num_train_epochs)
    for _ in range(whole):
        plan += batches(examples, settings.max_tokens_per_batch, rng)
    if settings.num_train_epochs > whole:
        last = batches(examples, settings.max_tokens_per_batch, rng)
        plan += last[: round(len(last) * (settings.num_train_epochs - whole))]
    optimizers = _optimizers(model, settings)
    steps, average = len(plan), 0.0
    model.train()
    for step, batch in enumerate(plan):
        warm = min(1.0, (step + 1) / settings.warmup_steps)
        for optimizer, rate in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * warm * (1 - (1 - settings.min_lr_rate) * step / steps)
        inputs, targets, weights = collate(batch, settings.prompt_loss_weight)
        losses = cross_entropy(model(inputs).flatten(0, 1), targets.flatten(), reduction="none")
        loss = (losses * weights.flatten()).sum() / weights.sum().clamp_min(1e-6)
        model.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, _ in optimizers:
            optimizer.step()
        average = loss.item() if not step else 0.99 * average + 0.01 * loss.item()
        if on_step and step % 100 == 0:
            on_step(step, steps, average)
    model.eval()


def _optimizers(model: Transformer, settings: Settings) -> list[tuple[torch.optim.Optimizer, float]]:
    """Return the optimisers with their peak learning rates."""
    inner = [one for one in model.layers.parameters() if one.dim() == 2] if settings.muon_learning_rate else []
    known = {id(one) for one in inner}
    rest = [one for one in model.parameters() if id(one) not in known]
    made: list[tuple[torch.optim.Optimizer, float]] = [
        (
            torch.optim.AdamW(rest, lr=settings.learning_rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True),
            settings.learning_rate,
        )
    ]
    if inner:
        made.append(
            (
                torch.optim.Muon(inner, lr=settings.muon_learning_rate, weight_decay=0.01, momentum=0.95),
                settings.muon_learning_rate,
            )
        )
    return made
