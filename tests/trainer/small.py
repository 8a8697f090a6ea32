"""A model of a few thousand weights in Hugging Face's layout, and pairs to train it on."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import torch

from selftaught.generator.example import Example, Judgement, Sampling, pair_id, puzzle_id, template
from selftaught.trainer.tiny import corpus, tokenizer
from selftaught.trainer.tiny.completer import Tiny
from selftaught.trainer.tiny.corpus import Noise
from selftaught.trainer.tiny.model import Config, Transformer


def save_base(folder: Path) -> str:
    """Save an untrained model, and return its folder."""
    torch.manual_seed(0)
    config = Config(
        len(tokenizer.VOCABULARY), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48
    )
    Tiny(Transformer(config)).save(folder)
    return str(folder)


def examples(count: int) -> list[Example]:
    sampling = Sampling("m", "d", "p", 1.0, 1.0, 9, 0, 0)
    judgement = Judgement("accepted", "full", "v", 0.0, 0.0, 0, "", 1)
    return [
        Example(pair_id(one.sat, one.right), one.sat, one.right, "int", puzzle_id(one.sat), template(one.sat), "", 1, 1,
                1.0, "", "r", 1, sampling, sampling, [], judgement)
        for one in islice(corpus.documents(1, Noise(correct=1)), count)
    ]  # fmt: skip
