"""Examples as rows of tokens: each example is followed by an end token, and rows are packed with several examples.

Position ids restart with every example; transformers derives from them that no token attends to another example.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from selftaught.generator.example import Example, text_of_puzzle, training_text
from selftaught.generator.pair import Pair

IGNORED = -100
"""The label of a token that carries no loss."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """An example as token ids, its labels (-100: no loss), and its weight."""

    ids: list[int]
    labels: list[int]
    weight: float


def tokenize(
    tokenizer: Any,
    one: Example | Pair,
    completion_only_loss: bool = False,
    use_example_weights: bool = False,
    annotated: bool = False,
) -> Tokens:
    """Return the tokens of an example's text followed by an end token.

    Args:
        tokenizer: A fast tokenizer of transformers.
        one: The example.
        completion_only_loss: Label the solution only, not the puzzle.
        use_example_weights: Take the example's weight, not 1.
        annotated: Write what both functions return into their signatures.
    """
    text = training_text(one.puzzle, one.solution, annotated)
    found = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
    ids = [*found["input_ids"], tokenizer.eos_token_id]
    labels = list(ids)
    if completion_only_loss:
        begin = len(text_of_puzzle(one.puzzle, annotated)) + 2
        body = begin + len(text[begin:].partition("\n")[0])
        labels = [
            number if start >= body else IGNORED
            for number, (start, _) in zip(ids, [*found["offset_mapping"], (len(text), 0)], strict=True)
        ]
    return Tokens(ids, labels, one.weight if use_example_weights else 1.0)


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
    labels = torch.full((len(rows), longest), IGNORED)
    positions = torch.arange(longest).repeat(len(rows), 1)
    weights = torch.zeros(len(rows), longest)
    for number, row in enumerate(rows):
        start = 0
        for one in row:
            end = start + len(one.ids)
            ids[number, start:end] = torch.tensor(one.ids)
            labels[number, start:end] = torch.tensor(one.labels)
            labels[number, start] = IGNORED  # what the last token of another example would predict
            positions[number, start:end] = torch.arange(len(one.ids))
            weights[number, start:end] = one.weight
            start = end
        positions[number, start:] = torch.arange(longest - start)
    return {"input_ids": ids, "labels": labels, "position_ids": positions, "weights": weights}
