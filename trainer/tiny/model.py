"""A small decoder-only transformer, the same function as Hugging Face's LlamaForCausalLM, without what slows it at this size."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention, silu


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of the model."""

    vocabulary: int
    width: int = 128
    layers: int = 4
    heads: int = 4
    hidden: int = 344
    context: int = 256

    @property
    def head(self) -> int:
        """Width of an attention head."""
        return self.width // self.heads


class Cache:
    """Keys and values of what was read, with room for what will be: one tensor for all layers, so that a step copies nothing."""

    def __init__(self, shape: Shape, rows: int, room: int) -> None:
        self.stored = torch.empty(shape.layers, 2, rows, shape.heads, room, shape.head)
        self.length = 0

    def add(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store a layer's new keys and values; returns all of that layer. The last layer moves the length on."""
        end = self.length + k.shape[2]
        self.stored[layer, 0, :, :, self.length : end] = k
        self.stored[layer, 1, :, :, self.length : end] = v
        if layer + 1 == len(self.stored):
            self.length = end
        return self.stored[layer, 0, :, :, :end], self.stored[layer, 1, :, :, :end]

    def repeated(self, counts: Tensor) -> Cache:
        """A cache with each row as often as `counts` says."""
        return self._with(self.stored.repeat_interleave(counts, 2))

    def kept(self, rows: Tensor) -> Cache:
        """A cache with some of the rows."""
        return self._with(self.stored[:, :, rows])

    def _with(self, stored: Tensor) -> Cache:
        made = object.__new__(Cache)
        made.stored, made.length = stored, self.length
        return made


class Layer(nn.Module):
    """Attention and a gated feed-forward, each after a norm and added to the stream."""

    def __init__(self, shape: Shape, number: int) -> None:
        super().__init__()
        self.shape, self.number = shape, number
        self.qkv = nn.Linear(shape.width, 3 * shape.width, bias=False)
        self.out = nn.Linear(shape.width, shape.width, bias=False)
        self.gate_up = nn.Linear(shape.width, 2 * shape.hidden, bias=False)
        self.down = nn.Linear(shape.hidden, shape.width, bias=False)
        self.before_attention = nn.RMSNorm(shape.width, eps=1e-6)
        self.before_mlp = nn.RMSNorm(shape.width, eps=1e-6)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, cache: Cache | None) -> Tensor:
        rows, positions, width = x.shape
        qkv = self.qkv(self.before_attention(x)).view(rows, positions, 3, self.shape.heads, self.shape.head)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        q, k = _rotate(q, cos, sin), _rotate(k, cos, sin)
        if cache is not None:
            k, v = cache.add(self.number, k, v)
        mixed = scaled_dot_product_attention(q, k, v, is_causal=positions > 1)
        x = x + self.out(mixed.transpose(1, 2).reshape(rows, positions, width))
        gate, up = self.gate_up(self.before_mlp(x)).chunk(2, -1)
        return x + self.down(silu(gate) * up)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat((-second, first), -1) * sin


class Transformer(nn.Module):
    """Token ids (rows, positions) -> logits. All rows of a batch have the same positions: nothing is padded on the left."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.vocabulary, shape.width)
        self.layers = nn.ModuleList(Layer(shape, number) for number in range(shape.layers))
        self.norm = nn.RMSNorm(shape.width, eps=1e-6)
        angles = torch.outer(torch.arange(shape.context).float(), 10_000 ** -(torch.arange(0, shape.head, 2) / shape.head))
        self.register_buffer("cos", torch.cat((angles.cos(), angles.cos()), -1), persistent=False)
        self.register_buffer("sin", torch.cat((angles.sin(), angles.sin()), -1), persistent=False)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.02)
        for layer in self.layers:
            for last in (layer.out, layer.down):
                nn.init.normal_(last.weight, std=0.02 / (2 * shape.layers) ** 0.5)

    def hidden(self, ids: Tensor, cache: Cache | None = None) -> Tensor:
        """The last layer's output at every position. With a cache: several tokens only while it is empty, then one at a time."""
        start = cache.length if cache else 0
        cos, sin = self.cos[start : start + ids.shape[1]], self.sin[start : start + ids.shape[1]]
        x = self.embedding(ids)
        for layer in self.layers:
            x = layer(x, cos, sin, cache)
        return self.norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of every token of the vocabulary; the embedding is tied."""
        return linear(hidden, self.embedding.weight)

    def forward(self, ids: Tensor) -> Tensor:
        return self.logits(self.hidden(ids))
