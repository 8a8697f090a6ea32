"""Causal models of the transformers library, on a CPU or GPU.

What all prompts have in common is prefilled once, the rest of each prompt once; its cache is repeated for the samples,
and complete rows leave the batch. This is faster than `generate` when hundreds of rows share a prompt and end at
different times.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
import os
from collections import defaultdict
from collections.abc import Container, Iterator, Sequence
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import Any, Self

from selftaught.generator.models import Conversation, ModelFailed, OnRefusal, Stop, is_complete
from selftaught.sandbox import completion

try:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache, GgufConfig

    from selftaught.generator.models.prefix import (
        SharedPrefixCache,
        Unsupported,
        shared_prefix_attention,
        supports_shared_prefix,
    )
except ImportError as error:
    raise ModelFailed(
        f"running a model here needs torch and transformers: pip install 'selftaught[generator]' ({error})"
    ) from error

_TAIL = 4
"""Tokens of the prompt that are decoded with a completion, since some tokenizers drop a text's first space."""


class PromptTokens:
    """Prompts as the token ids that a model continues.

    Args:
        tokenizer: The model's tokenizer.
        name: The model's name, for messages.
        chat: Put prompts into the tokenizer's chat template.
        template: Passed to the chat template.

    Raises:
        ModelFailed: The tokenizer has no chat template.
    """

    def __init__(self, tokenizer: Any, name: str, chat: bool, template: dict[str, Any] | None) -> None:
        self._tokenizer, self._chat, self._template = tokenizer, chat, template or {}
        if chat and not getattr(tokenizer, "chat_template", None):
            raise ModelFailed(f"{name} has no chat template: leave out --chat")

    def rendered(self, prompt: str | Conversation) -> str:
        """Return the text that the model continues."""
        if not self._chat:
            if not isinstance(prompt, str):
                raise ModelFailed("a conversation needs a chat template: --chat")
            return prompt
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else [dict(one) for one in prompt]
        text: str = self._tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=False, **self._template
        )
        return text

    def ids(self, text: str) -> list[int]:
        """Return the token ids of a rendered text."""
        return list(self._tokenizer(text, add_special_tokens=not self._chat).input_ids)

    def count(self, prompt: str | Conversation) -> int:
        """Return the number of tokens of a prompt."""
        return len(self.ids(self.rendered(prompt)))


