"""Attention over a prefix that all rows share: its keys and values are stored once, whatever the number of rows.

With a long few-shot prefix, reading its keys and values for every row and token (and copying them in a growing cache)
costs several times the model's arithmetic. Here one matrix product computes the attention of all rows to the prefix;
the result is the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from transformers import AttentionInterface, DynamicCache
from transformers.cache_utils import DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, eager_mask

_NAME = "selftaught_shared_prefix"
_CHUNK = 64
"""Tokens by which a row's own cache grows, so that it isn't copied at every token."""

_shared: ContextVar[Sequence[tuple[Any, Any]] | None] = ContextVar("shared", default=None)


class Unsupported(TypeError):
    """This model's attention can't be split into prefix and suffix."""


def supports_shared_prefix(model: Any, prefix: Any) -> bool:
    """Return True if every layer of the model has full attention that transformers lets a backend compute."""
    return bool(getattr(model, "_supports_attention_backend", False)) and all(
        type(layer) is DynamicLayer for layer in prefix.layers
    )


class SharedPrefixCache(DynamicCache):  # type: ignore[misc]  # transformers is not followed
    """The caches of rows that follow a shared prefix (a cache of one row)."""

    def __init__(self, prefix: Any) -> None:
        super().__init__()
        self.shared = [(layer.keys, layer.values) for layer in prefix.layers]
        self.layers = [_Layer(layer.get_seq_length()) for layer in prefix.layers]


class _Layer(DynamicLayer):  # type: ignore[misc]
    """Keys and values after the prefix, in buffers that grow by chunks."""

    def __init__(self, before: int) -> None:
        super().__init__()
        self._before, self._length = before, 0

    def lazy_initialization(self, key_states: Any, value_states: Any) -> None:
        self.dtype, self.device = key_states.dtype, key_states.device
        self.keys, self.values = key_states[:, :, :0], value_states[:, :, :0]
        self.is_initialized = True

    def update(self, key_states: Any, value_states: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """Append keys and values; return those of the rows, without the prefix."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start, self._length = self._length, self._length + key_states.shape[2]
        if self._length > self.keys.shape[2]:
            self.keys, self.values = _grown(self.keys, self._length), _grown(self.values, self._length)
        self.keys[:, :, start : self._length] = key_states
        self.values[:, :, start : self._length] = value_states
        return self.keys[:, :, : self._length], self.values[:, :, : self._length]

    def get_seq_length(self) -> int:
        return self._before + self._length


def _grown(buffer: Any, length: int) -> Any:
    rows, heads, old, width = buffer.shape
    grown = buffer.new_zeros(rows, heads, length + _CHUNK, width)
    grown[:, :, :old] = buffer
    return grown


@contextmanager
def shared_prefix_attention(model: Any, cache: Any) -> Iterator[None]:
    """Use attention over the cache's prefix inside the `with` block; do nothing for a cache without one."""
    if not isinstance(cache, SharedPrefixCache):
        yield
        return
    usual = model.config._attn_implementation
    token = _shared.set(cache.shared)
    model.set_attn_implementation(_NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(usual)
        _shared.reset(token)


def attention(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, scaling: float | None = None, **kwargs: Any
) -> tuple[Any, None]:
    """Attention as transformers calls it, over the shared prefix and the rows' own tokens.

    Args:
        key: Keys of the rows' own tokens, (rows, key heads, tokens, head size); `value` likewise.
        attention_mask: Additive mask over prefix and own tokens.

    Raises:
        Unsupported: The model needs softcap, sinks or position biases.
    """
    shared = _shared.get()
    if shared is None:
        out, _ = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
        return out, None
    if any(kwargs.get(name) is not None for name in ("softcap", "s_aux", "position_bias")):
        raise Unsupported("softcap, sinks and position biases are not supported")
    before_keys, before_values = (part[0] for part in shared[module.layer_idx])  # heads, prefix, width
    rows, heads, length, width = query.shape
    groups, prefix = key.shape[1], before_keys.shape[1]
    # The query heads that share a key head are adjacent.
    queries = query.reshape(rows, groups, -1, width) * (width**-0.5 if scaling is None else scaling)
    together = queries.transpose(0, 1).reshape(groups, -1, width)
    first = (together @ before_keys.transpose(1, 2)).view(groups, rows, -1, prefix).transpose(0, 1)
    scores = torch.cat([first, queries @ key.transpose(2, 3)], -1)
    scores = scores.view(rows, groups, heads // groups, length, -1) + attention_mask.unsqueeze(1)
    probabilities = (
        torch.softmax(scores, -1, dtype=torch.float32).to(query.dtype).view(rows, groups, -1, scores.shape[-1])
    )
    common = probabilities[..., :prefix].transpose(0, 1).reshape(groups, -1, prefix) @ before_values
    out = common.view(groups, rows, -1, width).transpose(0, 1) + probabilities[..., prefix:] @ value
    return out.reshape(rows, heads, length, width).transpose(1, 2), None


AttentionInterface.register(_NAME, attention)
AttentionMaskInterface.register(_NAME, eager_mask)
