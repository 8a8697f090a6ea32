"""A small decoder-only transformer that computes the same function as LlamaForCausalLM, with less overhead at this
size."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention, silu


@dataclass(frozen=True, slots=True)
class Config:
    """Sizes of the model, named as in transformers' LlamaConfig."""

    vocab_size: int
    hidden_size: int = 128
    num_hidden_layers: int = 4
    num_attention_heads: int = 4
    intermediate_size: int = 344
    max_position_embeddings: int = 256

    @property
    def head_dim(self) -> int:
        """Size of an attention head."""
        return self.hidden_size // self.num_attention_heads


Cache = list[tuple[Tensor, Tensor]]
"""Keys and values of each layer, each of shape (rows, heads, positions, head size)."""


class Layer(nn.Module):  # type: ignore[misc]  # torch is not followed
    """Attention and a gated feed-forward network, each after a norm and added to the residual stream."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size, bias=False)
        self.out = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.gate_up = nn.Linear(config.hidden_size, 2 * config.intermediate_size, bias=False)
        self.down = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)
        self.before_attention = nn.RMSNorm(config.hidden_size, eps=1e-6)
        self.before_mlp = nn.RMSNorm(config.hidden_size, eps=1e-6)

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, past: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        rows, positions, width = x.shape
        qkv = self.qkv(self.before_attention(x)).view(
            rows, positions, 3, self.config.num_attention_heads, self.config.head_dim
        )
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        q, k = _rotate(q, cos, sin), _rotate(k, cos, sin)
        if past is not None:
            k, v = torch.cat((past[0], k), 2), torch.cat((past[1], v), 2)
        mixed = scaled_dot_product_attention(q, k, v, is_causal=past is None)
        x = x + self.out(mixed.transpose(1, 2).reshape(rows, positions, width))
        gate, up = self.gate_up(self.before_mlp(x)).chunk(2, -1)
        return x + self.down(silu(gate) * up), (k, v)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat((-second, first), -1) * sin


class Transformer(nn.Module):  # type: ignore[misc]
    """Token ids (rows, positions) -> logits (rows, positions, vocabulary). Rows of a batch have the same length, so
    there is no padding mask."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = nn.RMSNorm(config.hidden_size, eps=1e-6)
        angles = torch.outer(
            torch.arange(config.max_position_embeddings).float(),
            10_000 ** -(torch.arange(0, config.head_dim, 2) / config.head_dim),
        )
        self.register_buffer("cos", torch.cat((angles.cos(), angles.cos()), -1), persistent=False)
        self.register_buffer("sin", torch.cat((angles.sin(), angles.sin()), -1), persistent=False)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.02)
        for layer in self.layers:
            for last in (layer.out, layer.down):
                nn.init.normal_(last.weight, std=0.02 / (2 * config.num_hidden_layers) ** 0.5)

    def hidden(self, ids: Tensor, past: Cache | None = None) -> tuple[Tensor, Cache]:
        """Return the last layer's output at every position, and the extended cache.

        Args:
            ids: Token ids, of shape (rows, positions).
            past: The cache of earlier positions.
        """
        start = past[0][0].shape[2] if past else 0
        cos, sin = self.cos[start : start + ids.shape[1]], self.sin[start : start + ids.shape[1]]
        x, grown = self.embedding(ids), []
        for number, layer in enumerate(self.layers):
            x, kept = layer(x, cos, sin, past[number] if past else None)
            grown.append(kept)
        return self.norm(x), grown

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the logits of hidden states; the embedding is tied."""
        return linear(hidden, self.embedding.weight)

    def forward(self, ids: Tensor) -> Tensor:
        return self.logits(self.hidden(ids)[0])