class Transformers:
    """A model and its tokenizer in memory.

    Any attention model that takes a `DynamicCache` works; recurrent models do not.

    Args:
        model: A causal model of transformers.
        tokenizer: Its tokenizer.
        name: The name to record (empty: the one in the model's configuration).
        batch_size: Maximum number of sequences in a batch; halved when memory runs out (None: 256 on a GPU, 64 on a
            CPU).
        context: Tokens of prompt and completion (None: what the model was trained with).
        chat: Put prompts into the tokenizer's chat template, as messages of a user or conversations.
        chat_template_kwargs: Passed to the chat template, such as ``{"enable_thinking": False}``.

    Attributes:
        cut: Number of completions that ended at their maximum number of tokens.

    Raises:
        ModelFailed: The tokenizer has no chat template.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        name: str = "",
        batch_size: int | None = None,
        context: int | None = None,
        chat: bool = False,
        chat_template_kwargs: dict[str, Any] | None = None,
    ) -> None:
        self.model, self.tokenizer = model.eval(), tokenizer
        self.name = name or getattr(model.config, "_name_or_path", "") or type(model).__name__
        self.context = context or int(getattr(model.config, "max_position_embeddings", 0) or 2048)
        self.chat, self.cut = chat, 0
        self._tokens = PromptTokens(tokenizer, self.name, chat, chat_template_kwargs)
        self._shares = True
        self.batch_size = batch_size or (256 if model.device.type == "cuda" else 64)
        self._accepts = set(inspect.signature(model.forward).parameters)
        ends = model.generation_config.eos_token_id if getattr(model, "generation_config", None) else None
        ends = tokenizer.eos_token_id if ends is None else ends
        self._ends = set(ends if isinstance(ends, (list, tuple)) else [] if ends is None else [ends])

    @classmethod
    def from_name(cls, name: str, *, device: str | None = None, dtype: str | None = None, **options: Any) -> Self:
        """Load a folder or a name on the hub. A folder with one ``.gguf`` file is dequantised.

        Args:
            name: The folder or name.
            device: A device of torch (None: ``cuda`` if available, else ``cpu``).
            dtype: A dtype of torch (None: ``bfloat16`` if the device multiplies it in hardware, else ``float16`` on a
                GPU and ``float32`` on a CPU).
            options: Keyword arguments of the constructor.

        Raises:
            ModelFailed: The model can't be loaded.
        """
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            quantised = _gguf(name)
            tokenizer = tokenizer_of(name)
            if quantised:
                quantised["quantization_config"] = GgufConfig(dequantize=True)
            chosen = getattr(torch, dtype or fastest_dtype(device))
            model = AutoModelForCausalLM.from_pretrained(name, dtype=chosen, **quantised)
            return cls(model.to(device), tokenizer, name=name, **options)
        except (OSError, ValueError, ImportError, AttributeError, RuntimeError) as error:
            raise ModelFailed(f"{name}: no causal model that can be loaded: {error}") from error

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the weights."""
        total = hashlib.sha256()
        for key, tensor in sorted(self.model.state_dict().items()):
            total.update(key.encode())
            total.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        return total.hexdigest()

    def tokens(self, text: str | Conversation) -> int:
        """Return the number of tokens that the tokenizer makes, those of the chat template included."""
        return self._tokens.count(text)

    def complete(
        self,
        prompts: Sequence[str | Conversation],
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
        """Sample completions (see `selftaught.generator.models.Completer`). The same call gives the same texts on the
        same machine. Reasoning that the chat template begins is part of the completion."""
        rendered = list(map(self._tokens.rendered, prompts))
        begun = [completion.opened(text) if self.chat else "" for text in rendered]
        ids = dict(enumerate(map(self._tokens.ids, rendered)))
        for number, one in list(ids.items()):
            if len(one) + max_new_tokens <= self.context and one:
                continue
            reason = f"a prompt of {len(one)} tokens and {max_new_tokens} new ones don't fit {self.context}"
            if on_refusal is None:
                raise ModelFailed(f"{self.name}: {reason}")
            del ids[number]
            if number not in skip:
                on_refusal(number, reason)
        prefix = self._prefill(list(ids.values()))
        texts: dict[int, list[str]] = defaultdict(list)
        queue = _batches(sorted(ids, key=lambda number: len(ids[number])), samples, self.batch_size)
        while queue:
            batch = queue.pop(0)
            if all(number in skip for number, _ in batch):
                continue
            drawn = _TokenSampler(temperature, top_p, _seeded(self.model.device, seed, len(queue)), top_k)
            try:
                rows = self._decode(prefix, [ids[number] for number, _ in batch], batch, max_new_tokens, drawn, stop)
            except Unsupported:
                self._shares = False
                queue.insert(0, batch)
                continue
            except torch.OutOfMemoryError:
                self.batch_size = sum(count for _, count in batch) // 2
                if not self.batch_size:
                    raise ModelFailed(f"{self.name}: out of memory with a single row") from None
                queue = [half for pending in [batch, *queue] for half in _halves(pending, self.batch_size)]
                continue
            for number, text in rows:
                texts[number].append(begun[number] + text)
            for number in {number for number, _ in batch}:
                if len(texts[number]) == samples and number not in skip:
                    yield number, texts.pop(number)

    def _prefill(self, ids: list[list[int]]) -> Any:
        """Return the cache of the tokens that all prompts begin with, at most all but one of the shortest prompt's."""
        columns = takewhile(lambda column: len(set(column)) == 1, zip(*ids, strict=False))
        length = min(sum(1 for _ in columns), min(map(len, ids), default=1) - 1)
        cache = DynamicCache(config=self.model.config)
        if length > 0:
            self._forward(torch.tensor([ids[0][:length]]), torch.ones(1, length, dtype=torch.long), cache)
        return cache

    def _following(self, prefix: Any, rows: int) -> Any:
        """Return a cache for rows that follow a prefix: shared if the model supports it, else with a copy for each
        row."""
        if self._shares and prefix.get_seq_length() and supports_shared_prefix(self.model, prefix):
            return SharedPrefixCache(prefix)
        cache = copy.deepcopy(prefix)
        if prefix.get_seq_length():
            cache.batch_repeat_interleave(rows)
        return cache

    def _forward(self, ids: Any, mask: Any, cache: Any) -> Any:
        """Return the logits of the last position; `mask` covers the tokens in the cache and the new ones."""
        positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        given = {"position_ids": positions.to(self.model.device), "logits_to_keep": 1, "use_cache": True}
        kept = {key: value for key, value in given.items() if key in self._accepts}
        device = self.model.device
        with torch.inference_mode(), shared_prefix_attention(self.model, cache):
            out = self.model(input_ids=ids.to(device), attention_mask=mask.to(device), past_key_values=cache, **kept)
        return out.logits[:, -1].float()

    def _decode(
        self,
        prefix: Any,
        ids: list[list[int]],
        batch: list[tuple[int, int]],
        limit: int,
        draw: _TokenSampler,
        stop: Stop,
    ) -> list[tuple[int, str]]:
        """Return a completion for every row of a batch, with the index of its prompt."""
        common = prefix.get_seq_length()
        width = max(map(len, ids)) - common
        padded = torch.tensor([[0] * (width + common - len(one)) + one[common:] for one in ids])
        mask = torch.ones(len(ids), common + width, dtype=torch.long)
        for place, one in enumerate(ids):
            mask[place, common : common + width + common - len(one)] = 0
        cache = self._following(prefix, len(ids))
        owner = torch.tensor([place for place, (_, count) in enumerate(batch) for _ in range(count)])
        found = [_Row(self.tokenizer, ids[place][-_TAIL:], batch[place][0]) for place in owner.tolist()]
        with shared_prefix_attention(self.model, cache):
            logits = self._forward(padded, mask, cache)
            cache.batch_select_indices(owner.to(self.model.device))
            logits, mask = logits[owner.to(logits.device)], mask[owner]
            self._continue(found, logits, mask, cache, limit, draw, stop)
        self.cut += sum(not row.complete for row in found)
        return [(row.number, row.text) for row in found]

    def _continue(
        self, alive: list[_Row], logits: Any, mask: Any, cache: Any, limit: int, draw: _TokenSampler, stop: Stop
    ) -> None:
        """Sample token after token until every row is complete or has `limit` tokens."""
        for step in range(limit):
            new = draw(logits).tolist()
            for row, token in zip(alive, new, strict=True):
                row.add(token, self._ends, stop)
            keep = [place for place, row in enumerate(alive) if not row.complete]
            if not keep or step + 1 == limit:
                break
            # Compacting the cache costs about a step, so it waits until a quarter of the rows is complete.
            if len(keep) <= 0.75 * len(alive):
                cache.batch_select_indices(torch.tensor(keep, device=self.model.device))
                mask, alive, new = mask[keep], [alive[place] for place in keep], [new[place] for place in keep]
            mask = torch.cat([mask, torch.ones(len(alive), 1, dtype=torch.long)], 1)
            logits = self._forward(torch.tensor(new).unsqueeze(1), mask, cache)


class _Row:
    """A completion that grows."""

    def __init__(self, tokenizer: Any, tail: list[int], number: int) -> None:
        self._tokenizer, self._tail, self.number = tokenizer, tail, number
        self._skip = len(self._read([]))
        self._new: list[int] = []
        self.text, self.complete = "", False

    def add(self, token: int, ends: set[int], stop: Stop) -> None:
        if self.complete:
            return
        if token in ends:
            self.complete = True
            return
        self._new.append(token)
        self.text = self._read(self._new)[self._skip :]
        self.complete = is_complete(self.text, stop)

    def _read(self, new: list[int]) -> str:
        text: str = self._tokenizer.decode(
            self._tail + new, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text


class _TokenSampler:
    """Samples a token for every row."""

    def __init__(self, temperature: float, top_p: float, source: Any, top_k: int = 0) -> None:
        self._temperature, self._top_p, self._top_k, self._source = temperature, top_p, top_k, source

    def __call__(self, logits: Any) -> Any:
        if self._temperature == 0:
            return logits.argmax(-1)
        if 0 < self._top_k < logits.shape[-1]:
            least = logits.topk(self._top_k, -1).values[:, -1:]
            logits = logits.masked_fill(logits < least, -torch.inf)
        probabilities = torch.softmax(logits / self._temperature, -1)
        if self._top_p < 1:
            sorted_probabilities, order = probabilities.sort(descending=True)
            beyond = sorted_probabilities.cumsum(-1) - sorted_probabilities >= self._top_p
            probabilities = torch.zeros_like(probabilities).scatter(
                -1, order, sorted_probabilities.masked_fill(beyond, 0)
            )
        if probabilities.device.type != "cpu":
            return torch.multinomial(probabilities, 1, generator=self._source).squeeze(-1)
        # The same with one random number per row; `multinomial` draws one for every token of the vocabulary.
        sums = probabilities.cumsum(-1)
        level = torch.rand(len(sums), 1, generator=self._source) * sums[:, -1:]
        return torch.searchsorted(sums, level, right=True).squeeze(-1).clamp(max=sums.shape[-1] - 1)


def _seeded(device: Any, *seed: int) -> Any:
    number = int.from_bytes(hashlib.sha256(repr(seed).encode()).digest()[:7], "big")
    return torch.Generator(device).manual_seed(number)


def _batches(order: list[int], samples: int, batch_size: int) -> list[list[tuple[int, int]]]:
    """Return prompts with their numbers of samples, in batches of at most `batch_size` rows."""
    batches: list[list[tuple[int, int]]] = []
    free = 0
    for number in order:
        left = samples
        while left:
            if not free:
                batches.append([])
                free = batch_size
            count = min(left, free)
            batches[-1].append((number, count))
            left, free = left - count, free - count
    return batches


def _halves(batch: list[tuple[int, int]], batch_size: int) -> list[list[tuple[int, int]]]:
    """Return the batch as batches of at most `rows` rows."""
    return [part for number, count in batch for part in _batches([number], count, batch_size)]


def fastest_dtype(device: str) -> str:
    """Return the name of the dtype in which a device multiplies fastest, quantised ones left out."""
    if device == "cpu":
        can: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # older versions of torch lack it
        return "bfloat16" if can.get("avx512_bf16") or can.get("amx_bf16") else "float32"
    return "bfloat16" if torch.cuda.is_bf16_supported() else "float16"


def tokenizer_of(name: str) -> Any:
    """Return the tokenizer of a folder or name. Raises ModelFailed."""
    try:
        return AutoTokenizer.from_pretrained(name, **_gguf(name))
    except (OSError, ValueError, ImportError, AttributeError, RuntimeError) as error:
        raise ModelFailed(f"{name}: no causal model that can be loaded: {error}") from error


def _gguf(name: str) -> dict[str, Any]:
    """Return what `from_pretrained` needs for a folder with a GGUF file; empty for any other."""
    path = Path(name)
    if path.suffix == ".gguf":
        raise ModelFailed(f"{name}: name the folder, {path.parent or os.curdir}, not the file")
    files = sorted(path.glob("*.gguf")) if path.is_dir() and not (path / "config.json").exists() else []
    if len(files) > 1:
        raise ModelFailed(f"{name} has several GGUF files: keep one in a folder of its own")
    return {"gguf_file": files[0].name} if files else {}
