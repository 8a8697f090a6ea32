"""The tiny model as a `Completer`, and its folder in Hugging Face's layout."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Container, Iterator, Sequence
from functools import cached_property
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from selftaught.generator.models import ModelFailed, OnRefusal, Stop
from selftaught.trainer.tiny import tokenizer
from selftaught.trainer.tiny.model import Config, Transformer
from selftaught.trainer.tiny.sampling import sample

_STOPS = [tokenizer.VOCABULARY[piece] for piece in ("\n\ndef g(", "\n\nassert f(g())")]


class Tiny:
    """The model ready for sampling. It ends puzzles and solutions with tokens of its own; `stop` is ignored.

    Args:
        model: The model.
        name: The name to record.
    """

    def __init__(self, model: Transformer, name: str = "tiny") -> None:
        self.model, self.name, self.chat = model.eval(), name, False
        self.context = model.config.max_position_embeddings

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the weights."""
        total = hashlib.sha256()
        for key, tensor in sorted(self.model.state_dict().items()):
            total.update(key.encode())
            total.update(tensor.contiguous().numpy().data)
        return total.hexdigest()

    def tokens(self, text: str) -> int:
        """Return the number of tokens of a text, the one at the beginning included."""
        return 1 + len(tokenizer.encode(text))

    def complete(
        self,
        prompts: Sequence[str],
        *,
        samples: int,
        max_new_tokens: int,
        temperature: float,
        top_p: float = 1.0,
        top_k: int = 0,
        stop: Stop = (),
        seed: int,
        skip: Container[int] = (),
        on_refusal: OnRefusal | None = None,
    ) -> Iterator[tuple[int, list[str]]]:
        """Sample completions (see `selftaught.generator.models.Completer`). What is skipped is sampled all the same,
        since all prompts share one source of randomness.

        Raises:
            ModelFailed: A prompt is too long, or `top_p` is not 1.
        """
        if top_p != 1:
            raise ModelFailed("the tiny model samples from its whole distribution: leave top_p at 1")
        encoded = [[tokenizer.END, *tokenizer.encode(prompt)] for prompt in prompts]
        fitting = [number for number, one in enumerate(encoded) if len(one) < self.context]
        for number in sorted({*range(len(encoded))} - {*fitting}):
            reason = f"a prompt is longer than the tiny model's {self.context} tokens"
            if on_refusal is None:
                raise ModelFailed(reason)
            if number not in skip:
                on_refusal(number, reason)
        if all(number in skip for number in fitting):
            return
        ids = [encoded[number] for number in fitting]
        stops = [tokenizer.END, tokenizer.PAD, *_STOPS]
        written = sample(
            self.model,
            ids,
            samples,
            temperature=temperature,
            new_tokens=max_new_tokens,
            stops=stops,
            seed=seed,
            top_k=top_k,
        )
        for place, rows in written:
            if fitting[place] not in skip:
                yield fitting[place], [tokenizer.decode(row) for row in rows]

    def save(self, folder: Path) -> None:
        """Write config.json, model.safetensors and the tokenizer, as transformers' LlamaForCausalLM reads them."""
        folder.mkdir(parents=True, exist_ok=True)
        sizes = self.model.config
        config = {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": sizes.vocab_size,
            "hidden_size": sizes.hidden_size,
            "intermediate_size": sizes.intermediate_size,
            "num_hidden_layers": sizes.num_hidden_layers,
            "num_attention_heads": sizes.num_attention_heads,
            "num_key_value_heads": sizes.num_attention_heads,
            "max_position_embeddings": sizes.max_position_embeddings,
            "rms_norm_eps": 1e-6,
            "rope_theta": 10_000.0,
            "hidden_act": "silu",
            "tie_word_embeddings": True,
            "bos_token_id": tokenizer.END,
            "eos_token_id": tokenizer.END,
            "pad_token_id": tokenizer.PAD,
            "torch_dtype": "float32",
        }
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        save_file(_exported(self.model.state_dict()), folder / "model.safetensors", {"format": "pt"})
        tokenizer.save(folder)

    @classmethod
    def load(cls, folder: Path, name: str = "tiny") -> Tiny:
        """Return the model that `save` wrote. Raises ModelFailed."""
        try:
            config = json.loads((folder / "config.json").read_text())
            state = _imported(load_file(folder / "model.safetensors"))
        except (OSError, ValueError) as error:
            raise ModelFailed(f"{folder}: no tiny model: {error}") from error
        sizes = {field.name: config[field.name] for field in dataclasses.fields(Config)}
        model = Transformer(Config(**sizes))
        model.load_state_dict(state)
        return cls(model, name)


_TOP = {"embedding.weight": "model.embed_tokens.weight", "norm.weight": "model.norm.weight"}
_INNER = {
    "out.weight": "self_attn.o_proj.weight",
    "down.weight": "mlp.down_proj.weight",
    "before_attention.weight": "input_layernorm.weight",
    "before_mlp.weight": "post_attention_layernorm.weight",
}
_JOINED = {
    "qkv.weight": [f"self_attn.{part}_proj.weight" for part in "qkv"],
    "gate_up.weight": ["mlp.gate_proj.weight", "mlp.up_proj.weight"],
}


def _exported(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights under transformers' names."""
    named = {}
    for key, tensor in state.items():
        if key in _TOP:
            named[_TOP[key]] = tensor.clone()
            continue
        _, number, inner = key.split(".", 2)
        names = _JOINED.get(inner) or [_INNER[inner]]
        for name, part in zip(names, tensor.chunk(len(names)), strict=True):
            named[f"model.layers.{number}.{name}"] = part.clone()
    return named


def _imported(named: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights under this project's names: the inverse of `_exported`."""
    state = {mine: named[theirs] for mine, theirs in _TOP.items()}
    for number in {key.split(".")[2] for key in named if key.startswith("model.layers.")}:
        layer = f"model.layers.{number}"
        state |= {f"layers.{number}.{mine}": named[f"{layer}.{theirs}"] for mine, theirs in _INNER.items()}
        for mine, parts in _JOINED.items():
            state[f"layers.{number}.{mine}"] = torch.cat([named[f"{layer}.{part}"] for part in parts])
    return state
