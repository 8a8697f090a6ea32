"""A tokenizer of code pieces and characters.

No piece crosses the end of a prompt (`def f(` or `...):`), so sampling starts where a training text has a token
boundary, too.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

_KEYWORDS = "def f(|\n\ndef g(|):|\n    return |\n\nassert f(g())|x: int|x: str|x: float|x: List[int]|x: List[str]"
_OPERATORS = (
    ", | + | - | * | // | / | ** | % | ^ | << | >> | == | != | > | < | >= | <= | and | or | not | in | for i in | if "
    "| else "
)
_CALLS = (
    "len(|str(|int(|sum(|max(|min(|set(|abs(|sorted(|list(|range(|chr(|ord(|hex(|bin(|.join(|.split(|.count(|.upper()|"
    ".lower()|.swapcase()|.startswith(|.endswith(|[::-1]|[1:]|[:-1]|[:-|[0]|[-1]|''"
)
_ASSIGNED = "abcdnmkstuwlpqrvz"
SPECIAL = ("<|pad|>", "<|end|>", "<|unknown|>")
PAD, END, UNKNOWN = range(3)
PIECES = (
    *_KEYWORDS.split("|"),
    *(piece for piece in _OPERATORS.split("|")),
    *_CALLS.split("|"),
    *(f", {name}=" for name in _ASSIGNED),
    *(f"{name}=" for name in _ASSIGNED),
)
_CHARACTERS = ("\n", *map(chr, range(32, 127)))
VOCABULARY = {piece: number for number, piece in enumerate((*SPECIAL, *PIECES, *_CHARACTERS))}
PATTERN = "|".join(re.escape(piece) for piece in sorted(PIECES, key=len, reverse=True)) + r"|[\s\S]"
_PIECES = re.compile(PATTERN)
_TEXT = [*SPECIAL, *PIECES, *_CHARACTERS]


def encode(text: str) -> list[int]:
    """Return the ids of a text's pieces; a character outside the vocabulary is `UNKNOWN`."""
    return [VOCABULARY.get(piece, UNKNOWN) for piece in _PIECES.findall(text)]


def decode(ids: list[int]) -> str:
    """Return the text of ids, without special tokens."""
    return "".join(_TEXT[number] for number in ids if number >= len(SPECIAL))


def save(folder: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json, from which transformers makes the same tokenizer."""
    model = {"type": "WordLevel", "vocab": VOCABULARY, "unk_token": SPECIAL[UNKNOWN]}
    special = [
        {"id": number, "content": text, "special": True}
        | dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        for number, text in enumerate(SPECIAL)
    ]
    split = {"type": "Split", "pattern": {"Regex": PATTERN}, "behavior": "Isolated", "invert": False}
    first = {"SpecialToken": {"id": SPECIAL[END], "type_id": 0}}
    begin = {"id": SPECIAL[END], "ids": [END], "tokens": [SPECIAL[END]]}
    whole = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": special,
        "normalizer": None,
        "pre_tokenizer": split,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [first, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [first, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {SPECIAL[END]: begin},
        },
        "decoder": {"type": "Fuse"},
        "model": model,
    }
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": SPECIAL[END],
        "eos_token": SPECIAL[END],
        "pad_token": SPECIAL[PAD],
        "unk_token": SPECIAL[UNKNOWN],
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer.json").write_text(json.dumps(whole, indent=1) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")
