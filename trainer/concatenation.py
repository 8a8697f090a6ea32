"""Training texts as one long text, cut into rows of equal length: how the paper's code packs them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from selftaught.generator.example import Example, training_text
from selftaught.generator.pair import Pair


def rows(
    tokenizer: Any, examples: Sequence[Example | Pair], length: int, seed: int, annotated: bool = False
) -> list[list[int]]:
    """Return the token ids of all texts, shuffled and joined by blank lines, in rows of `length`.

    No end token stands between two texts, a text may begin in one row and end in the next, and tokens attend to all
    texts before them in their row. What is left at the end is dropped.

    Args:
        tokenizer: The tokenizer.
        examples: The pairs.
        length: Number of tokens in a row.
        seed: Random seed of the order.
        annotated: Write what puzzles and solutions return into their signatures.

    Returns:
        The rows; none if the texts have fewer tokens than one row.

    Source: ICLR2023/src/preprocess.py and neo_train.py (`group_texts`) of microsoft/PythonProgrammingPuzzles.
    """
    texts = [training_text(one.puzzle, one.solution, annotated) + "\n\n" for one in examples]
    random.Random(seed).shuffle(texts)
    ids: list[int] = tokenizer("".join(texts), add_special_tokens=False, verbose=False)["input_ids"]
    return [ids[start : start + length] for start in range(0, len(ids) - length + 1, length)]
