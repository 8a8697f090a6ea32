"""Batched sampling: prompts of equal length together, each prefilled once, complete rows removed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from selftaught.trainer.tiny.model import Cache, Transformer

ROWS = 768
"""Rows in a batch. More are no faster on a CPU, and need more memory."""


def sample(
    model: Transformer,
    prompts: Sequence[list[int]],
    each: int,
    *,
    temperature: float,
    new_tokens: int,
    stops: Sequence[int],
    seed: int,
    top_k: int = 0,
) -> Iterator[tuple[int, list[list[int]]]]:
    """Sample continuations of prompts, shortest prompts first.

    The same arguments give the same tokens, whatever else runs.

    Args:
        model: The model.
        prompts: Token ids of each prompt.
        each: Number of continuations of each prompt.
        temperature: Sampling temperature; 0 is greedy decoding.
        new_tokens: Maximum number of tokens of a continuation.
        stops: Tokens that end a continuation; they are not part of it.
        seed: Random seed.
        top_k: Number of likeliest tokens that are sampled from; 0 means all.

    Yields:
        The index of a prompt with its continuations.
    """
    generator = torch.Generator().manual_seed(seed)
    by_length: dict[int, list[int]] = defaultdict(list)
    for number, prompt in enumerate(prompts):
        by_length[len(prompt)].append(number)
    for length in sorted(by_length):
        rows = [number for number in by_length[length] for _ in range(each)]
        waiting: dict[int, list[list[int]]] = defaultdict(list)
        for start in range(0, len(rows), ROWS):
            chosen = rows[start : start + ROWS]
            distinct = sorted(set(chosen), key=chosen.index)
            ids = torch.tensor([prompts[number] for number in distinct])
            counts = torch.tensor([chosen.count(number) for number in distinct])
            written = _continue(model, ids, counts, temperature, new_tokens, stops, generator, top_k)
            for number, tokens in zip(chosen, written, strict=True):
                waiting[number].append(tokens)
                if len(waiting[number]) == each:
                    yield number, waiting.pop(number)


@torch.inference_mode()  # type: ignore[untyped-decorator]  # torch is not followed
def _continue(
    model: Transformer,
    ids: Tensor,
    counts: Tensor,
    temperature: float,
    new_tokens: int,
    stops: Sequence[int],
    generator: torch.Generator,
    top_k: int,
) -> list[list[int]]:
    hidden, cache = model.hidden(ids)
    last = model.logits(hidden[:, -1]).repeat_interleave(counts, 0)
    cache = [(k.repeat_interleave(counts, 0), v.repeat_interleave(counts, 0)) for k, v in cache]
    rows = torch.arange(len(last))
    stop = torch.tensor(stops)
    written: list[list[int]] = [[] for _ in range(len(last))]
    steps = min(new_tokens, model.config.max_position_embeddings - ids.shape[1])
    for step in range(steps):
        tokens = choose(last, temperature, generator, top_k)
        alive = ~torch.isin(tokens, stop)
        for row, token, going in zip(rows.tolist(), tokens.tolist(), alive.tolist(), strict=True):
            if going:
                written[row].append(token)
        if step + 1 == steps or not alive.any():
            break
        if alive.float().mean() < 0.85:
            rows, tokens, cache = rows[alive], tokens[alive], _keep(cache, alive)
            alive = torch.ones(len(rows), dtype=torch.bool)
        hidden, cache = model.hidden(tokens[:, None], cache)
        last = model.logits(hidden[:, -1])
        last[~alive] = -torch.inf
        last[~alive, stops[0]] = 0.0
    return written


def _keep(cache: Cache, alive: Tensor) -> Cache:
    return [(k[alive], v[alive]) for k, v in cache]


def choose(logits: Tensor, temperature: float, generator: torch.Generator, top_k: int = 0) -> Tensor:
    """Return a token for each row, sampled by the Gumbel-max trick.

    Args:
        logits: Logits of shape (rows, vocabulary).
        temperature: Sampling temperature; 0 is greedy decoding.
        generator: Source of randomness.
        top_k: Number of likeliest tokens that are sampled from; 0 means all.
    """
    if temperature == 0:
        return logits.argmax(-1)
    if 0 < top_k < logits.shape[-1]:
        logits = logits.masked_fill(logits < logits.topk(top_k, -1).values[:, -1:], -torch.inf)
    noise = torch.empty_like(logits).exponential_(generator=generator).clamp_min_(1e-20)
    return (logits / temperature - noise.log()).argmax(-1)
